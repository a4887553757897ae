"""Polish."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

POLISH: Final = Language(
    code="pl",
    decimal=",",
    nutrients=words(
        "Wartość energetyczna; Tłuszcz; w tym kwasy tłuszczowe nasycone; w tym kwasy jednonienasycone; "
        "w tym kwasy wielonienasycone; Węglowodany; w tym cukry; w tym skrobia; Błonnik; Białko; Sól; "
        "Witamina C; Witamina B6; Witamina D; Wapń; Żelazo; Magnez"
    ),
    titles=words(
        "Wartość odżywcza; Wartości odżywcze; Informacja o wartości odżywczej; Średnia wartość odżywcza"
    ),
    per="w {amount}",
    portion=words("w porcji ({amount}); porcja {amount}; na porcję {amount}"),
    intake=words("%RWS*; % RWS; RWS* w porcji"),
    footnote=words(
        "*Referencyjna wartość spożycia dla przeciętnej osoby dorosłej (8400 kJ/2000 kcal).; "
        "*RWS (8400 kJ / 2000 kcal); Opakowanie zawiera 4 porcje."
    ),
    ingredients_head=words("Składniki:; SKŁADNIKI:"),
    ingredients=words(
        "mąka pszenna; cukier; olej słonecznikowy; olej palmowy; tłuszcz kakaowy; miazga kakaowa; "
        "mleko w proszku pełne; masło; jaja z wolnego wybiegu; sól; drożdże; syrop glukozowy; "
        "substancja spulchniająca: węglany sodu; emulgator: lecytyny (soja); naturalny aromat; "
        "orzechy laskowe; migdały; orzeszki ziemne; płatki owsiane; mąka ryżowa; kukurydza; ziemniaki; "
        "pomidory; cebula; czosnek; marchew; groszek; oliwa z oliwek extra virgin; przyprawy; "
        "regulator kwasowości: kwas cytrynowy; woda; sok jabłkowy z soku zagęszczonego; truskawki; "
        "semolina z pszenicy durum; ser (mleko); śmietanka; skrobia modyfikowana; ocet spirytusowy; miód; "
        "ekstrakt słodowy jęczmienny; mięso wieprzowe; ekstrakt z papryki; substancja żelująca: pektyny; "
        "mleko odtłuszczone"
    ),
    products=words(
        "Ciastka owsiane|Herbatniki maślane; Czekolada gorzka|Czekolada mleczna; "
        "Musli chrupiące|Płatki z owocami; "
        "Świderki|Makaron jajeczny; Sos pomidorowy|Sos do makaronu; Zupa z soczewicy|Zupa jarzynowa; "
        "Chipsy ziemniaczane|Chrupki kukurydziane; Jogurt typu greckiego|Jogurt owocowy; "
        "Sok jabłkowy|Nektar z czarnej porzeczki; Ser dojrzewający|Serek śmietankowy; "
        "Dżem truskawkowy|Powidła śliwkowe; Mieszanka orzechów|Orzeszki solone; Pizza z szynką|Pizza serowa; "
        "Chleb razowy|Pieczywo chrupkie; Kiełbasa|Szynka gotowana"
    ),
    claims=words("Bez dodatku cukru; Źródło błonnika; Duże opakowanie; Nowa receptura; 100% natury; Pyszne"),
    sentences=(
        "Przygotowane powoli, według starego rodzinnego przepisu.",
        "Od lat współpracujemy z rolnikami z naszej okolicy.",
        "Doskonałe na śniadanie albo jako przekąska w ciągu dnia.",
        "Masz pytanie lub uwagę? Napisz do nas, chętnie odpowiemy.",
    ),
    storage=(
        "Przechowywać w suchym i chłodnym miejscu, chronić przed światłem.",
        "Po otwarciu przechowywać w lodówce i spożyć w ciągu 3 dni.",
        "Pakowano w atmosferze ochronnej. Najlepiej spożyć przed: data na wieczku.",
    ),
    traces=words("Może zawierać orzechy i sezam.; Może zawierać seler i gorczycę."),
    cooking=("Sposób przygotowania", "Urządzenie", "Ustawienie", "Czas"),
    methods=(
        ("Piekarnik", "200°C", "18-20 min"),
        ("Termoobieg", "180°C", "15 min"),
        ("Mikrofala", "800 W", "4 min"),
        ("Patelnia", "średni ogień", "10 min"),
        ("Frytkownica", "190°C", "8-9 min"),
        ("Garnek", "mały ogień", "6 min"),
    ),
    recipe=words("Dla 4 osób; Pomysł na danie; Nasza rada"),
    dosage=("Tabela dawkowania", "Wiek", "Woda", "Miarki"),
    groups=(
        ("0-2 tygodnie", "90 ml", "3"),
        ("1 miesiąc", "120 ml", "4"),
        ("2 miesiące", "150 ml", "5"),
        ("4 miesiące", "180 ml", "6"),
        ("6 miesięcy", "210 ml", "7"),
    ),
    address=(
        ("Wyprodukowano przez:", "Zielona Dolina Sp. z o.o.", "ul. Młyńska 5", "99-999 Nowe Sioło, Polska"),
        ("Producent:", "Stara Spiżarnia S.A.", "ul. Sadowa 18", "88-999 Lipowiec"),
    ),
    recycling=(("Tacka", "plastik"), ("Owijka", "papier"), ("Folia", "zmieszane")),
    net="Masa netto",
    best_before="Najlepiej spożyć przed końcem:",
)
