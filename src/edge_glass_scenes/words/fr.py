"""French."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

FRENCH: Final = Language(
    code="fr",
    decimal=",",
    nutrients=words(
        "Énergie; Matières grasses; dont acides gras saturés; dont acides gras mono-insaturés; "
        "dont acides gras polyinsaturés; Glucides; dont sucres; dont amidon; Fibres alimentaires; Protéines; "
        "Sel; Vitamine C; Vitamine B6; Vitamine D; Calcium; Fer; Magnésium"
    ),
    titles=words(
        "Valeurs nutritionnelles; Valeurs nutritionnelles moyennes; Déclaration nutritionnelle; "
        "Informations nutritionnelles; Analyse moyenne"
    ),
    per="pour {amount}",
    portion=words("par portion ({amount}); pour une portion de {amount}; portion de {amount}"),
    intake=words("%AR*; % AR; AR* par portion"),
    footnote=words(
        "*Apport de référence pour un adulte-type (8400 kJ/2000 kcal).; "
        "*AR = apports de référence (8400 kJ / 2000 kcal); Ce paquet contient 8 portions."
    ),
    ingredients_head=words("Ingrédients :; INGRÉDIENTS :"),
    ingredients=words(
        "farine de blé; sucre; huile de tournesol; huile de palme; beurre de cacao; pâte de cacao; "
        "lait entier en poudre; beurre; œufs de poules élevées en plein air; sel; levure; sirop de glucose; "
        "poudre à lever : carbonates de sodium; émulsifiant : lécithines (soja); arôme naturel; noisettes; "
        "amandes; arachides; flocons d'avoine; farine de riz; maïs; pommes de terre; tomates; oignons; ail; "
        "carottes; petits pois; huile d'olive vierge extra; épices; acidifiant : acide citrique; eau; "
        "jus de pomme à base de concentré; fraises; semoule de blé dur; fromage (lait); crème; "
        "amidon modifié; vinaigre d'alcool; miel; extrait de malt d'orge; viande de porc; "
        "extrait de paprika; gélifiant : pectines; lait écrémé"
    ),
    products=words(
        "Sablés au beurre|Biscuits à l'avoine; Chocolat noir|Chocolat au lait; Muesli croustillant|Céréales; "
        "Coquillettes|Tagliatelles; Sauce tomate|Sauce basilic; Soupe de lentilles|Velouté de légumes; "
        "Chips de pommes de terre|Tuiles de maïs; Yaourt à la grecque|Yaourt aux fruits; "
        "Jus de pomme|Nectar d'abricot; Comté râpé|Fromage frais; Confiture de fraises|Gelée de coings; "
        "Mélange de noix|Cacahuètes grillées; Pizza royale|Pizza trois fromages; Pain complet|Biscottes; "
        "Saucisses fumées|Jambon cuit"
    ),
    claims=words(
        "Sans sucres ajoutés; Riche en fibres; Format familial; Nouvelle recette; 100% naturel; Fondant"
    ),
    sentences=(
        "Une recette simple, préparée lentement comme à la maison.",
        "Nos producteurs partagent avec nous le goût des bonnes choses depuis longtemps.",
        "À déguster tel quel ou accompagné de fruits de saison.",
        "Une question, une remarque ? Notre service consommateurs est à votre écoute.",
    ),
    storage=(
        "À conserver dans un endroit frais et sec, à l'abri de la lumière.",
        "Après ouverture, à conserver au réfrigérateur et à consommer sous 3 jours.",
        "Conditionné sous atmosphère protectrice. À consommer de préférence avant : voir côté.",
    ),
    traces=words("Traces éventuelles de fruits à coque et de sésame.; Peut contenir du céleri."),
    cooking=("Conseils de préparation", "Appareil", "Réglage", "Temps"),
    methods=(
        ("Four traditionnel", "200°C (th. 6-7)", "18-20 min"),
        ("Chaleur tournante", "180°C", "15 min"),
        ("Micro-ondes", "800 W", "4 min 30"),
        ("Poêle", "feu moyen", "10 min"),
        ("Bain-marie", "eau frémissante", "12 min"),
        ("Casserole", "feu doux", "6 min"),
    ),
    recipe=words("Pour 4 personnes; Idée recette; Le conseil du chef"),
    dosage=("Tableau de dosage", "Âge", "Eau", "Mesurettes"),
    groups=(
        ("0 à 2 semaines", "90 ml", "3"),
        ("1er mois", "120 ml", "4"),
        ("2e mois", "150 ml", "5"),
        ("4e mois", "180 ml", "6"),
        ("6e mois", "210 ml", "7"),
    ),
    address=(
        ("Fabriqué par :", "Maison Vauclair SAS", "12, rue du Moulin", "F-89999 Saint-Aubry"),
        ("Distribué par :", "Les Délices du Bourg", "ZA des Peupliers", "37999 Brévilly, France"),
    ),
    recycling=(("Barquette", "bac de tri"), ("Étui", "bac de tri"), ("Film", "à jeter")),
    net="Poids net",
    best_before="À consommer de préférence avant le :",
)
