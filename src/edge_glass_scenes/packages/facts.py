"""Nutrition facts that could be true: the energy follows from fat, carbohydrate, protein and fibre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from edge_glass_scenes.packages.drawing import choose

DAILY: Final = {
    "energy": 8400.0,
    "fat": 70.0,
    "saturates": 20.0,
    "carbohydrate": 260.0,
    "sugars": 90.0,
    "protein": 50.0,
    "salt": 6.0,
    "vitamin_c": 80.0,
    "vitamin_b6": 1.4,
    "vitamin_d": 5.0,
    "calcium": 800.0,
    "iron": 14.0,
    "magnesium": 375.0,
}
"""Reference intakes of European law, in the units of `Facts`; energy in kJ."""

MINOR: Final = ("saturates", "mono", "poly", "sugars", "starch")
"""Lines that are a part of the line before."""


class _Range(NamedTuple):
    """Per 100 g or ml: lowest and highest; shares are of fat and of carbohydrate."""

    fat: tuple[float, float]
    saturated: tuple[float, float]
    carbohydrate: tuple[float, float]
    sugar: tuple[float, float]
    protein: tuple[float, float]
    salt: tuple[float, float]
    portion: tuple[int, ...]
    ingredients: str
    liquid: bool = False


RANGES: Final = {
    "biscuits": _Range((12, 28), (0.3, 0.6), (55, 72), (0.3, 0.5), (5, 8), (0.3, 1.1), (15, 25, 30),
        "wheat sugar butter palm_oil oats eggs glucose_syrup raising_agent salt lecithin hazelnuts"),
    "chocolate": _Range((28, 44), (0.55, 0.65), (32, 58), (0.7, 0.95), (5, 10), (0.02, 0.3), (15, 20, 25),
        "sugar cocoa_butter cocoa_mass milk_powder lecithin flavouring hazelnuts almonds"),
    "muesli": _Range((6, 20), (0.15, 0.4), (52, 68), (0.2, 0.4), (8, 13), (0.03, 0.6), (40, 45, 50),
        "oats wheat sugar honey sunflower_oil almonds hazelnuts malt salt flavouring strawberries"),
    "pasta": _Range((1, 3), (0.2, 0.3), (65, 74), (0.03, 0.06), (11, 15), (0.0, 0.1), (75, 80, 100),
        "durum water eggs"),
    "sauce": _Range((1, 12), (0.1, 0.3), (5, 13), (0.6, 0.9), (1, 3), (0.6, 1.6), (100, 120, 150),
        "tomatoes onions olive_oil sugar salt garlic carrots spices citric_acid starch"),
    "soup": _Range((1, 4), (0.2, 0.6), (4, 10), (0.2, 0.5), (1, 4), (0.5, 1.0), (200, 250, 300),
        "water carrots onions potatoes peas tomatoes cream starch salt spices garlic", True),
    "crisps": _Range((24, 36), (0.08, 0.4), (48, 60), (0.01, 0.08), (5, 7), (0.8, 2.0), (25, 30, 35),
        "potatoes maize sunflower_oil salt paprika onions garlic spices flavouring yeast"),
    "yoghurt": _Range((0.1, 10), (0.6, 0.7), (4, 16), (0.85, 1.0), (3, 9), (0.08, 0.2), (125, 150, 200),
        "milk cream strawberries sugar pectin flavouring citric_acid starch"),
    "juice": _Range((0, 0.2), (0, 0.1), (8, 12), (0.9, 1.0), (0.1, 0.7), (0.0, 0.02), (150, 200, 250),
        "apple_juice water sugar citric_acid flavouring", True),
    "cheese": _Range((18, 35), (0.6, 0.7), (0, 3), (0.5, 1.0), (8, 28), (0.7, 2.2), (25, 30, 40),
        "milk cream salt cheese starch citric_acid"),
    "jam": _Range((0, 0.5), (0, 0.3), (38, 62), (0.9, 1.0), (0.3, 0.8), (0.0, 0.1), (15, 20),
        "strawberries sugar glucose_syrup pectin citric_acid water"),
    "nuts": _Range((44, 60), (0.08, 0.16), (8, 22), (0.25, 0.5), (16, 26), (0.01, 1.2), (25, 30),
        "peanuts almonds hazelnuts sunflower_oil salt honey sugar"),
    "pizza": _Range((6, 13), (0.35, 0.5), (24, 33), (0.08, 0.15), (8, 12), (0.9, 1.6), (150, 175, 200),
        "wheat cheese tomatoes water olive_oil yeast salt sugar pork onions spices starch"),
    "bread": _Range((1.5, 8), (0.1, 0.3), (38, 66), (0.03, 0.1), (7, 12), (0.9, 1.4), (25, 40, 50),
        "wheat water yeast salt malt oats sunflower_oil vinegar"),
    "sausage": _Range((3, 28), (0.35, 0.42), (0.5, 3), (0.3, 0.9), (12, 21), (1.6, 2.6), (30, 50, 100),
        "pork water salt spices glucose_syrup garlic onions paprika"),
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """Amounts per 100 g (or ml): grams, but kJ for energy, µg for vitamin D, mg for the other additions."""

    amounts: dict[str, float]
    unit: str
    portion: int
    ingredients: tuple[str, ...]

    @property
    def kcal(self) -> float:
        """The energy in kcal."""
        a = self.amounts
        return 9 * a["fat"] + 4 * a["carbohydrate"] + 4 * a["protein"] + 2 * a.get("fibre", 0.0)


def draw_facts(rng: np.random.Generator, kind: str) -> Facts:
    """Draw facts of a product of this kind; some (fibre, kinds of fat, vitamins) are there by chance."""
    span = RANGES[kind]

    def draw(limits: tuple[float, float]) -> float:
        return float(rng.uniform(*limits))

    fat, carbohydrate, protein = draw(span.fat), draw(span.carbohydrate), draw(span.protein)
    excess = (fat + carbohydrate + protein) / 96
    if excess > 1:
        carbohydrate /= excess
        fat /= excess
        protein /= excess
    saturated = fat * draw(span.saturated)
    amounts = {"fat": fat, "saturates": saturated}
    if rng.random() < 0.14:
        amounts["mono"] = (fat - saturated) * draw((0.4, 0.7))
        amounts["poly"] = (fat - saturated) * draw((0.1, 0.3))
    amounts |= {"carbohydrate": carbohydrate, "sugars": carbohydrate * draw(span.sugar)}
    if rng.random() < 0.06:
        amounts["starch"] = max(0.0, carbohydrate - amounts["sugars"]) * draw((0.7, 0.95))
    if rng.random() < 0.6:
        amounts["fibre"] = draw((0.3, 9.0))
    amounts |= {"protein": protein, "salt": draw(span.salt)}
    if rng.random() < 0.2:
        extra = ("vitamin_c", "vitamin_b6", "vitamin_d", "calcium", "iron", "magnesium")
        for name in sorted(rng.permutation(len(extra))[: int(rng.integers(1, 5))]):
            amounts[extra[name]] = DAILY[extra[name]] * draw((0.15, 0.6))
    energy = 37 * fat + 17 * carbohydrate + 17 * protein + 8 * amounts.get("fibre", 0.0)
    return Facts(
        {"energy": energy, **amounts},
        "ml" if span.liquid else "g",
        choose(rng, span.portion),
        _recipe(rng, span.ingredients.split()),
    )


def _recipe(rng: np.random.Generator, names: list[str]) -> tuple[str, ...]:
    """Keep the first two in front; of the rest take most, in another order."""
    rest = [names[2 + int(place)] for place in rng.permutation(len(names) - 2)]
    return (*names[:2], *rest[: max(1, int(rng.integers(len(rest) // 2, len(rest) + 1)))])
