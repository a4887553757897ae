"""Marks on packages: barcodes, square codes, recycling and quality signs, scores, small pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import ImageDraw

from edge_glass_scenes.packages.drawing import BLACK, WHITE, Block, blend, choose, load_font
from edge_glass_scenes.packages.facts import Facts
from edge_glass_scenes.packages.theme import Theme

Maker = Callable[[np.random.Generator, Theme, Facts, int, str], Block | None]
"""Makes a block at most `width` pixels wide, or None: (rng, theme, facts, width, barcode) → block."""

_LEFT: Final = (
    *("0001101", "0011001", "0010011", "0111101", "0100011"),
    *("0110001", "0101111", "0111011", "0110111", "0001011"),
)
_PARITY: Final = (
    *("LLLLLL", "LLGLGG", "LLGGLG", "LLGGGL", "LGLLGG"),
    *("LGGLLG", "LGGGLL", "LGLGLG", "LGLGGL", "LGGLGL"),
)
_SCORES: Final = ((3, 129, 65), (133, 187, 47), (254, 203, 2), (238, 129, 0), (230, 62, 17))


def check_digit(twelve: str) -> str:
    """Return the last digit of an EAN-13 code."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(twelve))
    return str(-total % 10)


def bars(code: str) -> str:
    """Return the 95 modules of an EAN-13 code, "1" is black."""
    parity = _PARITY[int(code[0])]
    right = ["".join("10"[int(bit)] for bit in pattern) for pattern in _LEFT]
    left = "".join(
        _LEFT[int(digit)] if kind == "L" else right[int(digit)][::-1]
        for digit, kind in zip(code[1:7], parity, strict=True)
    )
    return "101" + left + "01010" + "".join(right[int(digit)] for digit in code[7:]) + "101"


