"""English."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

ENGLISH: Final = Language(
    code="en",
    decimal=".",
    nutrients=words(
        "Energy; Fat; of which saturates; of which monounsaturates; of which polyunsaturates; Carbohydrate; "
        "of which sugars; of which starch; Fibre; Protein; Salt; Vitamin C; Vitamin B6; Vitamin D; Calcium; "
        "Iron; Magnesium"
    ),
    titles=words(
        "Nutrition; Nutrition information; Nutrition declaration; Typical values; Nutritional values"
    ),
    per="per {amount}",
    portion=words("per serving ({amount}); per portion ({amount}); each {amount} serving"),
    intake=words("%RI*; % RI; RI* adult"),
    footnote=words(
        "*Reference intake of an average adult (8400 kJ/2000 kcal).; "
        "*RI = reference intake of an average adult (8400 kJ / 2000 kcal); This pack contains 6 servings."
    ),
    ingredients_head=words("Ingredients:; INGREDIENTS:"),
    ingredients=words(
        "wheat flour; sugar; sunflower oil; palm oil; cocoa butter; cocoa mass; whole milk powder; butter; "
        "free range eggs; salt; yeast; glucose syrup; raising agent: sodium carbonates; "
        "emulsifier: lecithins (soya); natural flavouring; hazelnuts; almonds; peanuts; oat flakes; "
        "rice flour; "
        "maize; potatoes; tomatoes; onions; garlic; carrots; peas; extra virgin olive oil; spices; "
        "acidity regulator: citric acid; water; apple juice from concentrate; strawberries; "
        "durum wheat semolina; cheddar cheese (milk); cream (milk); modified starch; spirit vinegar; honey; "
        "barley malt extract; pork; paprika extract; gelling agent: pectin; skimmed milk"
    ),
    products=words(
        "Oat Biscuits|Butter Cookies; Dark Chocolate|Milk Chocolate; Crunchy Muesli|Granola; "
        "Penne|Egg Noodles; Tomato Sauce|Pasta Sauce; Lentil Soup|Vegetable Soup; "
        "Potato Crisps|Tortilla Chips; "
        "Greek Style Yogurt|Fruit Yogurt; Apple Juice|Orange Drink; Mature Cheddar|Cream Cheese; "
        "Strawberry Jam|Marmalade; Mixed Nuts|Salted Peanuts; Pizza Margherita|Deep Pan Pizza; "
        "Wholemeal Bread|Crispbread; Pork Sausages|Sliced Ham"
    ),
    claims=words("No added sugar; Source of fibre; Family size; New recipe; 100% natural; Crunchy & golden"),
    sentences=(
        "Baked slowly in small batches, the way our grandparents used to do it.",
        "We work with farmers whom we have known for many years, and pay them a fair price.",
        "Enjoy it on its own, or share it with the people you love.",
        "Not quite happy? Keep the pack and write to us, we will put it right.",
    ),
    storage=(
        "Store in a cool, dry place away from direct sunlight.",
        "Once opened keep refrigerated and consume within 3 days.",
        "Best before: see top of pack. Packaged in a protective atmosphere.",
    ),
    traces=words("May contain traces of nuts and sesame.; For allergens see ingredients in bold."),
    cooking=("Cooking instructions", "Method", "Setting", "Time"),
    methods=(
        ("Oven", "200°C / Gas 6", "18-20 min"),
        ("Fan oven", "180°C", "15 min"),
        ("Microwave", "800 W", "4 min 30 s"),
        ("Grill", "medium", "10 min"),
        ("Air fryer", "190°C", "8-9 min"),
        ("Hob", "low heat", "6 min"),
    ),
    recipe=words("Serves four; Try it this way; Recipe idea"),
    dosage=("Feeding guide", "Age", "Water", "Scoops"),
    groups=(
        ("0-2 weeks", "90 ml", "3"),
        ("1 month", "120 ml", "4"),
        ("2 months", "150 ml", "5"),
        ("4 months", "180 ml", "6"),
        ("6 months", "210 ml", "7"),
    ),
    address=(
        ("Produced for:", "Marlow & Finch Foods Ltd.", "14 Orchard Lane", "Dunsby DX4 7QP, United Kingdom"),
        ("Made by:", "Greyhill Mills", "Unit 3, Canal Road", "Eastmoor EM2 1AB, UK"),
    ),
    recycling=(("Tray", "plastic - check locally"), ("Sleeve", "card - recycle"), ("Film", "do not recycle")),
    net="Net weight",
    best_before="Best before end:",
)
