"""What stands in a table: nutrition facts, and the tables that only look like them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from edge_glass_scenes.packages.drawing import choose
from edge_glass_scenes.packages.facts import DAILY, MINOR, Facts
from edge_glass_scenes.packages.theme import Theme
from edge_glass_scenes.words import Language

_UNITS: Final = {
    **dict.fromkeys(("vitamin_c", "vitamin_b6", "calcium", "iron", "magnesium"), "mg"),
    "vitamin_d": "µg",
}
_COLUMNS: Final = (
    ("100",),
    ("100", "portion"),
    ("100", "portion", "share"),
    ("portion", "share"),
    ("portion",),
)
_COLUMN_SHARES: Final = (0.42, 0.33, 0.14, 0.06, 0.05)


class Line(NamedTuple):
    """A row: `minor` ones are a part of the row before. A cell may have several lines."""

    label: str
    cells: tuple[str, ...]
    minor: bool = False


class TableText(NamedTuple):
    """Words of a table. `head` has one entry a column, that of the labels included; empty: no head."""

    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    footnote: str = ""


def nutrition_text(
    rng: np.random.Generator, facts: Facts, languages: Sequence[Language], short: bool = False
) -> TableText:
    """Write facts per 100 g, a portion, and as shares of a day: up to three columns, if `short` one."""
    columns = ("100",) if short else choose(rng, _COLUMNS, _COLUMN_SHARES)
    in_label = rng.random() < 0.18
    break_energy = choose(rng, (" / ", "/", "\n"), (0.35, 0.25, 0.4))
    join = choose(rng, (" / ", "/ "))
    decimal = languages[0].decimal
    lines = []
    for key, amount in facts.amounts.items():
        unit = _UNITS.get(key, "g")
        label = join.join(dict.fromkeys(language.nutrient(key) for language in languages))
        if in_label and key != "energy":
            label += f" ({unit})"
        cells = []
        for column in columns:
            scale = 1.0 if column == "100" else facts.portion / 100
            if column == "share":
                share = 100 * amount * scale / DAILY[key] if key in DAILY else None
                cells.append("" if share is None else f"{share:.0f}%" if share >= 1 else "<1%")
            elif key == "energy":
                cells.append(f"{amount * scale:.0f} kJ{break_energy}{facts.kcal * scale:.0f} kcal")
            else:
                cells.append(amount_text(key, amount * scale, decimal) + ("" if in_label else f" {unit}"))
        lines.append(Line(label, tuple(cells), key in MINOR))
    head = tuple(_column_head(rng, column, facts, languages[0]) for column in columns)
    titles = join.join(choose(rng, language.titles) for language in languages[:2])
    title, label_head = titles, ""
    drawn = rng.random()
    if drawn < 0.3:
        title, label_head = "", titles
    elif drawn < 0.36:
        title = ""
    footnote = choose(rng, languages[0].footnote) if "share" in columns or rng.random() < 0.12 else ""
    return TableText(title, (label_head, *head), tuple(lines), footnote)


def amount_text(key: str, amount: float, decimal: str) -> str:
    """Round as on labels: two places for salt, one below ten, "<0.1" for traces."""
    if key in ("vitamin_b6",) or (key == "salt" and amount < 10):
        text = f"{amount:.2f}"
    elif amount < 0.05:
        text = "0" if amount < 0.005 else "<0.1"
    elif amount < 10:
        text = f"{amount:.1f}"
    else:
        text = f"{amount:.0f}" if key in _UNITS or round(amount) % 3 == 0 else f"{amount:.1f}"
    return text.replace(".", decimal)


def _column_head(rng: np.random.Generator, column: str, facts: Facts, language: Language) -> str:
    if column == "share":
        return choose(rng, language.intake)
    if column == "portion":
        return choose(rng, language.portion).format(amount=f"{facts.portion} {facts.unit}")
    return language.per.format(amount=f"100{choose(rng, (' ', ''))}{facts.unit}")


def look_alike_text(rng: np.random.Generator, theme: Theme) -> TableText:
    """Return a table without nutrition facts: cooking times, a recipe with grams, or a dosage."""
    language = theme.language
    kind = choose(rng, ("cooking", "recipe", "dosage"), (0.5, 0.35, 0.15))
    if kind == "recipe":
        names = [language.ingredients[int(n)] for n in rng.permutation(len(language.ingredients))]
        short = [name for name in names if len(name) < 18][: int(rng.integers(4, 8))]
        amounts = (*("50 g", "100 g", "200 g", "250 g", "300 g", "150 ml", "1/2 l", "2", "3"), "1 kg")
        lines = [Line(name[:1].upper() + name[1:], (choose(rng, amounts),)) for name in short]
        return TableText(choose(rng, language.recipe), (), tuple(lines))
    source = language.cooking if kind == "cooking" else language.dosage
    rows = language.methods if kind == "cooking" else language.groups
    start = int(rng.integers(0, 3)) if kind == "cooking" else 0
    lines = [Line(row[0], row[1:]) for row in rows[start : start + int(rng.integers(3, 6))]]
    head = source[1:] if rng.random() < 0.7 else ()
    return TableText(source[0], head, tuple(lines))