def _barcode(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    module = int(rng.integers(2, 4)) if width > 360 else 2
    wide, high = 113 * module, round(module * float(rng.uniform(32, 66)))
    if wide > width:
        return None
    size = 9 * module
    font = load_font("DejaVuSans.ttf", size)
    upright = rng.random() < 0.8 or high + size > width

    def paint(draw: ImageDraw.ImageDraw) -> None:
        total = high + size
        draw.rectangle((0, 0, (wide if upright else total) - 1, (total if upright else wide) - 1), WHITE)
        for place, bit in enumerate(bars(code)):
            if bit == "1":
                left = (11 + place) * module
                across, along = (left, left + module - 1), (module * 3, high - 1)
                if upright:
                    draw.rectangle((across[0], along[0], across[1], along[1]), BLACK)
                else:
                    draw.rectangle((along[0], across[0], along[1], across[1]), BLACK)
        if upright:
            for part, at in ((code[0], 2), (code[1:7], 14), (code[7:], 61)):
                draw.text((at * module, high), part, BLACK, font)

    if upright:
        return Block("barcode", wide, high + size, paint)
    return Block("barcode", high + size, wide, paint)


def _square_code(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    side, module = 25, int(rng.integers(3, 6))
    if (side + 4) * module > width:
        return None
    cells = rng.random((side, side)) < 0.5
    for row, column in ((0, 0), (0, side - 7), (side - 7, 0)):
        cells[max(0, row - 1) : row + 8, max(0, column - 1) : column + 8] = False
        cells[row : row + 7, column : column + 7] = True
        cells[row + 1 : row + 6, column + 1 : column + 6] = False
        cells[row + 2 : row + 5, column + 2 : column + 5] = True
    wide = (side + 4) * module

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((0, 0, wide - 1, wide - 1), WHITE)
        for row, column in zip(*np.nonzero(cells), strict=True):
            left, top = (int(column) + 2) * module, (int(row) + 2) * module
            draw.rectangle((left, top, left + module - 1, top + module - 1), BLACK)

    return Block("square code", wide, wide, paint)


def _triangle(draw: ImageDraw.ImageDraw, theme: Theme, x: float, side: int, number: str) -> None:
    """Draw three arrows around a number, as on plastics."""
    line = max(2, side // 12)
    points = [(x + side / 2, 2), (x + side - 2, side * 0.85), (x + 2, side * 0.85)]
    for start, end in zip(points, (*points[1:], points[0]), strict=True):
        stop = (start[0] + 0.8 * (end[0] - start[0]), start[1] + 0.8 * (end[1] - start[1]))
        draw.line((*start, *stop), theme.ink, line)
        draw.ellipse((stop[0] - line, stop[1] - line, stop[0] + line, stop[1] + line), theme.ink)
    draw.text((x + side / 2, side * 0.42), number, theme.ink, theme.font(0.8, bold=True), anchor="ma")


def _bin(draw: ImageDraw.ImageDraw, theme: Theme, x: float, side: int) -> None:
    """Draw a figure that drops something into a bin."""
    head = side // 7
    draw.ellipse((x + head, 2, x + 3 * head, 2 + 2 * head), theme.ink)
    draw.line((x + 2 * head, 2 * head, x + 2 * head, side * 0.65), theme.ink, head)
    draw.line((x + 2 * head, side * 0.4, x + 4.5 * head, side * 0.3), theme.ink, max(2, head // 2))
    draw.line((x + 2 * head, side * 0.65, x + head, side - 2), theme.ink, max(2, head // 2))
    draw.line((x + 2 * head, side * 0.65, x + 3 * head, side - 2), theme.ink, max(2, head // 2))
    draw.rectangle((x + 4.5 * head, side * 0.5, x + 6.5 * head, side - 2), None, theme.ink, max(1, head // 3))


def _dot(draw: ImageDraw.ImageDraw, theme: Theme, x: float, side: int) -> None:
    """Draw a circle of two halves that turn into each other."""
    draw.ellipse((x + 2, 2, x + side - 2, side - 2), None, theme.ink, max(2, side // 16))
    draw.pieslice((x + 2, 2, x + side - 2, side - 2), 20, 200, theme.ink)


def _signs(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    """Draw one to four signs in a row."""
    side = round(theme.size * float(rng.uniform(2.4, 4.2)))
    step = round(side * 1.2)
    names = [choose(rng, ("triangle", "bin", "dot")) for _ in range(int(rng.integers(1, 5)))]
    number = choose(rng, ("1", "2", "5", "7", "21", "41"))
    if step * len(names) > width:
        return None

    def paint(draw: ImageDraw.ImageDraw) -> None:
        for place, name in enumerate(names):
            if name == "triangle":
                _triangle(draw, theme, place * step, side, number)
            else:
                (_bin if name == "bin" else _dot)(draw, theme, place * step, side)

    return Block("recycling signs", step * len(names), side, paint)


def _score(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    """Draw five letters from green to red, one of them larger."""
    side = round(theme.size * float(rng.uniform(1.6, 2.6)))
    wide, high = round(side * 6.2), round(side * 1.9)
    if wide > width:
        return None
    best = int(rng.integers(5))
    font, large = load_font("DejaVuSans-Bold.ttf", round(side * 0.7)), load_font("DejaVuSans-Bold.ttf", side)

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.rounded_rectangle((0, 0, wide - 1, high - 1), side // 4, WHITE)
        for place, colour in enumerate(_SCORES):
            grow = side * 0.25 if place == best else 0
            left, top = side * (0.5 + place * 1.04), side * 0.45
            box = (left - grow, top - grow, left + side + grow, top + side + grow)
            draw.rounded_rectangle(box, side // 4 if grow else 0, colour)
            draw.text(
                (left + side / 2, top + side / 2), "ABCDE"[place], WHITE, large if grow else font, anchor="mm"
            )

    return Block("score", wide, high, paint)


def _badge(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block | None:
    """Draw a round or square sign with a few words, or a leaf."""
    side = round(theme.size * float(rng.uniform(4.5, 8.0)))
    if side > width:
        return None
    leaf = rng.random() < 0.35
    words = choose(rng, theme.language.claims).split()
    colour = (60, 140, 60) if leaf else theme.accent
    font = theme.font(0.95, bold=True)

    def paint(draw: ImageDraw.ImageDraw) -> None:
        if leaf:
            draw.rounded_rectangle((0, 0, side - 1, side * 0.66), side // 10, colour)
            for place in range(9):
                turn = math.pi * (0.15 + place * 0.17)
                x, y = side * (0.5 - 0.3 * math.cos(turn)), side * (0.42 - 0.26 * math.sin(turn))
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), WHITE)
            return
        draw.ellipse((0, 0, side - 1, side - 1), colour, theme.accent_ink, max(1, side // 40))
        top = side / 2 - len(words) * theme.size * 0.6
        for place, word in enumerate(words):
            at = (side / 2, top + place * theme.size * 1.2)
            draw.text(at, word, theme.accent_ink, font, anchor="ma")

    return Block("badge", side, round(side * 0.67) if leaf else side, paint)


def _picture(rng: np.random.Generator, theme: Theme, facts: Facts, width: int, code: str) -> Block:
    """Draw a plate with food, as far as ellipses can show it."""
    high = round(width * float(rng.uniform(0.4, 0.75)))
    ground = blend(theme.accent, WHITE, float(rng.uniform(0.0, 0.7)))
    food = [(int(r), int(g), int(b)) for r, g, b in rng.integers((120, 60, 20), (250, 200, 120), size=(3, 3))]
    spots = rng.random((26, 3))

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((0, 0, width - 1, high - 1), ground)
        draw.ellipse((width * 0.12, high * 0.12, width * 0.88, high * 0.95), WHITE)
        draw.ellipse((width * 0.2, high * 0.2, width * 0.8, high * 0.86), (228, 226, 220))
        for place, (x, y, size) in enumerate(spots):
            turn, far = 6.283 * x, math.sqrt(y)
            middle = width * (0.5 + 0.24 * far * math.cos(turn)), high * (0.52 + 0.24 * far * math.sin(turn))
            half = width * (0.025 + 0.05 * size)
            box = (middle[0] - half, middle[1] - half * 0.8, middle[0] + half, middle[1] + half * 0.8)
            draw.ellipse(box, food[place % 3], blend(food[place % 3], BLACK, 0.3), 2)

    return Block("picture", width, high, paint)


MARKS: Final[dict[str, tuple[float, Maker]]] = {
    "barcode": (2.0, _barcode),
    "square code": (0.5, _square_code),
    "recycling signs": (1.4, _signs),
    "score": (0.8, _score),
    "badge": (0.8, _badge),
    "picture": (0.6, _picture),
}
"""Kind → how often it comes up, and what makes it."""
