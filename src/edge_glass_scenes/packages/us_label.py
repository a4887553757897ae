"""The North American label: a black frame, a huge title, thick bars."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from edge_glass_scenes.packages.drawing import BLACK, WHITE, Block, choose, length, load_font
from edge_glass_scenes.packages.facts import Facts
from edge_glass_scenes.packages.theme import Theme

_ROWS = (
    ("Total Fat", "fat", 0, 78),
    ("Saturated Fat", "saturates", 1, 20),
    ("Total Carbohydrate", "carbohydrate", 0, 275),
    ("Dietary Fiber", "fibre", 1, 28),
    ("Total Sugars", "sugars", 1, 0),
    ("Protein", "protein", 0, 0),
)
"""Name, key in `Facts`, depth, grams a day (0: none)."""


def us_label_block(rng: np.random.Generator, theme: Theme, facts: Facts, width: int) -> Block:
    """Return the label as a block of `width` pixels: dark on white, or in the colours of the package."""
    fill, ink = choose(rng, ((WHITE, BLACK), (theme.paper, theme.paper_ink)), (0.75, 0.25))
    size = max(10, width // 17)
    regular, bold = (load_font(file, size) for file in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"))
    small = load_font("DejaVuSans.ttf", max(9, round(size * 0.8)))
    title = load_font("DejaVuSans-Bold.ttf", round(size * 1.5))
    large = load_font("DejaVuSans-Bold.ttf", round(size * 1.6))
    scale = facts.portion / 100
    row = round(size * 1.35)
    rows = _rows(facts, scale)
    extra = [("Vitamin D", "0mcg", "0%"), ("Calcium", "30mg", "2%"), ("Iron", "1.2mg", "6%")]
    height = round(size * 8.6) + row * (len(rows) + len(extra)) + 2 * size

    def paint(draw: ImageDraw.ImageDraw) -> None:
        edge = max(2, size // 7)
        left, right = edge + size // 3, width - edge - size // 3
        draw.rectangle((0, 0, width - 1, height - 1), fill, ink, edge)
        y = edge + size // 6
        draw.text((left, y), "Nutrition Facts", ink, title)
        y += round(size * 2.1)
        draw.line((left, y, right, y), ink, 1)
        draw.text((left, y + size // 6), "Serving size", ink, bold)
        draw.text((right, y + size // 6), f"{facts.portion}{facts.unit}", ink, bold, anchor="ra")
        y += round(size * 1.6)
        draw.rectangle((left, y, right, y + size // 2), ink)
        y += round(size * 0.7)
        draw.text((left, y), "Calories", ink, large)
        draw.text((right, y), f"{facts.kcal * scale:.0f}", ink, large, anchor="ra")
        y += round(size * 2.0)
        draw.rectangle((left, y, right, y + size // 4), ink)
        y += round(size * 0.4)
        draw.text((right, y), "% Daily Value*", ink, small, anchor="ra")
        y += row
        for name, amount, share, indent in rows:
            draw.line((left, y, right, y), ink, 1)
            start = left + indent * size
            draw.text((start, y + size // 8), name, ink, regular if indent else bold)
            wide = length(regular if indent else bold, name + " ")
            draw.text((start + wide, y + size // 8), amount, ink, regular)
            draw.text((right, y + size // 8), share, ink, bold, anchor="ra")
            y += row
        draw.rectangle((left, y, right, y + size // 2), ink)
        y += round(size * 0.7)
        for name, amount, share in extra:
            draw.text((left, y), f"{name} {amount}", ink, regular)
            draw.text((right, y), share, ink, regular, anchor="ra")
            y += row

    return Block("nutrition-table", width, height, paint)


def _rows(facts: Facts, scale: float) -> list[tuple[str, str, str, int]]:
    rows = []
    for name, key, indent, daily in _ROWS:
        amount = facts.amounts.get(key, 0.0) * scale
        rows.append((name, f"{amount:.0f}g", f"{100 * amount / daily:.0f}%" if daily else "", indent))
        if key == "saturates":
            sodium = facts.amounts["salt"] * scale * 400
            rows.append(("Sodium", f"{sodium:.0f}mg", f"{sodium / 23:.0f}%", 0))
    return rows
