"""The numbers of a run of answers as rows of cells, ready for a template, a plot or a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from edge_glass.config.metrics import NEVER_ENDED, answer_metrics
from edge_glass.instruction.measure.text import metrics_by_part
from edge_glass.instruction.report.companions import (
    Companion,
    answers_of,
    compared,
    is_graded,
    prefix_words,
    primary_metric,
)
from edge_glass.instruction.report.wording import format_companion_difference
from edge_glass.reporting import tables
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.tables import Measured, Row, cells, measured
from edge_glass.reporting.wording import format_count, format_seconds, format_value

Part = Literal["type", "source"]
MODELS: Final = {
    "baseline": "untouched model",
    "most_frequent_answer": "always the most frequent answer",
    "metrics": "trained",
}
MOST_MISTAKES: Final = 10


@dataclass(frozen=True)
class ComparedLine:
    """A line of the comparison with other runs, as text."""

    label: str
    note: str
    trained: str
    total: str
    seconds: str
    speed: str
    value: str
    interval: str
    difference: str
    difference_interval: str
    finished: bool


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that was given more than once."""

    reference: str
    answer: str
    count: int


def measured_models(run: RunFolder, blind: bool = False) -> list[Measured]:
    """Return the models with numbers, weakest first; the one trained without the picture, if asked for."""
    found = measured(run.results, MODELS)
    if blind and "blind" in run.companions:
        without = measured(run.companions["blind"].results, {"metrics": f"without the {prefix_words(run)}"})
        found[-1:-1] = [replace(one, key="blind") for one in without]
    return found


def ordered_metrics(metrics: Mapping[str, Any], primary: str) -> list[str]:
    """Return metrics of the whole split, the primary one first, then in the order of the table of metrics."""
    return tables.ordered(metrics, primary, [row.name for row in (*answer_metrics(), NEVER_ENDED)])


def metric_rows(run: RunFolder) -> list[Row]:
    """Return a row for each metric, a cell for each of `measured_models`."""
    primary = primary_metric(run)
    names = ordered_metrics(run.results.get("metrics") or {}, primary)
    return tables.metric_rows(measured_models(run), names, primary)


def part_metric(metrics: Mapping[str, Any], part: Part, primary: str) -> str | None:
    """Return the metric that is broken down: the primary one if it is; None where there is none."""
    for name in dict.fromkeys((primary, *reversed(metrics_by_part()))):
        if any(found.startswith(f"{name}/{part}/") for found in metrics):
            return name
    return None


def part_names(metrics: Mapping[str, Any], part: Part, metric: str) -> list[str]:
    """Return the names of answer types or sources, in order."""
    start = f"{metric}/{part}/"
    return sorted(name.removeprefix(start) for name in metrics if name.startswith(start))


def part_rows(run: RunFolder, part: Part, metric: str) -> list[Row]:
    """Return a row for all questions and for each type (or source), a cell for each model, `blind` too."""
    models = [one.metrics for one in measured_models(run, blind=True)]
    counts = _counts(run, part)
    rows = [Row("all", cells(models, metric), note=_questions(sum(counts.values())))]
    for name in part_names(run.results.get("metrics") or {}, part, metric):
        rows.append(Row(name, cells(models, f"{metric}/{part}/{name}"), note=_questions(counts[name])))
    return rows


def compared_lines(run: RunFolder) -> list[ComparedLine]:
    """Return the run and those it is compared with; nothing when there are none."""
    metric = primary_metric(run)
    return [_line(metric, one) for one in compared(run)]


def mistakes(run: RunFolder) -> list[Mistake]:
    """Return wrong answers given more than once, the commonest first; none where answers are graded."""
    if is_graded(primary_metric(run)):
        return []
    wrong = Counter(
        (record.reference.strip(), record.answer.strip()) for record in answers_of(run) if not record.right
    )
    common = sorted(wrong.items(), key=lambda found: (-found[1], found[0]))[:MOST_MISTAKES]
    return [Mistake(reference, answer, count) for (reference, answer), count in common if count > 1]


def _line(metric: str, one: Companion) -> ComparedLine:
    metrics = one.results.get("metrics") or {}
    low, high = number(metrics, metric, "low"), number(metrics, metric, "high")
    difference, ends = format_companion_difference(metric, one)
    return ComparedLine(
        label=one.label,
        note=one.note,
        trained=format_count(one.trained),
        total=format_count(one.total),
        seconds=format_seconds(number(one.results, "seconds")),
        speed=format_count(one.speed),
        value=format_value(metric, number(metrics, metric)),
        interval="" if low is None else f"{format_value(metric, low)} – {format_value(metric, high)}",
        difference=difference,
        difference_interval=ends,
        finished=bool(one.results),
    )


def _counts(run: RunFolder, part: Part) -> Counter[str]:
    labels: Sequence[str] = [one.answer_type if part == "type" else one.source for one in answers_of(run)]
    return Counter(label.replace("/", "-") for label in labels)


def _questions(count: int) -> str:
    return "" if not count else "1 question" if count == 1 else f"{count:,} questions"
