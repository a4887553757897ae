"""Print around a nutrition table: lists of ingredients, praise, storage, addresses, look-alike tables."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import ImageDraw

from edge_glass_scenes.packages.drawing import Block, choose, length, wrap
from edge_glass_scenes.packages.facts import Facts
from edge_glass_scenes.packages.marks import MARKS, Maker
from edge_glass_scenes.packages.table_style import draw_style
from edge_glass_scenes.packages.table_text import look_alike_text
from edge_glass_scenes.packages.tables import table_block
from edge_glass_scenes.packages.theme import Theme


def paragraphs(
    theme: Theme,
    kind: str,
    parts: list[tuple[str, bool]],
    width: int,
    scale: float,
    boxed: bool,
    centred: bool,
) -> Block:
    """Print paragraphs, each a text and whether it is bold; `boxed` ones on the product's paper colour."""
    pad = round(theme.size * 0.6) if boxed else 0
    line_height = round(theme.size * scale * 1.22)
    lines = []
    for text, bold in parts:
        font = theme.font(scale, bold=bold)
        lines += [(line, font) for line in wrap(text, font, width - 2 * pad)]
    ink = theme.paper_ink if boxed else theme.ink
    height = len(lines) * line_height + 2 * pad

    def paint(draw: ImageDraw.ImageDraw) -> None:
        if boxed:
            draw.rectangle((0, 0, width - 1, height - 1), theme.paper)
        for number, (line, font) in enumerate(lines):
            left = (width - length(font, line)) / 2 if centred else pad
            draw.text((left, pad + number * line_height), line, ink, font)

    return Block(kind, width, height, paint)


def _ingredients(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    parts = []
    for language in theme.languages:
        head = choose(rng, language.ingredients_head)
        names = [language.ingredient(key) for key in facts.ingredients]
        if rng.random() < 0.6:
            names[1] += f" {int(rng.integers(5, 30))}%"
        text = ", ".join(names) + ". " + choose(rng, language.traces)
        if rng.random() < 0.4:
            text = text.upper() if rng.random() < 0.4 else text
            parts += [(head, True), (text, False)]
        else:
            parts.append((f"{head} {text}", False))
    scale = float(rng.uniform(0.85, 1.25))
    return paragraphs(theme, "ingredients", parts, width, scale, rng.random() < 0.25, False)


def _praise(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    language = theme.language
    count = int(rng.integers(1, len(language.sentences) + 1))
    text = " ".join(language.sentences[int(n)] for n in rng.permutation(len(language.sentences))[:count])
    parts = [(choose(rng, language.claims), True)] if rng.random() < 0.6 else []
    scale = float(rng.uniform(0.9, 1.6))
    return paragraphs(theme, "praise", [*parts, (text, False)], width, scale, False, rng.random() < 0.5)


def _storage(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    parts = [
        (f"{language.code.upper()} " + " ".join(language.storage), False) for language in theme.languages
    ]
    if len(parts) == 1:
        parts = [(" ".join(theme.language.storage), False)]
    return paragraphs(
        theme, "storage", parts, width, float(rng.uniform(0.85, 1.1)), rng.random() < 0.2, False
    )


def _address(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    lines = choose(rng, theme.language.address)
    web = f"www.{theme.brand.lower()}.example"
    number = " ".join(f"{int(rng.integers(10, 100))}" for _ in range(4))
    parts = [
        (line, place == 0 and rng.random() < 0.5)
        for place, line in enumerate((*lines, web, f"Tel. 0{number}"))
    ]
    scale = float(rng.uniform(0.85, 1.15))
    return paragraphs(theme, "address", parts, width, scale, rng.random() < 0.2, rng.random() < 0.5)


def _headline(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    parts = [(theme.name, True)] if rng.random() < 0.6 else [(choose(rng, theme.language.claims), True)]
    return paragraphs(
        theme, "headline", parts, width, float(rng.uniform(1.8, 3.2)), False, rng.random() < 0.6
    )


def _look_alike(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    style = draw_style(rng, theme, float(rng.uniform(0.9, 1.3)))
    return table_block(look_alike_text(rng, theme), style, theme, width, "look-alike table")


def _recycling(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    """Print boxes that say where each part of the package goes, side by side."""
    rows = theme.language.recycling
    font, bold = theme.font(0.8), theme.font(0.8, bold=True)
    line_height = round(theme.size * 0.98)
    height = 3 * line_height + 8
    each = min(width // len(rows), round(max(length(font, text) for row in rows for text in row)) + 12)

    def paint(draw: ImageDraw.ImageDraw) -> None:
        for place, (part, where) in enumerate(rows):
            left = place * each
            draw.rectangle((left, 0, left + each - 1, height - 1), theme.paper, theme.paper_ink, 1)
            middle = left + each / 2
            draw.text((middle, 3), part, theme.paper_ink, bold, anchor="ma")
            draw.text((middle, 3 + line_height), where, theme.paper_ink, font, anchor="ma")
            draw.polygon(
                [(middle - 5, height - 6), (middle + 5, height - 6), (middle, height - 14)], theme.paper_ink
            )

    return Block("recycling boxes", min(width, each * len(rows)), height, paint)


def _net(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    """Print the weight with the estimated sign, and a date in dots."""
    amount = int(choose(rng, (100, 125, 200, 250, 330, 400, 500, 750, 1000)))
    text = f"{amount} {facts.unit}" + (" e" if rng.random() < 0.7 else "")
    font = theme.font(2.0, bold=True)
    label = theme.font(0.9)
    date = f"{int(rng.integers(1, 29)):02d}.{int(rng.integers(1, 13)):02d}.20{int(rng.integers(24, 29))}"
    batch = f"L{int(rng.integers(1000, 99999))} {int(rng.integers(0, 24)):02d}:{int(rng.integers(0, 60)):02d}"
    wide = round(max(length(font, text), length(label, theme.language.best_before))) + 8
    if wide > width:
        return None
    size = theme.size

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.text((0, 0), theme.language.net, theme.ink, label)
        draw.text((0, size), text, theme.ink, font)
        draw.text((0, round(3.6 * size)), theme.language.best_before, theme.ink, label)
        draw.rectangle((0, round(4.9 * size), wide - 1, round(7.7 * size)), theme.paper)
        stamp = theme.font(1.1)
        draw.text((4, round(4.9 * size)), date, theme.paper_ink, stamp)
        draw.text((4, round(6.2 * size)), batch, theme.paper_ink, stamp)

    return Block("weight and date", wide, round(7.8 * size), paint)


MAKERS: Final[dict[str, tuple[float, Maker]]] = {
    "ingredients": (3.0, _ingredients),
    "praise": (1.6, _praise),
    "storage": (1.6, _storage),
    "address": (1.4, _address),
    "headline": (0.8, _headline),
    "look-alike table": (1.3, _look_alike),
    "recycling boxes": (0.7, _recycling),
    "weight and date": (1.0, _net),
    **MARKS,
}
"""Kind → how often it comes up, and what makes it; the marks included."""
