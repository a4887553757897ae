"""The table of metrics: words, which direction is better, how to read it, what it needs.

A metric is one row here, in the order of reports. Names in logs and results may say more than the row's name,
and `metric` reads it off: `val/i2t_r1@256` is `i2t_r1` at 256 numbers, `exact_match/type/color` is that of
some of the rows.
Nothing here imports torch, so that an experiment file is checked at once.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Final

from edge_glass.core.registry import Registry

ANSWER_METRIC_FILES: Final = Registry("edge_glass.instruction.measure.metrics", "answer metric")
"""Metrics of answers have one file each; what it has to define stands in the docstring of that package."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: As in results and experiment files.
        words: As in reports.
        higher_is_better: Its direction; None where neither is.
        note: How to read it.
        package: The package that it needs.
        extra: The extra of edge-glass that installs that package.
        by_part: It is also given for the rows of each type and of each source.
    """

    name: str
    words: str
    higher_is_better: bool | None = True
    note: str = ""
    package: str = ""
    extra: str = ""
    by_part: bool = False

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.package or importlib.util.find_spec(self.package) is not None


SIDES: Final = {
    "i2t": ("vision_text", "picture → words"),
    "t2i": ("vision_text", "words → picture"),
    "a2t": ("audio_text", "sound → words"),
    "t2a": ("audio_text", "words → sound"),
    "v2a": ("vision_audio", "picture → sound"),
    "a2v": ("vision_audio", "sound → picture"),
    "at2v": ("fusion", "sound and words → picture"),
    "vt2a": ("fusion", "picture and words → sound"),
    "va2t": ("fusion", "picture and sound → words"),
    "mean": ("", "mean"),
}
"""Direction of a search → the pair of modalities that it is between ("" of all, "fusion"), and its words."""

_MEASURES: Final = {
    "r1": ("R@1", True),
    "r5": ("R@5", True),
    "r10": ("R@10", True),
    "medr": ("median rank", False),
}

NEVER_ENDED: Final = Metric(
    "never_ended", "never ended", False, "cut off because no tokens were left; less is better"
)
_SCORES: Final = "; boxes ordered by the probabilities of their own tokens, since the model gives no scores"


def _coco(name: str, words: str, note: str = "") -> Metric:
    return Metric(name, words, note=note, package="pycocotools", extra="detection")


RETRIEVAL_METRICS: Final = tuple(
    Metric(f"{side}_{measure}", f"{words} {measured}", higher)
    for side, (_, words) in SIDES.items()
    for measure, (measured, higher) in _MEASURES.items()
)
DETECTION_METRICS: Final = (
    Metric(
        "mean_iou",
        "mean IoU",
        note="overlap with the true boxes, over all pictures; a box too many or too few costs as much as a "
        "missed one",
    ),
    Metric(
        "f1_50",
        "F1 at IoU 0.5",
        note="boxes that overlap by half or more count as right: precision and recall in one",
    ),
    Metric("precision_50", "precision at IoU 0.5", note="of the boxes that were drawn, so many are right"),
    Metric("recall_50", "recall at IoU 0.5", note="of the boxes that are there, so many were found"),
    Metric("f1_75", "F1 at IoU 0.75", note="the same, asking for three quarters"),
    Metric("precision_75", "precision at IoU 0.75"),
    Metric("recall_75", "recall at IoU 0.75"),
    _coco("map", "COCO mAP", "average precision, mean over IoU 0.5 to 0.95 and the categories" + _SCORES),
    _coco("map_50", "mAP at IoU 0.5"),
    _coco("map_75", "mAP at IoU 0.75"),
    Metric("boxes_per_picture", "boxes per picture", None, "how many are drawn; neither good nor bad"),
    Metric(
        "unparsable",
        "unparsable answers",
        False,
        "answers in which no boxes can be read; they count as nothing found",
    ),
    NEVER_ENDED,
)
LOSS_METRICS: Final = (
    Metric("loss", "loss", False, "what training minimises"),
    Metric("loss_clip", "contrastive loss", False, "at the full dimension, unweighted"),
    Metric("loss_mrl", "Matryoshka loss", False, "mean over the smaller dimensions, unweighted"),
)

_ALL: Final = {row.name: row for row in (*RETRIEVAL_METRICS, *DETECTION_METRICS, *LOSS_METRICS)}


def metric(name: str) -> Metric:
    """Return the row of a metric by any name that logs and results give it.

    Args:
        name: Such as `mean_r1`, `val/i2t_r10@64`, `train/loss_clip` or `exact_match/type/color`.

    Returns:
        Its row. A name without one, such as that of a metric which a task of your own logs, gets a row in
        which higher is better.
    """
    whole = name.removeprefix("train/").removeprefix("val/").partition("/")[0].partition("@")[0]
    if whole in _ALL:
        return _ALL[whole]
    if whole in ANSWER_METRIC_FILES.names():
        row: Metric = ANSWER_METRIC_FILES.load(whole).METRIC
        return row
    return Metric(whole, whole)


def higher_is_better(name: str) -> bool:
    """Say whether more of a metric is better, by any name that logs and results give it; see `metric`."""
    return bool(metric(name).higher_is_better)


def answer_metrics() -> tuple[Metric, ...]:
    """Return the metrics of answers, in the order of tables."""
    modules = map(ANSWER_METRIC_FILES.load, ANSWER_METRIC_FILES.names())
    placed = sorted((getattr(module, "PLACE", 100), module.METRIC.name, module.METRIC) for module in modules)
    return tuple(row for _, _, row in placed)
