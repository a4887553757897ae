"""How good found boxes are: metrics of a split, and how sure they are. No score is invented.

    mean_iou                         per picture the sum of the matched IoU over the greater count of boxes
    precision_50, recall_50, f1_50   pooled over all boxes, at IoU 0.5; the same at 0.75
    unparsable                       share of answers that could not be read; never left out of any number
    boxes_per_picture                found boxes, as a mean over all pictures
    never_ended                      share of answers that ran out of tokens
    map, map_50, map_75              COCO's, with probabilities of tokens as scores (see `coco_map`)

Boxes match within a picture, one to one and only with equal labels (`boxes.match_boxes`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge_glass.core.boxes import match_boxes
from edge_glass.detection.measure.coco_map import COCO_METRICS, CocoPrecision, coco_precision
from edge_glass.evaluation.intervals import SHARE, Estimate, effective_groups, resample_counts

DETECTION_METRICS: Final = (
    "mean_iou",
    *("precision_50", "recall_50", "f1_50"),
    *("precision_75", "recall_75", "f1_75"),
    *("unparsable", "boxes_per_picture", "never_ended"),
    *COCO_METRICS,
)
THRESHOLDS: Final = {"50": 0.5, "75": 0.75}

_COLUMNS: Final = ("pictures", "iou", "found", "true", "right_50", "right_75", "unparsable", "never_ended")


@dataclass(frozen=True)
class DetectionSet:
    """Found boxes of a split and those that should have been found, picture by picture in one order.

    Attributes:
        boxes: Found, of each picture float `[n, 4]` xyxy pixels; of an unparsable answer they do not count.
        labels: Of each picture, n labels.
        scores: Of each picture float `[n]`, from the log-probabilities of tokens; None: there is no `map`.
        true_boxes: Of each picture float `[m, 4]`.
        true_labels: Of each picture, m labels.
        units: Integer `[N]`: pictures with equal numbers are drawn together in the bootstrap, such as those
            of one product.
        parsed: Whether each answer could be read. Empty when all could.
        ended: Whether each answer ended by itself. Empty when unknown.
        sizes: (width, height) of each picture. Empty when unknown; no metric needs it.
        dropped: How many boxes of each answer were written but cannot be used (inverted, NaN): they count as
            found by mistake. Empty when there are none.
    """

    boxes: Sequence[np.ndarray]
    labels: Sequence[Sequence[str]]
    scores: Sequence[np.ndarray] | None
    true_boxes: Sequence[np.ndarray]
    true_labels: Sequence[Sequence[str]]
    units: Sequence[int] | np.ndarray
    parsed: Sequence[bool] = field(default=())
    ended: Sequence[bool] = field(default=())
    sizes: Sequence[tuple[int, int]] = field(default=())
    dropped: Sequence[int] = field(default=())

    def __post_init__(self) -> None:
        for name in ("labels", "true_boxes", "true_labels", "units"):
            if len(getattr(self, name)) != len(self.boxes):
                raise ValueError(f"{len(self.boxes)} pictures, but {len(getattr(self, name))} {name}")
        for name in ("scores", "parsed", "ended", "sizes", "dropped"):
            given = getattr(self, name)
            if given is not None and len(given) not in (0, len(self.boxes)):
                raise ValueError(f"{len(self.boxes)} pictures, but {len(given)} {name}")

    def readable(self) -> np.ndarray:
        """Whether each answer could be read, bool `[N]`."""
        return np.array(self.parsed, dtype=bool) if len(self.parsed) else np.ones(len(self.boxes), dtype=bool)


def picture_scores(found: DetectionSet) -> np.ndarray:
    """IoU of each picture, float64 `[N]`: 1 when nothing is there and nothing was found, 0 when unparsable.

    Otherwise the sum of the matched IoU over the count of found or of true boxes, whichever is greater.
    """
    return _counts(found)[:, _COLUMNS.index("iou")]


def detection_values(found: DetectionSet, metrics: Sequence[str] | None = None) -> dict[str, float]:
    """All metrics without intervals: cheap enough for every validation.

    Args:
        found: At least one picture.
        metrics: Names out of `DETECTION_METRICS`; by default all that can be measured: `never_ended` needs
            `ended`, and `map` needs scores, a true box and pycocotools.

    Raises:
        ConfigError: `map` was asked for by name, and pycocotools is not installed.
    """
    wanted = _wanted(found, metrics)
    return _values(_counts(found), _coco(found, wanted), wanted)


def estimate_detections(
    found: DetectionSet, metrics: Sequence[str] | None = None, samples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """As `detection_values`, with bootstrap draws over units (the pictures of a product are drawn as one).

    Every draw pools the boxes of the drawn pictures. Estimates of two models on the same pictures are paired:
    `trained["f1_50"].minus(untouched["f1_50"])`.
    """
    wanted = _wanted(found, metrics)
    index = np.unique(found.units, return_inverse=True)[1]
    counted = _counts(found)
    by_unit = np.zeros((index.max() + 1, counted.shape[1]))
    np.add.at(by_unit, index, counted)
    precision = _coco(found, wanted)
    draws: dict[str, list[np.ndarray]] = {}
    for counts in resample_counts(len(by_unit), samples, seed):
        drawn = _pooled(counts @ by_unit)
        if precision:
            drawn |= precision.draws(counts[:, index])
        for name, part in drawn.items():
            draws.setdefault(name, []).append(part)
    values = _values(counted, precision, wanted)
    groups = effective_groups(np.bincount(index))
    most = float(max(1.0, counted[:, _COLUMNS.index("found")].max()))
    bounds = dict.fromkeys(values, SHARE) | {"boxes_per_picture": (0.0, most)}
    return {
        name: Estimate(value, np.concatenate(draws[name]), groups, bounds[name])
        for name, value in values.items()
    }


def _values(counted: np.ndarray, precision: CocoPrecision | None, wanted: Sequence[str]) -> dict[str, float]:
    values = {name: float(value[0]) for name, value in _pooled(counted.sum(axis=0)[None]).items()}
    values |= precision.values if precision else {}
    return {name: values[name] for name in wanted if name in values}


def _wanted(found: DetectionSet, metrics: Sequence[str] | None) -> list[str]:
    """Names that are asked for and can be measured, in the order of `DETECTION_METRICS`."""
    if unknown := [name for name in metrics or () if name not in DETECTION_METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}; it is one of {', '.join(DETECTION_METRICS)}")
    names = [name for name in DETECTION_METRICS if metrics is None or name in metrics]
    without = set() if len(found.ended) else {"never_ended"}
    if found.scores is None or (metrics is None and importlib.util.find_spec("pycocotools") is None):
        without |= set(COCO_METRICS)
    return [name for name in names if name not in without]


def _counts(found: DetectionSet) -> np.ndarray:
    """What each picture adds to the metrics, float64 `[N, columns]`, in the order of `_COLUMNS`."""
    readable = found.readable()
    dropped = np.array(found.dropped) if len(found.dropped) else np.zeros(len(readable), dtype=int)
    ended = np.array(found.ended, dtype=bool) if len(found.ended) else np.ones(len(readable), dtype=bool)
    rows = []
    pictures = zip(found.boxes, found.labels, found.true_boxes, found.true_labels, strict=True)
    for place, (boxes, labels, true_boxes, true_labels) in enumerate(pictures):
        true = len(true_labels)
        written, iou, right = 0, 0.0, [0] * len(THRESHOLDS)
        if readable[place]:
            written = len(labels) + int(dropped[place])
            total = match_boxes(boxes, labels, true_boxes, true_labels).iou.sum()
            iou = float(total) / max(written, true) if written or true else 1.0
            right = [
                len(match_boxes(boxes, labels, true_boxes, true_labels, least).iou)
                for least in THRESHOLDS.values()
            ]
        rows.append((1, iou, written, true, *right, not readable[place], not ended[place]))
    return np.array(rows, dtype=np.float64).reshape(-1, len(_COLUMNS))


def _pooled(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of summed counts `[b, columns]`, float64 `[b]` by name.

    Precision without any found box, and recall without any true one, is 0 when there was something to find or
    something was found, and 1 when there was neither.
    """
    of = dict(zip(_COLUMNS, sums.T, strict=True))
    values = {"mean_iou": of["iou"] / of["pictures"]}
    for name in THRESHOLDS:
        right = of[f"right_{name}"]
        values[f"precision_{name}"] = _share(right, of["found"], of["true"])
        values[f"recall_{name}"] = _share(right, of["true"], of["found"])
        values[f"f1_{name}"] = _share(2 * right, of["found"] + of["true"], of["found"])
    for name, column in (
        ("unparsable", "unparsable"),
        ("boxes_per_picture", "found"),
        ("never_ended", "never_ended"),
    ):
        values[name] = of[column] / of["pictures"]
    return values


def _share(part: np.ndarray, whole: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`part / whole`; of nothing 1 when `other` is nothing too, else 0."""
    nothing = np.where(other > 0, 0.0, 1.0)
    return np.divide(part, whole, out=nothing, where=whole > 0)


def _coco(found: DetectionSet, wanted: Sequence[str]) -> CocoPrecision | None:
    """Average precision where it is wanted; answers that could not be read found nothing."""
    if found.scores is None or not set(wanted) & set(COCO_METRICS):
        return None
    readable = found.readable()
    boxes = [own if read else np.zeros((0, 4)) for own, read in zip(found.boxes, readable, strict=True)]
    labels = [own if read else [] for own, read in zip(found.labels, readable, strict=True)]
    return coco_precision(boxes, labels, found.scores, found.true_boxes, found.true_labels)
