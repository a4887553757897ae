"""How well boxes lie on one another: IoU, and which box found which.

Boxes are x1, y1, x2, y2; the areas are those of the plane, without COCO's older "+ 1" pixel. A box without an
area, or an inverted one, has IoU 0 with everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Matches(NamedTuple):
    """Pairs of a found and a true box; each box is in at most one.

    Attributes:
        found: int64 `[k]`, index of the found box.
        true: int64 `[k]`, index of the true box.
        iou: float64 `[k]`.
    """

    found: np.ndarray
    true: np.ndarray
    iou: np.ndarray


def calculate_iou(box_a: Any, box_b: Any) -> float:
    """Compute the area that two boxes share, as a share of the area that they cover together; 0 to 1.

    Args:
        box_a: Four numbers, x1 y1 x2 y2.
        box_b: The same.

    Raises:
        ValueError: One of them has not four finite numbers.
    """
    return float(iou_matrix([box_a], [box_b])[0, 0])


def iou_matrix(boxes_a: Any, boxes_b: Any) -> np.ndarray:
    """Compute the IoU of each box with each other, float64 `[n, m]`.

    Args:
        boxes_a: float `[n, 4]` x1 y1 x2 y2; n may be 0.
        boxes_b: float `[m, 4]`.

    Raises:
        ValueError: Another shape, or a number that is not finite.
    """
    a, b = as_boxes(boxes_a, finite=True), as_boxes(boxes_b, finite=True)
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    opposite = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (opposite - corner).clip(min=0.0).prod(axis=2)
    real = (box_areas(a) > 0.0)[:, None] & (box_areas(b) > 0.0)[None]
    covered = box_areas(a)[:, None] + box_areas(b)[None] - shared
    return np.divide(shared, covered, out=np.zeros_like(shared), where=real & (covered > 0.0))


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Compute areas, float64 `[n]`; 0 for inverted boxes."""
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0.0).prod(axis=1)


def match_boxes(
    boxes: Any,
    labels: Sequence[str],
    true_boxes: Any,
    true_labels: Sequence[str],
    threshold: float = 0.0,
) -> Matches:
    """Give every true box at most one found box of the same label, the best way for the picture as a whole.

    Without a threshold the sum of the IoU is greatest. With one, only pairs that reach it count: as many of
    them as possible, and among those ways the one whose IoU is greatest.

    Args:
        boxes: Found, float `[n, 4]`.
        labels: Labels of the found boxes; case and the number of blanks do not matter.
        true_boxes: float `[m, 4]`.
        true_labels: Labels of the true boxes.
        threshold: Least IoU of a pair; a pair that shares nothing never matches.

    Source: Kuhn, The Hungarian method for the assignment problem (1955), in SciPy's implementation.
    """
    from scipy.optimize import linear_sum_assignment

    iou = iou_matrix(boxes, true_boxes)
    if iou.shape != (len(labels), len(true_labels)):
        raise ValueError(f"{iou.shape} boxes, but {len(labels)} and {len(true_labels)} labels")
    found_names = np.array([plain_label(label) for label in labels], dtype=object)
    true_names = np.array([plain_label(label) for label in true_labels], dtype=object)
    usable = (found_names[:, None] == true_names[None]) & (iou >= threshold) & (iou > 0.0)
    each = min(iou.shape, default=0) + 1.0 if threshold > 0.0 else 0.0  # outweighs any sum of IoU
    found, true = linear_sum_assignment(np.where(usable, iou + each, 0.0), maximize=True)
    kept = usable[found, true]
    return Matches(found[kept], true[kept], iou[found[kept], true[kept]])


def plain_label(label: str) -> str:
    """Return a label as it is compared: without regard to case and the number of blanks."""
    return " ".join(label.casefold().split())


def as_boxes(boxes: Any, finite: bool = False) -> np.ndarray:
    """Return anything with four numbers a box as float64 `[n, 4]`; nothing as `[0, 4]`, None as NaN.

    Args:
        boxes: Arrays, lists or tuples.
        finite: Refuse NaN and infinite numbers.

    Raises:
        ValueError: Another shape, or a number that is not finite.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"expected boxes of four numbers, [n, 4], got an array of shape {list(array.shape)}")
    if finite and not np.isfinite(array).all():
        raise ValueError("expected boxes of finite numbers, got some that are not finite")
    return array
