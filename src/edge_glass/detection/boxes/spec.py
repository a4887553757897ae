"""How data sets write boxes, and which boxes cannot be right.

Everywhere else in memory a box is xyxy in pixels of the upright source picture, float64.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import numpy as np

from edge_glass.core.boxes import as_boxes

OVERSHOOT: Final = 0.01
"""Share of a side by which a box may reach over its picture, at least a pixel; it is clipped then."""


class BoxSpec(StrEnum):
    """How a data set writes a box: which four numbers, in which order and unit.

    Relative numbers are shares of the picture's width (x) and height (y).
    """

    YXYX_RELATIVE = "yxyx_relative"
    XYXY_RELATIVE = "xyxy_relative"
    XYXY = "xyxy"
    XYWH = "xywh"
    XYWH_RELATIVE = "xywh_relative"
    CXCYWH_RELATIVE = "cxcywh_relative"

    @property
    def relative(self) -> bool:
        """Whether its numbers are shares of the sides."""
        return self.value.endswith("_relative")

    @property
    def layout(self) -> str:
        """The order and meaning of its numbers, such as `yxyx`."""
        return self.value.removesuffix("_relative")

    def to_pixels(self, raw: Any, width: int, height: int) -> np.ndarray:
        """Boxes as the data set writes them `[n, 4]` → float64 `[n, 4]` xyxy in pixels.

        Nothing is checked or clipped: see `box_problem` and `clip_boxes`.

        Raises:
            ValueError: A box has not four numbers.
        """
        numbers = as_boxes(raw)
        first, second, third, fourth = numbers.T
        match self.layout:
            case "yxyx":
                corners = (second, first, fourth, third)
            case "xywh":
                corners = (first, second, first + third, second + fourth)
            case "cxcywh":
                half_width, half_height = third / 2, fourth / 2
                corners = (first - half_width, second - half_height, first + half_width, second + half_height)
            case _:
                corners = (first, second, third, fourth)
        return np.stack(corners, axis=1) * self._scale(width, height)

    def from_pixels(self, boxes: Any, width: int, height: int) -> np.ndarray:
        """The inverse of `to_pixels`: float64 `[n, 4]` as the data set writes them.

        Raises:
            ValueError: A box has not four numbers.
        """
        left, top, right, bottom = (as_boxes(boxes) / self._scale(width, height)).T
        match self.layout:
            case "yxyx":
                numbers = (top, left, bottom, right)
            case "xywh":
                numbers = (left, top, right - left, bottom - top)
            case "cxcywh":
                numbers = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            case _:
                numbers = (left, top, right, bottom)
        return np.stack(numbers, axis=1)

    def _scale(self, width: int, height: int) -> np.ndarray:
        sides = (width, height, width, height) if self.relative else (1, 1, 1, 1)
        return np.array(sides, dtype=np.float64)


def box_problem(box: Any, width: int, height: int) -> str | None:
    """Why a box cannot be used; None when it can, perhaps after `clip_boxes`.

    Args:
        box: xyxy in pixels, 4 numbers.
        width: Of its picture.
        height: Of its picture.
    """
    corners = np.asarray(box, dtype=np.float64)
    left, top, right, bottom = corners
    named = f"the box ({', '.join(f'{number:.6g}' for number in corners)}), x1 y1 x2 y2 in pixels,"
    if not np.isfinite(corners).all():
        return f"{named} is not four finite numbers"
    if right < left or bottom < top:
        return f"{named} is inverted"
    if right == left or bottom == top:
        return f"{named} has no area"
    sides = np.array([width, height], dtype=np.float64)
    allowed = np.maximum(1.0, OVERSHOOT * sides)
    outside = (corners[:2] < -allowed).any() or (corners[2:] > sides + allowed).any()
    cut = clip_boxes(corners[None], width, height)[0]
    if outside or (cut[:2] >= cut[2:]).any():
        return f"{named} reaches outside of its picture of {width}x{height}"
    return None


def clip_boxes(boxes: Any, width: int, height: int) -> np.ndarray:
    """Boxes `[n, 4]` xyxy in pixels, cut where they reach over their picture."""
    return np.clip(as_boxes(boxes), 0.0, np.array([width, height, width, height], dtype=np.float64))


def swap_axes(boxes: Any, width: int, height: int, relative: bool) -> np.ndarray:
    """Boxes `[n, 4]` xyxy in pixels as they would be had x and y been read the other way round.

    Args:
        boxes: As they were read.
        width: Of their picture.
        height: Of their picture.
        relative: Whether the data set writes shares of the sides, which are exchanged then; else pixels are.
    """
    swapped = as_boxes(boxes)[:, [1, 0, 3, 2]]
    stretch = width / height if relative else 1.0
    return swapped * np.array([stretch, 1 / stretch, stretch, 1 / stretch])
