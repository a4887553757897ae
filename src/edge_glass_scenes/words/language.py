"""What a package can say in one language; the names that are the same in all of them are the keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NUTRIENTS: Final = (
    *("energy", "fat", "saturates", "mono", "poly", "carbohydrate", "sugars", "starch", "fibre"),
    *("protein", "salt", "vitamin_c", "vitamin_b6", "vitamin_d", "calcium", "iron", "magnesium"),
)
"""The lines that a nutrition table can have, in the order that European law asks for."""

INGREDIENTS: Final = (
    *("wheat", "sugar", "sunflower_oil", "palm_oil", "cocoa_butter", "cocoa_mass", "milk_powder", "butter"),
    *("eggs", "salt", "yeast", "glucose_syrup", "raising_agent", "lecithin", "flavouring", "hazelnuts"),
    *("almonds", "peanuts", "oats", "rice", "maize", "potatoes", "tomatoes", "onions", "garlic", "carrots"),
    *(
        "peas",
        "olive_oil",
        "spices",
        "citric_acid",
        "water",
        "apple_juice",
        "strawberries",
        "durum",
        "cheese",
    ),
    *("cream", "starch", "vinegar", "honey", "malt", "pork", "paprika", "pectin", "milk"),
)

KINDS: Final = (
    *("biscuits", "chocolate", "muesli", "pasta", "sauce", "soup", "crisps", "yoghurt", "juice", "cheese"),
    *("jam", "nuts", "pizza", "bread", "sausage"),
)
"""Kinds of products, in the order of `Language.products`."""


@dataclass(frozen=True)
class Language:
    """The words of one language. Fields with several choices are tuples; `{…}` are places to fill.

    Attributes:
        code: two letters, ISO 639-1.
        decimal: the mark between whole and broken part of a number.
        nutrients: one name for each of `NUTRIENTS`.
        titles: what stands above a nutrition table.
        per: "per {amount}", for 100 g and the like.
        portion: names of a portion, "{amount}" is its weight.
        intake: heads of the column of percentages.
        footnote: what stands below a table about reference intakes.
        ingredients_head: the word before a list of ingredients.
        ingredients: one name for each of `INGREDIENTS`.
        products: a few names for each of `KINDS`, separated by a bar.
        claims: short praise, also for the front.
        sentences: longer praise.
        storage: how to keep it and until when.
        traces: an allergen warning.
        cooking: head of a table or list of cooking times, then its columns: how, at what, how long.
        methods: rows of such a table.
        recipe: heads of recipes.
        dosage: head of a table of amounts, then its columns: for whom, how much, how often.
        groups: rows of such a table.
        address: company, street, town and country, with a word before them.
        recycling: parts of the package and where they go.
        net: the word before the weight.
        best_before: the words before a date.
    """

    code: str
    decimal: str
    nutrients: tuple[str, ...]
    titles: tuple[str, ...]
    per: str
    portion: tuple[str, ...]
    intake: tuple[str, ...]
    footnote: tuple[str, ...]
    ingredients_head: tuple[str, ...]
    ingredients: tuple[str, ...]
    products: tuple[str, ...]
    claims: tuple[str, ...]
    sentences: tuple[str, ...]
    storage: tuple[str, ...]
    traces: tuple[str, ...]
    cooking: tuple[str, str, str, str]
    methods: tuple[tuple[str, str, str], ...]
    recipe: tuple[str, ...]
    dosage: tuple[str, str, str, str]
    groups: tuple[tuple[str, str, str], ...]
    address: tuple[tuple[str, str, str, str], ...]
    recycling: tuple[tuple[str, str], ...]
    net: str
    best_before: str

    def nutrient(self, key: str) -> str:
        """Return the name of one of `NUTRIENTS`."""
        return self.nutrients[NUTRIENTS.index(key)]

    def ingredient(self, key: str) -> str:
        """Return the name of one of `INGREDIENTS`."""
        return self.ingredients[INGREDIENTS.index(key)]

    def product_names(self, kind: str) -> list[str]:
        """Return names of a product of one of `KINDS`."""
        return self.products[KINDS.index(kind)].split("|")


def words(text: str) -> tuple[str, ...]:
    """Cut a text at its semicolons."""
    return tuple(part.strip() for part in text.split(";"))
