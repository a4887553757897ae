"""Do the boxes of a data set fit its pictures, or would they with x and y the other way round?

A wrong order raises no error, and boxes that nearly fill their picture hide it. Things end at the edges of
their boxes: just inside of a box there is more going on than just outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from edge_glass.detection.boxes.spec import clip_boxes, swap_axes
from edge_glass.detection.data.table import DetectionTable

ROWS: Final = 64
CLEAR: Final = 1e-5
"""A difference is clear where chance alone would give it less often than this."""

_SIDE: Final = 256  # pictures are shrunk to about it: edges of things stay, those of their texture go
_BAND: Final = 0.15  # thickness of the bands along an edge, as a share of the box
_NEARLY_EQUAL: Final = 0.9  # IoU from which both readings are the same box to this test
_FEWEST: Final = 12


@dataclass(frozen=True)
class OrderEvidence:
    """How well the boxes fit as they are, and with x and y swapped.

    Attributes:
        rows: How many pictures could tell the difference.
        given: Mean fit of the boxes as they are, -1 to 1.
        swapped: The same with x and y swapped.
        p_value: How often chance alone would favour one reading so much (Wilcoxon's signed-rank test, two
            sided).
    """

    rows: int
    given: float
    swapped: float
    p_value: float

    @property
    def verdict(self) -> str:
        """`given` or `swapped`, what clearly fits better; else `unclear`."""
        if self.rows < _FEWEST or self.p_value >= CLEAR:
            return "unclear"
        return "given" if self.given > self.swapped else "swapped"


def order_evidence(table: DetectionTable, rows: int = ROWS) -> OrderEvidence:
    """Compare both readings of the boxes on some pictures, evenly spread.

    Pictures in which the readings nearly agree, or one of them is no box, say nothing and are passed over.

    Args:
        table: The rows; `relative` says what swapping exchanges.
        rows: How many pictures are looked at.
    """
    boxed = [index for index in range(len(table)) if len(table.boxes[index])]
    chosen = [
        boxed[place] for place in np.linspace(0, len(boxed) - 1, min(rows, len(boxed))).round().astype(int)
    ]
    pairs = [pair for index in chosen if (pair := _compare(table, index)) is not None]
    if not pairs:
        return OrderEvidence(0, 0.0, 0.0, 1.0)
    given, swapped = np.array(pairs).T
    return OrderEvidence(len(pairs), float(given.mean()), float(swapped.mean()), _chance(given - swapped))


def _compare(table: DetectionTable, index: int) -> tuple[float, float] | None:
    """Fit of the boxes of one picture as they are and swapped; None where that says nothing."""
    width, height = table.sizes[index]
    given = table.boxes[index]
    swapped = swap_axes(given, width, height, table.relative)
    inside = clip_boxes(swapped, width, height)
    telling = (_areas(inside) > 0.5 * _areas(swapped)) & (_ious(given, inside) < _NEARLY_EQUAL)
    if not telling.any():
        return None
    energy, scale = _energy(table.rgb(index))
    fits = [[_fit(energy, box * scale) for box in boxes[telling]] for boxes in (given, inside)]
    return float(np.mean(fits[0])), float(np.mean(fits[1]))


def _energy(image: Image.Image) -> tuple[np.ndarray, float]:
    """How much a shrunken picture changes from pixel to pixel, as sums from its corner `[h + 1, w + 1]`.

    Returns:
        The sums, and what boxes in pixels of the picture are multiplied by.
    """
    factor = max(1, max(image.size) // _SIDE)
    small = image.reduce(factor)
    pixels = np.asarray(small, dtype=np.float64)
    change = np.zeros(pixels.shape[:2])
    change[:, 1:] += np.abs(np.diff(pixels, axis=1)).max(axis=2)
    change[1:, :] += np.abs(np.diff(pixels, axis=0)).max(axis=2)
    sums = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return sums, 1 / factor


def _fit(sums: np.ndarray, box: np.ndarray) -> float:
    """How much more goes on just inside of the edges of a box than just outside, -1 to 1.

    Edges that are the picture's own are passed over.
    """
    left, top, right, bottom = box
    across, down = max(2.0, _BAND * (right - left)), max(2.0, _BAND * (bottom - top))
    mean = sums[-1, -1] / ((sums.shape[0] - 1) * (sums.shape[1] - 1))
    gap = 1.0  # an edge that is shrunken is spread over two pixels
    bands = [
        ((left - gap, top, left + across, bottom), (left - gap - across, top, left - gap, bottom)),
        ((right - across, top, right + gap, bottom), (right + gap, top, right + gap + across, bottom)),
        ((left, top - gap, right, top + down), (left, top - gap - down, right, top - gap)),
        ((left, bottom - down, right, bottom + gap), (left, bottom + gap, right, bottom + gap + down)),
    ]
    found = []
    for inner, outer in bands:
        within, without = _mean_of(sums, inner), _mean_of(sums, outer)
        if within is not None and without is not None:
            found.append((within - without) / (within + without + 0.1 * mean + 1e-9))
    return float(np.mean(found)) if found else 0.0


def _mean_of(sums: np.ndarray, area: tuple[float, float, float, float]) -> float | None:
    """Mean change within an area; None where less than a pixel of it lies in the picture."""
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    left, right = (int(np.clip(round(edge), 0, width)) for edge in (area[0], area[2]))
    top, bottom = (int(np.clip(round(edge), 0, height)) for edge in (area[1], area[3]))
    if right <= left or bottom <= top:
        return None
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return float(total / ((right - left) * (bottom - top)))


def _chance(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None), axis=1)


def _ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of each box with the one at its place."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
    return shared / np.maximum(_areas(first) + _areas(second) - shared, 1e-9)
