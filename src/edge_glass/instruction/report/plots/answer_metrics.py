"""Metrics of written answers at every validation, the untouched model at step 0; by type; never ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.instruction.report.companions import primary_metric
from edge_glass.instruction.report.tables import ordered_metrics, part_metric, part_names
from edge_glass.reporting.curves import (
    COLORS,
    draw_shares,
    draw_validated,
    legend_below,
    level,
    step_panels,
    validated,
)
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.style import WORDS, NothingToPlotError, shorten, title
from edge_glass.reporting.wording import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "Answers while it learned"
READING = (
    "The model writes whole answers to some validation questions and is told nothing. Metrics that agree "
    "at every step share a line."
)
SIZE = (11, 4.9)
ORDER = 20
MOST_PARTS = 8


def more(run: RunFolder) -> str:
    """Say what the dotted level is, where it is drawn."""
    text = (
        "Dotted is what always giving the most frequent answer reaches: below it, nothing useful was learned."
    )
    return text if run.results.get("most_frequent_answer") else ""


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    logged = validated(run)
    primary = primary_metric(run)
    whole = [
        name
        for name in ordered_metrics(logged, primary)
        if name not in ("loss", "token_accuracy", "never_ended") and logged[name]
    ]
    if not whole:
        raise NothingToPlotError("metrics.jsonl holds no metrics of written answers yet")
    parted = part_metric(logged, "type", primary)
    ended = logged.get("never_ended", 0) > 0
    widths = [1.35, *([1.0] if parted else []), *([0.8] if ended else [])]
    panels = iter(step_panels(figure, len(widths), widths=widths))
    _draw_whole(run, next(panels), whole, primary)
    if parted:
        _draw_types(run, next(panels), parted, part_names(logged, "type", parted))
    if ended:
        axes = next(panels)
        axes.set_title("Never ended")
        draw_shares(axes, run, "share of answers; less is better", {"never_ended": WORDS})


def same_series(run: RunFolder, names: list[str]) -> list[list[str]]:
    """Group metrics whose values agree at every step: of one-word answers many are the same."""
    groups: list[list[str]] = []
    for name in names:
        steps, values = run.series(f"val/{name}")
        for group in groups:
            other_steps, others = run.series(f"val/{group[0]}")
            if np.array_equal(steps, other_steps) and np.allclose(values, others, atol=1e-9, equal_nan=True):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _draw_whole(run: RunFolder, axes: Axes, names: list[str], primary: str) -> None:
    axes.set_title("Written answers")
    groups = same_series(run, names)
    draw_validated(axes, run, groups, primary)
    frequent = (run.results.get("most_frequent_answer") or {}).get("metrics") or {}
    if (value := number(frequent, primary)) is not None:
        last = float(run.series(f"val/{groups[0][0]}")[1][-1])
        text = f"always the most frequent answer ({run.split}): {value:.3f}"
        level(axes, value, text, end=True, below=last > value)
    legend_below(axes, 2 if len(groups) > 2 else 1)


def _draw_types(run: RunFolder, axes: Axes, metric: str, names: list[str]) -> None:
    left_out = len(names) - MOST_PARTS
    more = f"; {left_out} more in the table" if left_out > 0 else ""
    title(axes, f"{metric_label(metric)} by type", f"kind of answer{more}")
    for name, color in zip(names[:MOST_PARTS], COLORS, strict=False):
        steps, values = run.series(f"val/{metric}/type/{name}")
        axes.plot(
            steps, values, color=color, marker="o", markersize=3.5, linewidth=1.6, label=shorten(name, 22)
        )
    axes.set_ylim(0, 1.04)
    legend_below(axes)
