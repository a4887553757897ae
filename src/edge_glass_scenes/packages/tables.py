"""Lay out and paint a table in a given style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from PIL import ImageDraw, ImageFont

from edge_glass_scenes.packages.drawing import Block, length, wrap
from edge_glass_scenes.packages.table_style import TableStyle
from edge_glass_scenes.packages.table_text import TableText
from edge_glass_scenes.packages.theme import Theme


class _Row(NamedTuple):
    """A laid-out row: the lines of each cell, its top and height."""

    role: str
    cells: list[list[str]]
    top: int
    height: int


@dataclass
class _Layout:
    rows: list[_Row]
    columns: list[int]
    left: int
    width: int
    height: int


def table_block(text: TableText, style: TableStyle, theme: Theme, width: int, kind: str) -> Block | None:
    """Return the table as a block at most `width` wide, in smaller print if need be, or None."""
    while style.size >= 9:
        layout = _lay_out(text, style, theme, width)
        if layout is not None:
            return Block(kind, layout.width, layout.height, _painter(layout, style, theme))
        style = style.smaller()
    return None


def _font(theme: Theme, style: TableStyle, bold: bool) -> ImageFont.FreeTypeFont:
    return theme.font(style.size / theme.size, bold=bold)


def _longest(cell: list[str], font: ImageFont.FreeTypeFont) -> float:
    return max((length(font, line) for line in cell), default=0.0)


def _lay_out(text: TableText, style: TableStyle, theme: Theme, width: int) -> _Layout | None:
    plain, bold = _font(theme, style, False), _font(theme, style, True)
    margin = style.frame + (style.pad_x if style.frame or style.fill else 0)
    room = width - 2 * margin
    count = max(len(line.cells) for line in text.lines)
    values = []
    for place in range(count):
        widest = max(_longest(line.cells[place].split("\n"), bold) for line in text.lines)
        head = text.head[place + 1].split() if len(text.head) > place + 1 else []
        values.append(
            round(max([widest, 3 * style.size, *(length(bold, word) for word in head)])) + style.pad_x
        )
    labels = [(style.indent if line.minor else "") + line.label for line in text.lines]
    natural = max(length(bold, label) for label in labels) + 2 * style.pad_x
    label_room = room - sum(values)
    if label_room < min(natural, 0.3 * room):
        return None
    label_width = label_room if style.wide else min(label_room, round(natural))
    if label_width > 2.2 * natural and count:  # a far gap: share it among the columns
        spare = round((label_width - 2.2 * natural) / (count + 1))
        values = [value + spare for value in values]
        label_width = room - sum(values)
    columns = [label_width, *values]
    return _stack(text, style, labels, columns, margin, plain, bold)


def _stack(
    text: TableText,
    style: TableStyle,
    labels: list[str],
    columns: list[int],
    margin: int,
    plain: ImageFont.FreeTypeFont,
    bold: ImageFont.FreeTypeFont,
) -> _Layout | None:
    """Put the rows below one another; None when a word is wider than its column."""
    inner = sum(columns)
    line_height = round(style.size * 1.2)
    top = style.frame + (style.pad_y if style.frame or style.fill else 0)
    rows: list[_Row] = []

    def add(role: str, cells: list[list[str]], padding: int) -> None:
        nonlocal top
        height = max(len(cell) for cell in cells) * line_height + 2 * padding + style.line
        rows.append(_Row(role, cells, top, height))
        top += height

    if text.title:
        add("title", [wrap(text.title, bold, inner - style.pad_x)], style.pad_y)
    if any(text.head):
        heads = [wrap(head, bold, wide - style.pad_x) for head, wide in zip(text.head, columns, strict=False)]
        add("head", heads, style.pad_y)
    for label, line in zip(labels, text.lines, strict=True):
        lines = wrap(label, bold, columns[0] - style.pad_x)
        if line.minor and style.indent.isspace():
            lines = ["   " + part for part in lines]
        add(
            "minor" if line.minor else "major",
            [lines, *(cell.split("\n") for cell in line.cells)],
            style.pad_y,
        )
    if text.footnote:
        add("footnote", [wrap(text.footnote, plain, inner - style.pad_x)], style.pad_y)
    for row in rows:
        room = columns[0] - style.pad_x / 2 if row.role in ("major", "minor", "head") else inner
        if _longest(row.cells[0], bold) > room:
            return None
    bottom = top + style.frame + (style.pad_y if style.frame or style.fill else 0)
    return _Layout(rows, columns, margin, inner + 2 * margin, bottom)


def _painter(layout: _Layout, style: TableStyle, theme: Theme) -> Callable[[ImageDraw.ImageDraw], None]:
    def paint(draw: ImageDraw.ImageDraw) -> None:
        box = (0, 0, layout.width - 1, layout.height - 1)
        if style.fill is not None or style.frame:
            outline = style.ink if style.frame else None
            if style.corner:
                draw.rounded_rectangle(box, style.corner, style.fill, outline, style.frame)
            else:
                draw.rectangle(box, style.fill, outline, style.frame)
        for place, row in enumerate(layout.rows):
            _paint_row(draw, layout, style, theme, row, place)
        _paint_columns(draw, layout, style)

    return paint


def _paint_row(
    draw: ImageDraw.ImageDraw, layout: _Layout, style: TableStyle, theme: Theme, row: _Row, place: int
) -> None:
    ink = style.ink
    across = (style.frame, layout.width - 1 - style.frame)
    if style.band and row.role in ("title", "head"):
        draw.rectangle((across[0], row.top, across[1], row.top + row.height - 1), style.band[0])
        ink = style.band[1]
    elif style.stripes and place % 2 and row.role in ("major", "minor"):
        draw.rectangle((across[0], row.top, across[1], row.top + row.height - 1), style.stripes)
    above = layout.rows[place - 1].role if place else ""
    ruled = style.rules in ("rows", "grid") or (style.rules == "major" and row.role != "minor")
    if ruled and place and not (above == "title" and not style.frame and not style.band):
        draw.line((across[0], row.top, across[1], row.top), style.ink, style.line)
    font = _font(
        theme, style, row.role in ("title", "head") or (style.bold == "major" and row.role == "major")
    )
    values = _font(theme, style, row.role == "head" or style.bold == "values")
    line_height = round(style.size * 1.2)
    first = row.top + (row.height - max(len(cell) for cell in row.cells) * line_height) // 2
    left = layout.left
    for column, cell in enumerate(row.cells):
        wide = layout.columns[column] if len(row.cells) > 1 else sum(layout.columns)
        for number, line in enumerate(cell):
            y = first + number * line_height
            if column == 0:
                draw.text((left, y), line, ink, font)
                if style.dots and row.role in ("major", "minor") and number == len(cell) - 1:
                    _paint_dots(draw, style, (left + length(font, line), left + wide, y + line_height))
            else:
                draw.text((_start(style, length(values, line), left, wide, column), y), line, ink, values)
        left += wide


def _start(style: TableStyle, long: float, left: int, wide: int, column: int) -> float:
    bare = not (style.frame or style.fill)
    if style.align == "left":
        return left + (wide - long if bare and long > wide - style.pad_x / 2 else style.pad_x / 2)
    if style.align == "centre":
        return left + (wide - long) / 2
    return left + wide - long - (0 if bare else style.pad_x / 3)


def _paint_dots(draw: ImageDraw.ImageDraw, style: TableStyle, span: tuple[float, float, int]) -> None:
    start, end, y = span
    for x in range(round(start + style.size * 0.5), round(end), max(4, style.size // 3)):
        draw.point((x, y - style.size // 3), style.ink)


def _paint_columns(draw: ImageDraw.ImageDraw, layout: _Layout, style: TableStyle) -> None:
    if style.rules != "grid":
        return
    rows = [row for row in layout.rows if len(row.cells) > 1]
    left = layout.left
    for wide in layout.columns[:-1]:
        left += wide
        draw.line((left, rows[0].top, left, rows[-1].top + rows[-1].height), style.ink, style.line)
