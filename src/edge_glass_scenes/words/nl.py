"""Dutch."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

DUTCH: Final = Language(
    code="nl",
    decimal=",",
    nutrients=words(
        "Energie; Vetten; waarvan verzadigde vetzuren; waarvan enkelvoudig onverzadigd; "
        "waarvan meervoudig onverzadigd; Koolhydraten; waarvan suikers; waarvan zetmeel; Vezels; Eiwitten; "
        "Zout; Vitamine C; Vitamine B6; Vitamine D; Calcium; IJzer; Magnesium"
    ),
    titles=words("Voedingswaarde; Voedingswaarden; Gemiddelde voedingswaarde; Voedingswaardevermelding"),
    per="per {amount}",
    portion=words("per portie ({amount}); portie van {amount}; per {amount} portie"),
    intake=words("%RI*; % RI; RI* per portie"),
    footnote=words(
        "*Referentie-inname van een gemiddelde volwassene (8400 kJ/2000 kcal).; "
        "*RI = referentie-inname (8400 kJ / 2000 kcal); Deze verpakking bevat 6 porties."
    ),
    ingredients_head=words("Ingrediënten:; INGREDIËNTEN:"),
    ingredients=words(
        "tarwebloem; suiker; zonnebloemolie; palmolie; cacaoboter; cacaomassa; volle melkpoeder; roomboter; "
        "scharreleieren; zout; gist; glucosestroop; rijsmiddel: natriumcarbonaten; "
        "emulgator: lecithine (soja); natuurlijk aroma; hazelnoten; amandelen; pinda's; havervlokken; "
        "rijstebloem; maïs; aardappelen; tomaten; uien; knoflook; wortelen; erwten; "
        "extra vierge olijfolie; specerijen; voedingszuur: citroenzuur; water; appelsap uit concentraat; "
        "aardbeien; durumtarwegriesmeel; kaas (melk); room; gemodificeerd zetmeel; natuurazijn; honing; "
        "gerstemoutextract; varkensvlees; paprika-extract; geleermiddel: pectine; magere melk"
    ),
    products=words(
        "Haverkoekjes|Roomboterkoekjes; Pure chocolade|Melkchocolade; Krokante muesli|Granola met noten; "
        "Penne|Mie; Tomatensaus|Pastasaus; Linzensoep|Groentesoep; Ribbelchips|Tortillachips; "
        "Yoghurt Griekse stijl|Vruchtenyoghurt; Appelsap|Vruchtendrank; Belegen kaas|Roomkaas; "
        "Aardbeienjam|Vruchtenspread; Gemengde noten|Gezouten pinda's; Pizza salami|Pizza margherita; "
        "Volkorenbrood|Crackers; Rookworst|Achterham"
    ),
    claims=words("Zonder toegevoegde suikers; Bron van vezels; Voordeelpak; Nieuw recept; 100% natuurlijk"),
    sentences=(
        "Langzaam gebakken volgens een oud familierecept.",
        "Al jaren werken wij samen met boeren uit de streek.",
        "Lekker bij het ontbijt of zomaar tussendoor.",
        "Niet tevreden? Bewaar de verpakking en laat het ons weten.",
    ),
    storage=(
        "Koel, droog en donker bewaren.",
        "Na openen gekoeld bewaren en binnen 3 dagen gebruiken.",
        "Verpakt onder beschermende atmosfeer. Ten minste houdbaar tot: zie deksel.",
    ),
    traces=words("Kan sporen van noten en sesam bevatten.; Kan selderij en mosterd bevatten."),
    cooking=("Bereidingswijze", "Apparaat", "Stand", "Tijd"),
    methods=(
        ("Oven", "200°C", "18-20 min."),
        ("Heteluchtoven", "180°C", "15 min."),
        ("Magnetron", "800 W", "4 min."),
        ("Koekenpan", "halfhoog vuur", "10 min."),
        ("Airfryer", "190°C", "8-9 min."),
        ("Steelpan", "laag vuur", "6 min."),
    ),
    recipe=words("Voor 4 personen; Receptidee; Tip van de kok"),
    dosage=("Doseertabel", "Leeftijd", "Water", "Schepjes"),
    groups=(
        ("0-2 weken", "90 ml", "3"),
        ("1 maand", "120 ml", "4"),
        ("2 maanden", "150 ml", "5"),
        ("4 maanden", "180 ml", "6"),
        ("6 maanden", "210 ml", "7"),
    ),
    address=(
        ("Geproduceerd door:", "De Gouden Halm B.V.", "Dijkweg 44", "9499 ZZ Oosterwolde-Zuid"),
        ("Geproduceerd voor:", "Van der Molen Foods", "Havenstraat 2", "4799 XA Westmeer, Nederland"),
    ),
    recycling=(("Bakje", "bij plastic"), ("Hoes", "bij papier"), ("Folie", "bij restafval")),
    net="Netto gewicht",
    best_before="Ten minste houdbaar tot:",
)
