"""Boxes that a page lays over a picture: beside its pixels, not in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_glass.reporting.boxes import box_array

Kind = Literal["truth", "trained", "untouched"]


@dataclass(frozen=True)
class ShownBox:
    """A box in percent of its picture.

    Attributes:
        kind: `truth`, `trained` (what a model found, or what it is taught) or `untouched`.
        left: Of its left edge, 0 to 100.
        top: Of its top edge.
        width: Its width.
        height: Its height.
        words: What is written at it: a name, perhaps a score.
        hint: What is said when it is pointed at: name and pixels.
    """

    kind: Kind
    left: float
    top: float
    width: float
    height: float
    words: str
    hint: str

    @property
    def style(self) -> str:
        """Its place, as CSS."""
        sides = {"left": self.left, "top": self.top, "width": self.width, "height": self.height}
        return "; ".join(f"{name}: {value:.3f}%" for name, value in sides.items())

    @property
    def places(self) -> str:
        """Where words at it would leave the picture, as CSS classes: `high`, `low`, `right`."""
        found = {
            "high": self.top < 8,
            "low": self.top + self.height > 92,
            "right": self.left + self.width / 2 > 50,
        }
        return " ".join(name for name, here in found.items() if here)


def shown_boxes(
    kind: Kind,
    boxes: Any,
    size: tuple[float, float],
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
) -> tuple[ShownBox, ...]:
    """Boxes to be laid over a picture; what lies outside of it is cut off.

    Args:
        kind: Of all of them.
        boxes: `[n, 4]`, x1, y1, x2, y2 in pixels.
        size: Width and height that they are pixels of.
        labels: `n` names.
        scores: `n` numbers.
    """
    found = box_array(boxes)
    names = list(labels) if labels is not None else [""] * len(found)
    words = names if scores is None else [f"{n} {s:.2f}".strip() for n, s in zip(names, scores, strict=True)]
    scale = 100.0 / np.array([*size, *size], dtype=np.float64)
    return tuple(
        _shown(kind, box, scale, name, word)
        for box, name, word in zip(found, names, words, strict=True)
        if np.isfinite(box).all()
    )


def _shown(kind: Kind, box: np.ndarray, scale: np.ndarray, name: str, words: str) -> ShownBox:
    corners = np.clip(box * scale, 0.0, 100.0)
    left, top = (float(min(corners[i], corners[i + 2])) for i in (0, 1))
    right, bottom = (float(max(corners[i], corners[i + 2])) for i in (0, 1))
    place = f"x {box[0]:.0f} to {box[2]:.0f}, y {box[1]:.0f} to {box[3]:.0f}"
    hint = f"{kind}: {words or name}, {place}" if words else f"{kind}: {place}"
    return ShownBox(kind, left, top, right - left, bottom - top, words, hint)
