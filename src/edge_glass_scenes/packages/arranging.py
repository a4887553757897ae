"""Arrange print in columns: first the nutrition tables, then whatever fits around them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from PIL import Image

from edge_glass_scenes.packages.drawing import Block, choose
from edge_glass_scenes.packages.facts import Facts, draw_facts
from edge_glass_scenes.packages.print_blocks import MAKERS
from edge_glass_scenes.packages.table_style import TableStyle, draw_style
from edge_glass_scenes.packages.table_text import TableText, nutrition_text
from edge_glass_scenes.packages.tables import table_block
from edge_glass_scenes.packages.theme import Theme
from edge_glass_scenes.packages.us_label import us_label_block

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the panel."""

TABLE: Final = "nutrition-table"
_ONCE: Final = ("barcode", "weight and date", "headline", "score", "ingredients")
_UPRIGHT: Final = ("barcode", "square code", "picture")


@dataclass
class Panel:
    """A face: the print, where the nutrition tables are, and what else is where (kind, box)."""

    image: Image.Image
    tables: list[Box] = field(default_factory=list)
    others: list[tuple[str, Box]] = field(default_factory=list)


@dataclass(frozen=True)
class Span:
    """Free room: a column or a part of one, in pixels."""

    left: int
    width: int
    top: int
    bottom: int


def arrange(
    rng: np.random.Generator, panel: Panel, theme: Theme, code: str, tables: int, columns: list[Span]
) -> None:
    """Print `tables` nutrition tables and other blocks into the columns; `panel` records what is where."""
    facts = draw_facts(rng, theme.kind)
    reach = 1 if len(columns) == 1 or rng.random() < 0.6 else int(rng.integers(2, len(columns) + 1))
    first = int(rng.integers(0, len(columns) - reach + 1))
    room = _join(columns[first : first + reach])
    blocks = _us_labels(rng, theme, facts, tables, room)
    squeeze = 1.0 if blocks else theme.squeeze
    blocks = blocks or _european_tables(rng, theme, facts, tables, room)
    if not blocks:
        first, reach, room = 0, len(columns), _join(columns)
        blocks = _european_tables(rng, theme, facts, 1, room)
    upper, lower = _place_tables(rng, panel, theme, blocks, squeeze, room)
    free = [column for place, column in enumerate(columns) if not first <= place < first + reach]
    for column in columns[first : first + reach]:
        free += [replace(column, bottom=upper), replace(column, top=lower)]
    used: dict[str, int] = {}
    for span in free:
        if span.bottom - span.top > 2 * theme.size:
            _fill(rng, panel, theme, facts, code, span, used)


def _join(columns: list[Span]) -> Span:
    return replace(columns[0], width=columns[-1].left + columns[-1].width - columns[0].left)


def _high(room: Span, count: int) -> int:
    """Return the most that a table can be high when `count` of them share the room."""
    return round((room.bottom - room.top) * (0.94 if count == 1 else 0.45))


def _us_labels(rng: np.random.Generator, theme: Theme, facts: Facts, count: int, room: Span) -> list[Block]:
    """Make labels of the American form for a part of the English products; none where they are too high."""
    if theme.language.code != "en" or rng.random() > 0.3:
        return []
    high = _high(room, count)
    wide = min(room.width, round(float(rng.uniform(260, 460))), round(high * 0.6))
    shown = [facts if place == 0 else draw_facts(rng, theme.kind) for place in range(count)]
    blocks = [us_label_block(rng, theme, one, wide) for one in shown]
    return blocks if all(block.height <= high for block in blocks) else []


def _european_tables(
    rng: np.random.Generator, theme: Theme, facts: Facts, count: int, room: Span
) -> list[Block]:
    """Make tables of one style, of two products or one in two languages; none where there is no room.

    When the print would get too small, the table has one language, then one column of amounts.
    """
    by_language = count == 2 and len(theme.languages) > 1 and rng.random() < 0.5
    style = draw_style(rng, theme, float(rng.uniform(0.95, 2.1)))
    shown = [facts if place == 0 or by_language else draw_facts(rng, theme.kind) for place in range(count)]
    for languages, short in (
        (theme.languages, False),
        (theme.languages[:1], False),
        (theme.languages[:1], True),
    ):
        texts = []
        for place, one in enumerate(shown):
            own = theme.languages[place : place + 1] if by_language else languages
            texts.append(nutrition_text(rng, one, own, short))
        blocks = _largest(texts, style, theme, round(room.width / theme.squeeze), _high(room, count))
        if blocks:
            return blocks
    return []


def _largest(texts: list[TableText], style: TableStyle, theme: Theme, width: int, high: int) -> list[Block]:
    """Make the tables in the style, in smaller print where they must be; none when it is too small."""
    while style.size >= 9:
        found = [table_block(text, style, theme, width, TABLE) for text in texts]
        blocks = [block for block in found if block is not None and block.height <= high]
        if len(blocks) == len(texts):
            return blocks
        style = style.smaller()
    return []


def _place_tables(
    rng: np.random.Generator, panel: Panel, theme: Theme, blocks: list[Block], squeeze: float, room: Span
) -> tuple[int, int]:
    """Print the tables below one another; returns where the room above ends and the room below begins."""
    gap = round(theme.size * float(rng.uniform(0.8, 1.6)))
    high = sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    spare = max(0, room.bottom - room.top - high)
    top = room.top + int(spare * choose(rng, (0.0, float(rng.random()), 1.0), (0.2, 0.65, 0.15)))
    side = choose(rng, (0.0, 0.5, 1.0), (0.6, 0.25, 0.15))
    y = top
    for block in blocks:
        left = room.left + round(max(0, room.width - block.width * squeeze) * side)
        panel.tables.append(block.place(panel.image, left, y, squeeze))
        y += block.height + gap
    return top - gap, y


def _fill(
    rng: np.random.Generator,
    panel: Panel,
    theme: Theme,
    facts: Facts,
    code: str,
    span: Span,
    used: dict[str, int],
) -> None:
    """Stack blocks in a free span, as many as fit; `used` counts what is already on the panel."""
    gap = round(theme.size * float(rng.uniform(0.6, 1.4)))
    stack: list[tuple[Block, float]] = []
    left, misses = span.bottom - span.top, 0
    while misses < 8:
        kind = _pick(rng, used)
        squeeze = 1.0 if kind in _UPRIGHT else theme.squeeze
        block = MAKERS[kind][1](rng, theme, facts, round(span.width / squeeze), code)
        if block is None or block.height > left:
            misses += 1
            continue
        used[kind] = used.get(kind, 0) + 1
        stack.append((block, squeeze))
        left -= block.height + gap
    spare = max(0, left) / (len(stack) + 1) if rng.random() < 0.6 else 0
    y = float(span.top)
    for block, squeeze in stack:
        y += spare
        shift = max(0, span.width - round(block.width * squeeze))
        x = span.left + round(shift * choose(rng, (0.0, 0.5, 1.0), (0.6, 0.25, 0.15)))
        panel.others.append((block.kind, block.place(panel.image, x, int(y), squeeze)))
        y += block.height + gap


def _pick(rng: np.random.Generator, used: dict[str, int]) -> str:
    """Pick a kind of block; what is there already comes up less often, some things only once."""
    shares = [
        share * (0.0 if kind in _ONCE and kind in used else 0.35 ** used.get(kind, 0))
        for kind, (share, _) in MAKERS.items()
    ]
    return choose(rng, list(MAKERS), shares)
