"""German."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

GERMAN: Final = Language(
    code="de",
    decimal=",",
    nutrients=words(
        "Energie; Fett; davon gesättigte Fettsäuren; davon einfach ungesättigte Fettsäuren; "
        "davon mehrfach ungesättigte Fettsäuren; Kohlenhydrate; davon Zucker; davon Stärke; Ballaststoffe; "
        "Eiweiß; Salz; Vitamin C; Vitamin B6; Vitamin D; Calcium; Eisen; Magnesium"
    ),
    titles=words(
        "Nährwerte; Nährwertangaben; Durchschnittliche Nährwerte; Nährwertdeklaration; Nährwertinformation"
    ),
    per="pro {amount}",
    portion=words("pro Portion ({amount}); je {amount} Portion; Portion {amount}"),
    intake=words("%RM*; % RM; RM* pro Portion"),
    footnote=words(
        "*Referenzmenge für einen durchschnittlichen Erwachsenen (8400 kJ/2000 kcal).; "
        "*RM = Referenzmenge (8400 kJ/2000 kcal); Die Packung enthält ca. 5 Portionen."
    ),
    ingredients_head=words("Zutaten:; ZUTATEN:"),
    ingredients=words(
        "Weizenmehl; Zucker; Sonnenblumenöl; Palmöl; Kakaobutter; Kakaomasse; Vollmilchpulver; Butter; "
        "Eier aus Freilandhaltung; Speisesalz; Hefe; Glukosesirup; Backtriebmittel: Natriumcarbonate; "
        "Emulgator: Lecithine (Soja); natürliches Aroma; Haselnüsse; Mandeln; Erdnüsse; Haferflocken; "
        "Reismehl; Mais; Kartoffeln; Tomaten; Zwiebeln; Knoblauch; Karotten; Erbsen; natives Olivenöl extra; "
        "Gewürze; Säuerungsmittel: Citronensäure; Wasser; Apfelsaft aus Apfelsaftkonzentrat; Erdbeeren; "
        "Hartweizengrieß; Käse (Milch); Sahne; modifizierte Stärke; Branntweinessig; Honig; "
        "Gerstenmalzextrakt; Schweinefleisch; Paprikaextrakt; Geliermittel: Pektin; entrahmte Milch"
    ),
    products=words(
        "Haferkekse|Butterkekse; Zartbitterschokolade|Vollmilchschokolade; Knuspermüsli|Früchtemüsli; "
        "Spiralnudeln|Bandnudeln; Tomatensauce|Grillsauce; Linsensuppe|Gemüsesuppe; "
        "Kartoffelchips|Maischips; Joghurt nach griechischer Art|Fruchtjoghurt; "
        "Apfelsaft|Multivitaminsaft; Bergkäse|Frischkäse; "
        "Erdbeerkonfitüre|Fruchtaufstrich; Nussmischung|Geröstete Erdnüsse; Steinofenpizza|Pizza Salami; "
        "Vollkornbrot|Knäckebrot; Bratwürste|Gekochter Schinken"
    ),
    claims=words(
        "Ohne Zuckerzusatz; Ballaststoffquelle; Vorteilspackung; Neue Rezeptur; 100% Natur; Fein & mild"
    ),
    sentences=(
        "Mit viel Liebe und Geduld in unserer kleinen Backstube hergestellt.",
        "Seit vielen Jahren arbeiten wir mit Bauern aus der Region zusammen.",
        "Schmeckt pur, aber auch mit frischem Obst zum Frühstück.",
        "Nicht zufrieden? Schreiben Sie uns, wir kümmern uns darum.",
    ),
    storage=(
        "Kühl und trocken lagern, vor Wärme schützen.",
        "Nach dem Öffnen im Kühlschrank aufbewahren und bald verbrauchen.",
        "Unter Schutzatmosphäre verpackt. Mindestens haltbar bis: siehe Deckel.",
    ),
    traces=words("Kann Spuren von Nüssen und Sesam enthalten.; Kann Spuren von Senf und Sellerie enthalten."),
    cooking=("Zubereitung", "Gerät", "Stufe", "Dauer"),
    methods=(
        ("Backofen", "200°C Ober-/Unterhitze", "18-20 Min."),
        ("Umluft", "180°C", "15 Min."),
        ("Mikrowelle", "800 W", "4 Min."),
        ("Pfanne", "mittlere Hitze", "10 Min."),
        ("Heißluftfritteuse", "190°C", "8-9 Min."),
        ("Topf", "kleine Stufe", "6 Min."),
    ),
    recipe=words("Für vier Personen; Rezeptidee; Unser Tipp"),
    dosage=("Dosiertabelle", "Alter", "Wasser", "Messlöffel"),
    groups=(
        ("1.-2. Woche", "90 ml", "3"),
        ("3.-8. Woche", "120 ml", "4"),
        ("ab 3. Monat", "150 ml", "5"),
        ("ab 5. Monat", "180 ml", "6"),
        ("ab 7. Monat", "210 ml", "7"),
    ),
    address=(
        ("Hergestellt für:", "Lindenhof Feinkost GmbH", "Mühlenweg 8", "D-48999 Altenfeld"),
        ("Hersteller:", "Kornblume Backwaren KG", "Am Anger 21", "04999 Neudorf, Deutschland"),
    ),
    recycling=(("Schale", "Gelber Sack"), ("Hülle", "Altpapier"), ("Folie", "Restmüll")),
    net="Füllmenge",
    best_before="Mindestens haltbar bis:",
)
