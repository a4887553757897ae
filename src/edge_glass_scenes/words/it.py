"""Italian."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

ITALIAN: Final = Language(
    code="it",
    decimal=",",
    nutrients=words(
        "Energia; Grassi; di cui acidi grassi saturi; di cui acidi grassi monoinsaturi; "
        "di cui acidi grassi polinsaturi; Carboidrati; di cui zuccheri; di cui amido; Fibre; Proteine; Sale; "
        "Vitamina C; Vitamina B6; Vitamina D; Calcio; Ferro; Magnesio"
    ),
    titles=words(
        "Valori nutrizionali; Dichiarazione nutrizionale; Valori nutrizionali medi; "
        "Informazioni nutrizionali; Valori medi"
    ),
    per="per {amount}",
    portion=words("per porzione ({amount}); porzione da {amount}; per {amount} (1 porzione)"),
    intake=words("%AR*; % AR; AR* per porzione"),
    footnote=words(
        "*Assunzioni di riferimento di un adulto medio (8400 kJ/2000 kcal).; "
        "*AR = assunzioni di riferimento (8400 kJ / 2000 kcal); La confezione contiene 10 porzioni."
    ),
    ingredients_head=words("Ingredienti:; INGREDIENTI:"),
    ingredients=words(
        "farina di frumento; zucchero; olio di girasole; olio di palma; burro di cacao; pasta di cacao; "
        "latte intero in polvere; burro; uova da allevamento all'aperto; sale; lievito; "
        "sciroppo di glucosio; agente lievitante: carbonati di sodio; emulsionante: lecitine (soia); "
        "aroma naturale; nocciole; mandorle; arachidi; fiocchi d'avena; farina di riso; mais; patate; "
        "pomodori; cipolle; aglio; carote; piselli; olio extravergine di oliva; spezie; "
        "correttore di acidità: acido citrico; acqua; succo di mela da concentrato; fragole; "
        "semola di grano duro; formaggio (latte); panna; amido modificato; aceto di vino; miele; "
        "estratto di malto d'orzo; carne di suino; estratto di paprica; gelificante: pectina; latte scremato"
    ),
    products=words(
        "Frollini al burro|Biscotti all'avena; Cioccolato fondente|Cioccolato al latte; "
        "Muesli croccante|Cereali; "
        "Fusilli|Tagliatelle all'uovo; Passata di pomodoro|Sugo al basilico; Zuppa di lenticchie|Minestrone; "
        "Patatine classiche|Chips di mais; Yogurt alla greca|Yogurt alla frutta; "
        "Succo di mela|Nettare di pera; "
        "Formaggio stagionato|Ricotta; Confettura di fragole|Marmellata di arance; "
        "Frutta secca mista|Arachidi tostate; Pizza margherita|Pizza ai funghi; Pane integrale|Grissini; "
        "Salsicce|Prosciutto cotto"
    ),
    claims=words("Senza zuccheri aggiunti; Fonte di fibre; Formato famiglia; Nuova ricetta; 100% naturale"),
    sentences=(
        "Una ricetta semplice, preparata ogni giorno con ingredienti scelti con cura.",
        "Da tre generazioni lavoriamo con i contadini della nostra valle.",
        "Ottimo a colazione, a merenda o quando ne hai voglia.",
        "Hai domande o consigli? Il nostro servizio consumatori ti risponde volentieri.",
    ),
    storage=(
        "Conservare in luogo fresco e asciutto, lontano da fonti di calore.",
        "Dopo l'apertura conservare in frigorifero e consumare entro 3 giorni.",
        "Confezionato in atmosfera protettiva. Da consumarsi preferibilmente entro: vedi retro.",
    ),
    traces=words("Può contenere tracce di frutta a guscio e sesamo.; Può contenere soia e senape."),
    cooking=("Modalità di preparazione", "Metodo", "Livello", "Tempo"),
    methods=(
        ("Forno statico", "200°C", "18-20 min"),
        ("Forno ventilato", "180°C", "15 min"),
        ("Microonde", "800 W", "4 min"),
        ("Padella", "fuoco medio", "10 min"),
        ("Friggitrice ad aria", "190°C", "8-9 min"),
        ("Pentola", "fuoco lento", "6 min"),
    ),
    recipe=words("Per 4 persone; Idea in cucina; Il nostro consiglio"),
    dosage=("Tabella delle dosi", "Età", "Acqua", "Misurini"),
    groups=(
        ("1-2 settimane", "90 ml", "3"),
        ("1 mese", "120 ml", "4"),
        ("2 mesi", "150 ml", "5"),
        ("4 mesi", "180 ml", "6"),
        ("6 mesi", "210 ml", "7"),
    ),
    address=(
        ("Prodotto da:", "Colle Sereno S.p.A.", "Via dei Mulini, 9", "45999 Borgo Verdiano (IT)"),
        ("Distribuito da:", "Dispensa Antica S.r.l.", "Strada Vecchia 31", "61999 Pieve Alta, Italia"),
    ),
    recycling=(("Vaschetta", "plastica"), ("Astuccio", "carta"), ("Pellicola", "indifferenziata")),
    net="Peso netto",
    best_before="Da consumarsi preferibilmente entro:",
)
