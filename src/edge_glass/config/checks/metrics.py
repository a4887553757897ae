"""Names of metrics: they exist, are measured in this experiment, and their packages are installed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

from edge_glass.config.fields import nearest_word
from edge_glass.config.metrics import answer_metrics
from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.yaml_loader import KeyPath

_SIDES = {
    "mean": None,
    "i2t": "vision_text",
    "t2i": "vision_text",
    "a2t": "audio_text",
    "t2a": "audio_text",
    "v2a": "vision_audio",
    "a2v": "vision_audio",
    "at2v": "fusion",
    "vt2a": "fusion",
    "va2t": "fusion",
}
_RECALLS, _MEDIAN = ("r1", "r5", "r10"), "medr"
_METRIC = re.compile(r"(?P<side>[a-z0-9]+)_(?P<measure>[a-z0-9]+)(?:@(?P<dimension>[1-9][0-9]*))?")

NEVER_ENDED = "never_ended"
_PART = re.compile(r"(type|source)/.+")

# Those of evaluation/detection.py; a test holds them together.
DETECTION_METRICS = (
    "mean_iou",
    "precision_50",
    "recall_50",
    "f1_50",
    "precision_75",
    "recall_75",
    "f1_75",
    "unparsable",
    "boxes_per_picture",
    "never_ended",
    "map",
    "map_50",
    "map_75",
)
NOT_BETTER_WHEN_HIGHER = ("unparsable", "boxes_per_picture", "never_ended")
COCO_METRICS = ("map", "map_50", "map_75")


def metric_names(config: ExperimentConfig) -> Iterator[Problem]:
    """The primary metric and the columns of the ablation's table exist."""
    primary = config.evaluation.primary_metric
    yield from metric_problems(config, ("evaluation", "primary_metric"), primary, primary=True)
    for index, name in enumerate(config.ablation.metrics if config.ablation else []):
        yield from metric_problems(config, ("ablation", "metrics", index), name)


def metric_problems(
    config: ExperimentConfig, path: KeyPath, name: str, *, primary: bool = False
) -> Iterator[Problem]:
    """What is wrong with a metric's name, if anything; a primary metric is better when it is higher."""
    of_task = {
        "alignment": _retrieval_problems,
        "instruction": _answer_problems,
        "detection": _detection_problems,
    }[config.task]
    return of_task(config, path, name, primary)


def _answer_problems(config: ExperimentConfig, path: KeyPath, name: str, primary: bool) -> Iterator[Problem]:
    """A metric of answers, or of those of one type or source, as in exact_match/type/color."""
    whole, slash, part = name.partition("/")
    metrics = {metric.name: metric for metric in answer_metrics()}
    by_part = [metric.name for metric in metrics.values() if metric.by_part]
    known = [*metrics] if primary else [*metrics, NEVER_ENDED]
    if whole not in known:
        nearest = nearest_word(whole, known)
        hint = f"; did you mean {nearest}?" if nearest else ""
        yield Problem(path, f"{name!r} is not a metric: expected one of {', '.join(known)}{hint}")
    elif slash and primary:
        yield Problem(
            path, f"{name!r} is of some of the rows; here one of all rows is needed, such as {whole}"
        )
    elif slash and (whole not in by_part or _PART.fullmatch(part) is None):
        yield Problem(
            path,
            f"{name!r} is not a metric: expected {', '.join(by_part[:-1])} or {by_part[-1]}, "
            "then /type/ or /source/ and its name",
        )
    elif whole in metrics and not metrics[whole].installed:
        yield Problem(
            path,
            f"{whole} needs {metrics[whole].package}, which is not installed; "
            f"pip install 'edge-glass[{metrics[whole].extra}]', or choose another metric",
        )


def _detection_problems(
    config: ExperimentConfig, path: KeyPath, name: str, primary: bool
) -> Iterator[Problem]:
    """A metric of boxes; average precision needs a package."""
    hidden = NOT_BETTER_WHEN_HIGHER if primary else ()
    known = [one for one in DETECTION_METRICS if one not in hidden]
    if name not in known:
        nearest = nearest_word(name, known)
        hint = f"; did you mean {nearest}?" if nearest else ""
        yield Problem(path, f"{name!r} is not a metric: expected one of {', '.join(known)}{hint}")
    elif name in COCO_METRICS and importlib.util.find_spec("pycocotools") is None:
        yield Problem(
            path,
            f"{name} needs pycocotools, which is not installed; "
            "pip install 'edge-glass[detection]', or choose another metric",
        )


def _retrieval_problems(
    config: ExperimentConfig, path: KeyPath, name: str, primary: bool
) -> Iterator[Problem]:
    """A metric of searches: its form, a pair that is compared, a dimension that is measured."""
    measures = _RECALLS if primary else (*_RECALLS, _MEDIAN)
    match = _METRIC.fullmatch(name)
    if match is None or match["side"] not in _SIDES or match["measure"] not in measures:
        nearest = nearest_word(
            name.partition("@")[0], [f"{side}_{one}" for side in _SIDES for one in measures]
        )
        hint = f"did you mean {nearest}?" if nearest else "such as mean_r1, i2t_r5 or t2i_r10@256"
        endings = ", ".join(f"_{one}" for one in measures[:-1]) + f" or _{measures[-1]}"
        sides = ", ".join(_SIDES)
        yield Problem(path, f"{name!r} is not a metric: expected {sides}, then {endings}; {hint}")
        return
    yield from _unmeasured_pair(config, path, name, match["side"])
    encoder = config.vision_encoder
    dimension = int(match["dimension"] or 0)
    if dimension == encoder.projection_dim:
        plain = name.partition("@")[0]
        yield Problem(
            path, f"{name}: {dimension} is the full embedding, whose metrics have no @; write {plain}"
        )
    elif dimension and dimension not in encoder.mrl_dimensions:
        smaller = [str(one) for one in encoder.mrl_dimensions if one != encoder.projection_dim]
        known = (
            f"vision_encoder has {', '.join(smaller)}"
            if smaller
            else "vision_encoder.mrl_dimensions has none"
        )
        yield Problem(path, f"{name}: there is no dimension {dimension} below the full one; {known}")


def _unmeasured_pair(config: ExperimentConfig, path: KeyPath, name: str, side: str) -> Iterator[Problem]:
    """A direction between two modalities that this experiment does not compare."""
    pair = _SIDES[side]
    if pair is None:
        return
    if pair == "fusion":
        if config.fusion is None:
            yield Problem(path, f"{name!r} is of fused queries, but there is no fusion")
    elif "audio" in pair and config.audio_encoder is None:
        yield Problem(path, f"{name!r} needs sounds, but there is no audio_encoder")
    elif getattr(config.losses.pairs, pair) == 0:
        yield Problem(path, f"{name!r} needs the pair {pair}, whose weight losses.pairs.{pair} is 0")
