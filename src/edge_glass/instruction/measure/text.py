"""How good generated answers are: every metric of a whole set, by parts of it, and how sure it is.

The metrics stand in `metrics/`, one file each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

import numpy as np

from edge_glass.config.metrics import ANSWER_METRIC_FILES, answer_metrics
from edge_glass.evaluation.intervals import Estimate, effective_groups, estimate_mean, resample_counts

NEVER_ENDED: Final = "never_ended"


@dataclass(frozen=True)
class AnswerSet:
    """Generated answers of a split and what they should have been, in one order.

    Attributes:
        predictions: One generated answer a row.
        references: One or several right answers a row.
        units: Integer `[N]`: rows with equal numbers are drawn together in the bootstrap, such as the
            questions of one picture.
        answer_types: Of each row; empty text where unknown. Empty when no row has one.
        sources: Of each row. Empty when unknown.
        ended: Whether each answer ended by itself, and not because it had no tokens left. Empty when unknown.
    """

    predictions: Sequence[str]
    references: Sequence[Sequence[str]]
    units: Sequence[int] | np.ndarray
    answer_types: Sequence[str] = field(default=())
    sources: Sequence[str] = field(default=())
    ended: Sequence[bool] = field(default=())

    def __post_init__(self) -> None:
        for name in ("references", "units", "answer_types", "sources", "ended"):
            found = len(getattr(self, name))
            optional = name in ("answer_types", "sources", "ended")
            if found != len(self.predictions) and not (optional and found == 0):
                raise ValueError(f"{len(self.predictions)} predictions, but {found} {name}")


def available_metrics() -> tuple[str, ...]:
    """Return the names of the metrics whose packages are installed."""
    return tuple(metric.name for metric in answer_metrics() if metric.installed)


def metrics_by_part() -> tuple[str, ...]:
    """Return the names of the metrics that are also given by answer type and by source."""
    return tuple(metric.name for metric in answer_metrics() if metric.by_part)


def answer_metric(name: str) -> ModuleType:
    """Return the module of a metric; what it defines stands in `edge_glass.instruction.measure.metrics`.

    Raises:
        ConfigError: There is no such metric.
    """
    return ANSWER_METRIC_FILES.load(name)


def score_of_one(metric: str) -> Callable[[str, Sequence[str]], float] | None:
    """Return how a metric scores one answer by itself; None where it needs the others, as BLEU does.

    None too for a metric that is not there any more: a report can be made without it.
    """
    known = metric in ANSWER_METRIC_FILES.names()
    return getattr(answer_metric(metric), "score", None) if known else None


def answer_scores(answers: AnswerSet, metrics: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return every metric of single answers, float64 `[N]` by name, and `never_ended` where it is known."""
    said, right = answers.predictions, answers.references
    scores: dict[str, np.ndarray] = {}
    for name in _wanted(metrics):
        module = answer_metric(name)
        if hasattr(module, "score"):
            scores[name] = np.array([module.score(*pair) for pair in zip(said, right, strict=True)])
        elif hasattr(module, "scores"):
            scores[name] = module.scores(said, right)
    if len(answers.ended):
        scores[NEVER_ENDED] = 1.0 - np.asarray(answers.ended, dtype=np.float64)
    return scores


def answer_values(answers: AnswerSet, metrics: Sequence[str] | None = None) -> dict[str, float]:
    """Return all metrics without intervals: cheap enough for every validation.

    Args:
        answers: At least one.
        metrics: Names; by default those of `available_metrics`.

    Returns:
        `exact_match`, …, `bleu`, `never_ended`; and those of `metrics_by_part` as `exact_match/type/color`
        and `exact_match/source/easy-vqa` where there are several types or sources.
    """
    scores = answer_scores(answers, metrics)
    values = {name: float(rows.mean()) for name, rows in scores.items()}
    for name, counts in _counts(answers, metrics).items():
        values[name] = answer_metric(name).of_counts(counts.sum(axis=0))
    for name, rows in _parts(answers).items():
        values |= {f"{metric}/{name}": float(scores[metric][rows].mean()) for metric in _broken(scores)}
    return values


def estimate_answers(
    answers: AnswerSet, metrics: Sequence[str] | None = None, samples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Do as `answer_values`, with bootstrap draws over units (a picture with its questions is drawn as one).

    Estimates of two models on the same rows are paired: `trained["bleu"].minus(untouched["bleu"])`.
    """
    units = np.asarray(answers.units)
    scores = answer_scores(answers, metrics)
    estimates = {name: estimate_mean(rows, units, samples, seed) for name, rows in scores.items()}
    for name, counts in _counts(answers, metrics).items():
        estimates[name] = _estimate_of_counts(answer_metric(name).of_counts, counts, units, samples, seed)
    for name, rows in _parts(answers).items():
        for metric in _broken(scores):
            part = estimate_mean(scores[metric][rows], units[rows], samples, seed)
            estimates[f"{metric}/{name}"] = part
    return estimates


def _wanted(metrics: Sequence[str] | None) -> list[str]:
    """Return the metrics to compute, in the order of tables."""
    wanted = metrics or available_metrics()
    return [metric.name for metric in answer_metrics() if metric.name in wanted]


def _counts(answers: AnswerSet, metrics: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Return what metrics of whole sets count in each answer, int64 `[N, K]` by name."""
    modules = {name: answer_metric(name) for name in _wanted(metrics)}
    return {
        name: module.counts(answers.predictions, answers.references)
        for name, module in modules.items()
        if hasattr(module, "counts")
    }


def _broken(scores: dict[str, np.ndarray]) -> list[str]:
    return [name for name in metrics_by_part() if name in scores]


def _parts(answers: AnswerSet) -> dict[str, np.ndarray]:
    """Return rows by answer type and by source, where there are several."""
    parts = {}
    for kind, labels in (("type", answers.answer_types), ("source", answers.sources)):
        names = sorted({label for label in labels if label})
        for name in names if len(names) > 1 else []:
            rows = np.flatnonzero([label == name for label in labels])
            parts[f"{kind}/{name.replace('/', '-')}"] = rows
    return parts


def _estimate_of_counts(
    value: Callable[[np.ndarray], float], counts: np.ndarray, units: np.ndarray, samples: int, seed: int
) -> Estimate:
    """Return a metric of a whole set with its draws."""
    index = np.unique(units, return_inverse=True)[1]
    by_unit = np.zeros((index.max() + 1, counts.shape[1]), dtype=np.int64)
    np.add.at(by_unit, index, counts)
    chunks = resample_counts(len(by_unit), samples, seed)
    draws = [value(drawn) for chunk in chunks for drawn in chunk @ by_unit]
    return Estimate(value(counts.sum(axis=0)), np.array(draws), effective_groups(np.bincount(index)))
