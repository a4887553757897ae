"""Plots over the steps of training of a run of answers: loss, token accuracy, written answers, loss parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.instruction.report.companions import primary_metric
from edge_glass.instruction.report.tables import ordered_metrics, part_metric, part_names
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.smoothing import mark_best, raw_and_smooth
from edge_glass.reporting.style import (
    FAINT,
    GOOD,
    TRAINED,
    UNTOUCHED,
    WORDS,
    NothingToPlotError,
    note,
    shorten,
)
from edge_glass.reporting.wording import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#7A7A7A", "#22262B", "#F0E442")
MOST_PARTS = 8
PARTS = {
    "train/last_loss": "after the last supervision step",
    "train/halting_loss": "halting",
}
OTHERS = {
    "train/halting_right": ("Halting", "how often stopping was judged rightly"),
    "train/grad_norm": ("Norm of the gradient", "before it is clipped"),
}


def draw_answer_training(run: RunFolder, figure: Figure) -> None:
    """Loss, and the share of answer tokens that are guessed right; training and validation."""
    panels = [
        ("loss", "Loss", "mean over the tokens of the answers"),
        ("token_accuracy", "Token accuracy", "next token guessed right, given the right ones before it"),
    ]
    shown = [
        panel
        for panel in panels
        if any(len(run.series(f"{side}/{panel[0]}")[0]) for side in ("train", "val"))
    ]
    if not shown:
        raise NothingToPlotError("metrics.jsonl holds neither a loss nor a token accuracy")
    for axes, (name, title, text) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        axes.set_title(title)
        note(axes, text)
        raw_and_smooth(axes, *run.series(f"train/{name}"), TRAINED, "training")
        steps, values = run.series(f"val/{name}")
        if len(steps):
            axes.plot(steps, values, color=WORDS, marker="o", markersize=4.5, label="validation")
        axes.set_ylim(bottom=0)
        if name != "loss":
            axes.set_ylim(0, 1.04)
        axes.set_xlabel("step")
        if axes.lines:
            axes.legend(loc="best")


def draw_answer_metrics(run: RunFolder, figure: Figure) -> None:
    """Metrics of written answers at every validation, the untouched model at step 0; by type; never ended."""
    logged = {name.removeprefix("val/"): 0 for row in run.metrics for name in row if name.startswith("val/")}
    primary = primary_metric(run)
    whole = [
        name
        for name in ordered_metrics(logged, primary)
        if name not in ("loss", "token_accuracy", "never_ended") and len(run.series(f"val/{name}")[0])
    ]
    if not whole:
        raise NothingToPlotError("metrics.jsonl holds no metrics of written answers yet")
    parted = part_metric(logged, "type", primary)
    ended = len(run.series("val/never_ended")[0]) > 0
    widths = [1.35, *([1.0] if parted else []), *([0.8] if ended else [])]
    panels = iter(np.atleast_1d(figure.subplots(1, len(widths), width_ratios=widths)))
    _draw_whole(run, next(panels), whole, primary)
    if parted:
        _draw_types(run, next(panels), parted, part_names(logged, "type", parted))
    if ended:
        axes = next(panels)
        axes.set_title("Never ended")
        note(axes, "share of answers; less is better")
        steps, values = run.series("val/never_ended")
        axes.plot(steps, values, color=WORDS, marker="o", markersize=4)
        axes.set_ylim(0, max(0.05, 1.08 * float(np.nanmax(values, initial=0.0))))
        axes.set_xlabel("step")


def draw_answer_loss_parts(run: RunFolder, figure: Figure) -> None:
    """Parts of the loss, and what else was logged about training beside loss, accuracy and learning rate."""
    names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith("train/"))
    parts = [name for name in names if name in PARTS or name.startswith("train/loss_")]
    others = [name for name in OTHERS if name in names and len(run.series(name)[0])]
    parts = [name for name in parts if np.any(run.series(name)[1])]
    count = bool(parts) + len(others)
    if not count:
        raise NothingToPlotError("metrics.jsonl holds no parts of the loss")
    panels = iter(np.atleast_1d(figure.subplots(1, count)))
    if parts:
        axes = next(panels)
        axes.set_title("Parts of the loss")
        note(axes, "unweighted, mean over the tokens of the answers")
        for name, color in zip(parts, (TRAINED, *COLORS), strict=False):
            label = PARTS.get(name, name.removeprefix("train/loss_").replace("_", " "))
            raw_and_smooth(axes, *run.series(name), color, label)
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
        axes.set_xlabel("step")
    for name in others:
        axes = next(panels)
        title, text = OTHERS[name]
        axes.set_title(title)
        note(axes, text)
        raw_and_smooth(axes, *run.series(name), GOOD, None)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        if name == "train/grad_norm":
            _draw_clipping(run, axes)


def same_series(run: RunFolder, names: list[str]) -> list[list[str]]:
    """Metrics whose values agree at every step stand together: of one-word answers many are the same."""
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
    note(axes, "validation; the untouched model at step 0")
    axes.set_xlabel("step")
    groups = same_series(run, names)
    for group, color in zip(groups, (TRAINED, *COLORS), strict=False):
        first = primary in group
        label = ", ".join(metric_label(name) for name in group)
        axes.plot(*run.series(f"val/{group[0]}"), color=color, marker="o", markersize=4 if first else 3,
                  linewidth=2.4 if first else 1.4, alpha=1.0 if first else 0.85, label=_folded(label),
                  zorder=3 if first else 2)  # fmt: skip
    if primary in groups[0]:
        mark_best(axes, *run.series(f"val/{primary}"), written=False)
    axes.set_ylim(0, 1.04)
    frequent = (run.results.get("most_frequent_answer") or {}).get("metrics") or {}
    if (value := number(frequent, primary)) is not None:
        last = float(run.series(f"val/{groups[0][0]}")[1][-1])
        _level(axes, value, f"always the most frequent answer ({run.split}): {value:.3f}", below=last > value)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=2 if len(groups) > 2 else 1)


def _draw_types(run: RunFolder, axes: Axes, metric: str, names: list[str]) -> None:
    axes.set_title(f"{metric_label(metric)} by type")
    left_out = len(names) - MOST_PARTS
    note(axes, "kind of answer" + (f"; {left_out} more in the table" if left_out > 0 else ""))
    for name, color in zip(names[:MOST_PARTS], (TRAINED, *COLORS), strict=False):
        steps, values = run.series(f"val/{metric}/type/{name}")
        axes.plot(
            steps, values, color=color, marker="o", markersize=3.5, linewidth=1.6, label=shorten(name, 22)
        )
    axes.set_ylim(0, 1.04)
    axes.set_xlabel("step")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=2)


def _level(axes: Axes, value: float, text: str, below: bool) -> None:
    """A dotted level with its meaning at the right end, on the side where the curve is not."""
    axes.axhline(value, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.6)
    axes.annotate(text, (0.99, value), xycoords=("axes fraction", "data"), xytext=(0, -4 if below else 4),
                  textcoords="offset points", ha="right", va="top" if below else "bottom", color=FAINT,
                  fontsize=9.5)  # fmt: skip


def _draw_clipping(run: RunFolder, axes: Axes) -> None:
    """The norm that gradients are clipped to, where it is in sight."""
    optimization = run.config.get("optimization")
    limit = optimization.get("max_grad_norm") if isinstance(optimization, dict) else None
    if isinstance(limit, (int, float)) and 0 < limit < axes.get_ylim()[1]:
        axes.axhline(limit, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.6)


def _folded(label: str, width: int = 34) -> str:
    """Broken at a comma where it is long."""
    if len(label) <= width:
        return label
    cut = label.rfind(", ", 0, width)
    return label if cut < 0 else f"{label[: cut + 1]}\n{_folded(label[cut + 2 :], width)}"
