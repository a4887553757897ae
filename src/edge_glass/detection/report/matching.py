"""Which box was meant by which: what went wrong on a picture, and whether coordinates agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge_glass.core.boxes import as_boxes, iou_matrix, plain_label
from edge_glass.detection.measure.archive import DetectionRecord, load_detections
from edge_glass.reporting.run_folder import RunFolder

FOUND: Final = 0.5  # IoU from which on a box counts as found
OUTCOMES: Final = {
    "right": "all found, none too many",
    "off": "as many boxes as there should be, but off the mark",
    "name": "in the right place under a wrong name",
    "few": "too few boxes",
    "many": "too many boxes",
    "nothing": "nothing found, though there is something",
    "ghost": "something found, though there is nothing",
    "unparsable": "the answer cannot be read",
}
"""What can happen on a picture → in words."""


def detections_of(run: RunFolder) -> list[DetectionRecord]:
    """Return what was found on the pictures of the evaluated split, or []."""
    return run.evaluated(load_detections, "_detections.jsonl") or []


def outcome(record: DetectionRecord) -> str:
    """Say which of `OUTCOMES` a picture had: of the trained model."""
    if record.unparsable:
        return "unparsable"
    truth, found = len(record.true_boxes), len(record.boxes)
    if not found or not truth:
        return "nothing" if truth else "ghost" if found else "right"
    if found != truth:
        return "few" if found < truth else "many"
    rows, columns, overlaps = best_pairs(record.boxes, record.true_boxes)
    if overlaps.min() < FOUND:
        return "off"
    names = [plain_label(label) for label in record.labels]
    right = [plain_label(label) for label in record.true_labels]
    same = all(names[row] == right[column] for row, column in zip(rows, columns, strict=True))
    return "right" if same else "name"


def count_outcomes(records: Sequence[DetectionRecord]) -> list[tuple[str, str, int]]:
    """Return (outcome, in words, how many pictures) of those that happened, as in `OUTCOMES`."""
    counts = Counter(outcome(record) for record in records)
    return [(name, words, counts[name]) for name, words in OUTCOMES.items() if counts[name]]


def best_pairs(boxes: Any, truth: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs with the greatest sum of IoU, whatever their names: rows, columns, IoU `[min(n, m)]`."""
    from scipy.optimize import linear_sum_assignment

    overlaps = iou_matrix(boxes, truth)
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    return rows, columns, overlaps[rows, columns]


@dataclass(frozen=True)
class Centres:
    """Centres of predicted boxes beside those of the true boxes next to them, as shares of the picture.

    Attributes:
        found: Float64 `[P, 2]`, x and y.
        true: Float64 `[P, 2]`.
    """

    found: np.ndarray
    true: np.ndarray

    def __len__(self) -> int:
        return len(self.true)


def centres(records: Sequence[DetectionRecord], untouched: bool = False) -> Centres:
    """Compare pictures with as many boxes found as there should be: others have no clear counterpart."""
    from scipy.optimize import linear_sum_assignment

    found, true = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for record in records:
        boxes = as_boxes((record.untouched_boxes or []) if untouched else record.boxes)
        truth = as_boxes(record.true_boxes)
        if not len(truth) or len(boxes) != len(truth):
            continue
        middles = [
            (corners[:, :2] + corners[:, 2:]) / 2 / (record.width, record.height)
            for corners in (boxes, truth)
        ]
        apart = np.linalg.norm(middles[0][:, None] - middles[1][None], axis=-1)
        rows, columns = linear_sum_assignment(apart)
        found.append(middles[0][rows])
        true.append(middles[1][columns])
    return Centres(np.concatenate(found), np.concatenate(true))
