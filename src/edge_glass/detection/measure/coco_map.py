"""COCO's mean average precision, by pycocotools, with the log-probabilities of tokens as scores.

Average precision needs the found boxes in an order of confidence. Language models give none; what stands in
for it here is the probability of the tokens that a box was written with. These numbers can be compared with
one another, and not with those of detectors that were trained to give scores.

Source: cocodataset.org/#detection-eval. The bootstrap counts each picture as often as it was drawn: equal to
running COCO's evaluation on the drawn pictures, for the price of one matching.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge_glass.core.boxes import as_boxes, plain_label
from edge_glass.core.extras import optional_module
from edge_glass.evaluation.intervals import CHUNK_BYTES

COCO_METRICS: Final = ("map", "map_50", "map_75")
MOST_BOXES: Final = 100
"""Of a picture and category, the surest so many count (COCO's own bound)."""

_PLACES: Final = {"map": slice(None), "map_50": slice(0, 1), "map_75": slice(5, 6)}
_RECALLS: Final = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class _Category:
    """The found boxes of one category, the surest first.

    Attributes:
        pictures: int64 `[D]`, whose picture each is in.
        right: bool `[T, D]`, whether it found a true box at each IoU threshold.
        truths: float64 `[N]`, true boxes by picture.
    """

    pictures: np.ndarray
    right: np.ndarray
    truths: np.ndarray


@dataclass(frozen=True)
class CocoPrecision:
    """Average precision of a split.

    Attributes:
        values: `map` (mean over IoU 0.50, 0.55, …, 0.95), `map_50` and `map_75`, as pycocotools has them.
    """

    values: dict[str, float]
    _categories: list[_Category]

    def draws(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The same for drawn pictures.

        Args:
            counts: Integer `[b, N]`, how often each picture is drawn.

        Returns:
            float64 `[b]` by name; 0 where no true box was drawn. Categories without a drawn true box are left
            out of the mean, as COCO does.
        """
        precisions = np.stack([self._of_category(one, counts) for one in self._categories])  # [K, b, T]
        measured = np.stack([counts @ one.truths > 0 for one in self._categories])  # [K, b]
        means = (precisions * measured[..., None]).sum(axis=0)
        means /= np.maximum(measured.sum(axis=0), 1)[:, None]
        return {name: means[:, where].mean(axis=1) for name, where in _PLACES.items()}

    @staticmethod
    def _of_category(category: _Category, counts: np.ndarray) -> np.ndarray:
        """Average precisions in chunks of draws, to bound memory: there may be 100 boxes a picture."""
        rows = max(1, CHUNK_BYTES // (8 * max(len(category.pictures), 1)))
        chunks = [counts[first : first + rows] for first in range(0, len(counts), rows)]
        return np.concatenate([_average_precisions(category, chunk) for chunk in chunks])


def coco_precision(
    boxes: Sequence[Any],
    labels: Sequence[Sequence[str]],
    scores: Sequence[Any],
    true_boxes: Sequence[Any],
    true_labels: Sequence[Sequence[str]],
) -> CocoPrecision | None:
    """Average precision over all pictures; None when there is no true box at all.

    Found boxes whose label no true box of the split has do not count, as in COCO.

    Args:
        boxes: Of each picture, float `[n, 4]` xyxy.
        labels: Of each picture, n labels.
        scores: Of each picture, float `[n]`: the greater, the surer.
        true_boxes: Of each picture, float `[m, 4]`.
        true_labels: Of each picture, m labels.

    Raises:
        ConfigError: pycocotools is not installed.
    """
    names = sorted({plain_label(label) for picture in true_labels for label in picture})
    if not names:
        return None
    numbers = {name: number for number, name in enumerate(names, start=1)}
    truths = _annotations(true_boxes, true_labels, numbers)
    found = _annotations(boxes, labels, numbers, scores)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        evaluation = _evaluated(len(boxes), numbers, truths, found)
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # [T, 101, K]; -1 without true boxes
    values = {name: float(precision[where].mean()) for name, where in _PLACES.items()}
    return CocoPrecision(values, [_category(evaluation, place) for place in range(len(numbers))])


def _evaluated(pictures: int, numbers: dict[str, int], truths: list[dict], found: list[dict]) -> Any:
    """pycocotools' evaluation over boxes of all sizes, matched and accumulated."""
    coco = optional_module("pycocotools.coco", "detection").COCO
    images = [{"id": picture} for picture in range(pictures)]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    sides = []
    for listed in (truths, found):
        side = coco()
        side.dataset = {"images": images, "annotations": listed, "categories": categories}
        side.createIndex()
        sides.append(side)
    evaluation = optional_module("pycocotools.cocoeval", "detection").COCOeval(*sides, "bbox")
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, float("inf")]], ["all"]
    evaluation.params.maxDets = [MOST_BOXES]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _annotations(
    boxes: Sequence[Any],
    labels: Sequence[Sequence[str]],
    numbers: dict[str, int],
    scores: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """COCO's annotations (x, y, width, height), numbered from 1: it takes the number 0 for "no match"."""
    annotations: list[dict[str, Any]] = []
    for picture, (own, names) in enumerate(zip(boxes, labels, strict=True)):
        for place, (box, name) in enumerate(zip(as_boxes(own, finite=True), names, strict=True)):
            if plain_label(name) not in numbers:
                continue
            x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
            one = {
                "id": len(annotations) + 1,
                "image_id": picture,
                "category_id": numbers[plain_label(name)],
                "bbox": [float(number) for number in (x, y, width, height)],
                "area": float(max(width, 0.0) * max(height, 0.0)),
                "iscrowd": 0,
            }
            annotations.append(one if scores is None else one | {"score": float(scores[picture][place])})
    return annotations


def _category(evaluation: Any, place: int) -> _Category:
    """Matches of the category at this place out of pycocotools, in its own order of equal scores."""
    pictures = len(evaluation.params.imgIds)
    thresholds = len(evaluation.params.iouThrs)
    truths = np.zeros(pictures)
    owners, scores, right = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros((thresholds, 0), bool)]
    for one in evaluation.evalImgs[place * pictures : (place + 1) * pictures]:
        if one is not None:
            truths[one["image_id"]] = len(one["gtIds"])
            owners.append(np.full(len(one["dtIds"]), one["image_id"]))
            scores.append(np.array(one["dtScores"], dtype=np.float64))
            right.append(np.asarray(one["dtMatches"]) > 0)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    return _Category(np.concatenate(owners)[order], np.concatenate(right, axis=1)[:, order], truths)


def _average_precisions(category: _Category, counts: np.ndarray) -> np.ndarray:
    """COCO's 101-point average precision of each draw and threshold, float64 `[b, T]`.

    Precision and recall can only rise at a right box, so only right boxes are looked at; the precision at a
    recall is the greatest at that recall or beyond.
    """
    weights = counts[:, category.pictures]
    reached = np.cumsum(weights, axis=1)
    truths = np.maximum(counts @ category.truths, 1.0)[:, None]
    result = np.zeros((len(counts), len(category.right)))
    for place, right in enumerate(category.right):
        at = np.flatnonzero(right)
        hits = np.cumsum(weights[:, at], axis=1)
        precision = hits / np.maximum(reached[:, at], 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        points = np.searchsorted(_RECALLS, hits / truths, side="right")
        result[:, place] = (np.diff(points, axis=1, prepend=0) * best).sum(axis=1) / len(_RECALLS)
    return result
