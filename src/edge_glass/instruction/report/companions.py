"""The runs that a run of answers is compared with: trained alike, one thing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge_glass.evaluation.intervals import Interval, paired_difference
from edge_glass.instruction.measure.archive import AnswerRecord, load_answers
from edge_glass.reporting.run_folder import RunFolder, number

LABELS: Final = {
    "blind": "without the {prefix}",
    "same_size": "plain decoder, same size",
    "same_compute": "plain decoder, same compute",
}
NOTES: Final = {
    "blind": "what can be guessed from the question alone",
    "same_size": "an ordinary transformer with as many weights",
    "same_compute": "an ordinary transformer that computes as much per token",
}


@dataclass(frozen=True)
class Companion:
    """One line of the comparison; the run itself is the first.

    Attributes:
        name: As in the config, or "" for the run itself.
        label: What it is, in words.
        note: Why it is there, in words.
        results: Content of its results.json; empty when it is not finished.
        trained: Trained parameters, where known.
        total: All parameters, where known.
        difference: On the primary metric, companion minus run; None for the run itself or where unknown.
        interval: Of the difference, over the questions both answered; None where they cannot be paired.
    """

    name: str
    label: str
    note: str
    results: Mapping[str, Any]
    trained: int | None
    total: int | None
    difference: float | None = None
    interval: Interval | None = None

    @property
    def speed(self) -> float | None:
        """Samples per second of training."""
        return number(self.results.get("cost") or {}, "samples_per_second")


def answers_of(run: RunFolder) -> list[AnswerRecord]:
    """Return the answers to the evaluated split, or []."""
    return run.evaluated(load_answers, "_answers.jsonl") or []


def primary_metric(run: RunFolder) -> str:
    """Return the metric that decides."""
    return run.primary_metric("vqa_accuracy")


def is_graded(metric: str) -> bool:
    """Say whether a metric scores answers; the others call each right or wrong."""
    return metric not in ("vqa_accuracy", "exact_match")


def prefix_words(run: RunFolder) -> str:
    """Say what stands before the question, and is left out in a blind run."""
    return "picture and sound" if run.config.get("audio_encoder") else "picture"


def compared(run: RunFolder) -> list[Companion]:
    """Return the run and its companions; nothing when it has none."""
    if not run.companions:
        return []
    metric = primary_metric(run)
    kind = str(run.section("decoder").get("kind", ""))
    itself = Companion("", f"this run ({kind})" if kind else "this run", "", run.results, *_parameters(run))
    others = []
    for name, other in run.companions.items():
        found = difference(other, run, metric)
        others.append(
            Companion(
                name,
                LABELS.get(name, name).format(prefix=prefix_words(run)),
                NOTES.get(name, ""),
                other.results,
                *_parameters(other),
                *(found or (None, None)),
            )
        )
    return [itself, *others]


def difference(first: RunFolder, second: RunFolder, metric: str) -> tuple[float, Interval | None] | None:
    """Subtract second from first on one metric, with an interval when both answered the same questions.

    The interval is of the scores of single answers, questions of one picture drawn together; a metric that is
    no mean over answers (BLEU) has none.
    """
    values = [number(run.results.get("metrics") or {}, metric) for run in (first, second)]
    one, other = values
    if one is None or other is None:
        return None
    value = one - other
    ours, theirs = answers_of(first), answers_of(second)
    if not ours or [record.id for record in ours] != [record.id for record in theirs]:
        return value, None
    scores = [np.array([record.score for record in records]) for records in (ours, theirs)]
    if not np.allclose([rows.mean() for rows in scores], [one, other], atol=1e-6):
        return value, None
    return value, paired_difference(scores[0], scores[1], units_of(theirs), samples=1000)


def units_of(records: list[AnswerRecord]) -> np.ndarray:
    """Return int64 `[N]`, equal for questions of one picture; a row without a picture stands alone."""
    names = [record.picture or f"row {row}" for row, record in enumerate(records)]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def _parameters(run: RunFolder) -> tuple[int | None, int | None]:
    """Return trained and all parameters."""
    cost = run.results.get("cost") or {}
    known = {"trained": cost.get("trained_parameters"), "total": cost.get("total_parameters")}
    summed = {key: sum(counts[key] for counts in run.parameters.values()) or None for key in known}
    found = [known[key] if isinstance(known[key], int) else summed[key] for key in ("trained", "total")]
    return found[0], found[1]
