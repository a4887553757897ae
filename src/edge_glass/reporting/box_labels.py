"""Names beside boxes: where they cover nothing, and in letters that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

LETTERS: Final = (11, 44)  # pixels; smaller letters cannot be read, larger ones say no more
COVERED: Final = 0.25  # a label that would cover more than this share of a box is left out

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom; the last two are beyond it."""


class DrawnBox(NamedTuple):
    """A box as it is drawn: where, what is written at it, in which colour, and whether its line is broken."""

    corners: Rectangle
    words: str
    color: str
    broken: bool


def outside(corners: Rectangle, size: tuple[int, int]) -> bool:
    """Whether nothing of a box is on a picture of this size."""
    return corners[0] >= size[0] or corners[1] >= size[1] or corners[2] <= 0 or corners[3] <= 0


def write_labels(
    draw: ImageDraw.ImageDraw, boxes: Sequence[DrawnBox], width: int, size: tuple[int, int]
) -> None:
    """Names on a ground of the box's colour, each at its own place."""
    font = _font(min(max(min(size) / 26, LETTERS[0]), LETTERS[1]))
    pad = max(2, width)
    corners = np.array([box.corners for box in boxes])
    taken: list[Rectangle] = []
    for box in boxes:
        words = _fitting(draw, box.words, font, size[0] - 2 * pad)
        if not words or outside(box.corners, size):
            continue
        x1, y1, x2, y2 = draw.textbbox((0, 0), words, font=font)
        place = _place(box.corners, (x2 - x1 + 2 * pad, y2 - y1 + 2 * pad), width, size, corners, taken)
        if place is None:
            continue
        taken.append(place)
        draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=box.color)
        draw.text((place[0] + pad - x1, place[1] + pad - y1), words, fill="#FFFFFF", font=font)


def _place(
    own: Rectangle,
    label: tuple[float, float],
    width: int,
    size: tuple[int, int],
    boxes: np.ndarray,
    taken: Sequence[Rectangle],
) -> Rectangle | None:
    """Where a label covers least: above or below its box, beside it, or within it; None where it may not."""
    x1, y1, x2, y2 = own[0] - width, own[1] - width, own[2] + width, own[3] + width
    across, high = label
    wanted = [
        *((x, y) for y in (y1 - high, y2) for x in (x1, x2 - across)),
        *((x, y) for x in (x2, x1 - across) for y in (y1, y2 - high)),
        *((x, y) for y in (own[1], own[3] - high) for x in (own[0], own[2] - across)),
    ]
    best: tuple[float, Rectangle] | None = None
    for x, y in wanted:
        left = round(min(max(x, 0), max(size[0] - across, 0)))
        top = round(min(max(y, 0), max(size[1] - high, 0)))
        place = (left, top, left + across, top + high)
        covered = _shared(place, boxes)
        cost = float(covered.sum()) + 2 * float(_shared(place, np.array(taken).reshape(-1, 4)).sum())
        if covered.max(initial=0.0) <= COVERED and (best is None or cost < best[0] - 1e-9):
            best = (cost, place)
    return None if best is None else best[1]


def _shared(place: Rectangle, rectangles: np.ndarray) -> np.ndarray:
    """The share of each of `rectangles` `[n, 4]` that lies under `place`, float `[n]`."""
    wide = np.minimum(rectangles[:, 2], place[2]) - np.maximum(rectangles[:, 0], place[0])
    high = np.minimum(rectangles[:, 3], place[3]) - np.maximum(rectangles[:, 1], place[1])
    sides = np.maximum(rectangles[:, 2:] - rectangles[:, :2], 1.0)
    return np.clip(wide, 0, None) * np.clip(high, 0, None) / sides.prod(axis=1)


def _fitting(draw: ImageDraw.ImageDraw, words: str, font: Any, most: float) -> str:
    """One line that is at most so many pixels wide; nothing where not even three letters fit."""
    line = " ".join(words.split())
    shown = line
    while shown and draw.textlength(shown if shown == line else f"{shown}…", font=font) > most:
        shown = shown[:-1].rstrip()
    if shown == line:
        return line
    return f"{shown}…" if len(shown) >= 3 else ""


def _font(pixels: float) -> ImageFont.FreeTypeFont:
    """matplotlib's own DejaVu Sans, which has Latin, Greek and Cyrillic letters."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    return ImageFont.truetype(str(path), round(pixels))
