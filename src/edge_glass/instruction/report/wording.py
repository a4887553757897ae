"""What the numbers of a run of answers mean, in sentences."""

from __future__ import annotations

from edge_glass.instruction.report.companions import (
    Companion,
    answers_of,
    difference,
    is_graded,
    prefix_words,
    primary_metric,
)
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.wording import format_count, format_difference, format_value, signed


def shares_sentence(run: RunFolder) -> str | None:
    """Say how many of a hundred questions are answered rightly now and before; None for graded metrics."""
    metric = primary_metric(run)
    after = number(run.results.get("metrics") or {}, metric)
    before = number(run.results.get("baseline") or {}, metric)
    if is_graded(metric) or after is None or before is None:
        return None
    asked = f"{format_count(len(answers_of(run)))} " if answers_of(run) else ""
    return (
        f"Of the {asked}questions of the {run.split} split, {100 * after:.1f} in a hundred are answered "
        f"rightly; before training {100 * before:.1f} were."
    )


def frequent_sentence(run: RunFolder) -> str | None:
    """Say what answering without looking or thinking would reach; None when that was not measured."""
    metric = primary_metric(run)
    value = number((run.results.get("most_frequent_answer") or {}).get("metrics") or {}, metric)
    if value is None:
        return None
    trained = number(run.results.get("metrics") or {}, metric)
    useless = trained is not None and value >= trained
    return (
        "Always giving the answer that a question had most often in training would reach "
        f"{format_value(metric, value)}"
        + (", no less than the trained model: nothing useful was learned." if useless else ".")
    )


def blind_sentence(run: RunFolder) -> str | None:
    """Say what the same model reaches without the picture, and so what it adds; None if not measured."""
    metric = primary_metric(run)
    blind = run.companions.get("blind")
    found = difference(run, blind, metric) if blind is not None else None
    if blind is None or found is None:
        return None
    value, interval = found
    reached = format_value(metric, number(blind.results["metrics"], metric))
    shown = prefix_words(run)
    opening = f"Trained alike but without the {shown}, the model reaches {reached}"
    if interval is None:
        return f"{opening}; the difference is {format_difference(metric, value)}."
    ends = f"95 % interval {signed(metric, interval.low)} to {signed(metric, interval.high)}"
    numbers = f"{format_difference(metric, value)}, {ends}"
    if interval.low > 0:
        return f"{opening}: so much can be guessed from the question. The {shown} adds the rest ({numbers})."
    if interval.high < 0:
        return f"{opening}, which is more than with it ({numbers}): the {shown} only disturbs."
    return f"{opening}. The {shown} adds nothing that can be told from chance ({numbers})."


def format_companion_difference(metric: str, companion: Companion) -> tuple[str, str]:
    """Return difference and its interval as text; ≈ where it cannot be told from 0."""
    if companion.difference is None:
        return "", ""
    text = format_difference(metric, companion.difference)
    if companion.interval is None:
        return text, ""
    low, high = companion.interval.low, companion.interval.high
    mark = " ≈" if low <= 0 <= high else ""
    return text + mark, f"{signed(metric, low)} to {signed(metric, high)}"
