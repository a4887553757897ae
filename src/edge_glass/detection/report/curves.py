"""Plots over the steps of training of a detection run: boxes while it learns, and gradients by component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_glass.detection.report.tables import ordered_metrics, primary_metric
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.smoothing import mark_best, raw_and_smooth
from edge_glass.reporting.style import TRAINED, UNTOUCHED, WORDS, NothingToPlotError, note
from edge_glass.reporting.wording import DETECTION_WORDS, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#22262B", "#7A7A7A")
DRAWN: Final = ("mean_iou", "f1_50", "precision_50", "recall_50", "f1_75", "map")
FAULTS: Final = {"unparsable": WORDS, "never_ended": "#7A7A7A"}
GRADIENTS: Final = "train/grad_norm/"


def draw_detection_metrics(run: RunFolder, figure: Figure) -> None:
    """Metrics of boxes at every validation, the untouched model at step 0; answers that went wrong beside."""
    logged = {name.removeprefix("val/"): 0 for row in run.metrics for name in row if name.startswith("val/")}
    primary = primary_metric(run)
    chosen = dict.fromkeys((primary, *DRAWN))
    whole = [name for name in ordered_metrics(logged, primary) if name in chosen and _steps(run, name)]
    faults = [name for name in FAULTS if _steps(run, name)]
    if not whole and not faults:
        raise NothingToPlotError("metrics.jsonl holds no metrics of boxes yet")
    count = bool(whole) + bool(faults)
    widths = [1.6, 1.0] if count == 2 else [1.0]
    panels = iter(np.atleast_1d(figure.subplots(1, count, width_ratios=widths)))
    if whole:
        _draw_whole(run, next(panels), whole, primary)
    if faults:
        axes = next(panels)
        axes.set_title("Answers that went wrong")
        note(axes, "share of the validation answers; less is better")
        highest = 0.05
        for name in faults:
            steps, values = run.series(f"val/{name}")
            label = DETECTION_WORDS[name]
            axes.plot(steps, values, color=FAULTS[name], marker="o", markersize=4, label=label)
            highest = max(highest, float(np.nanmax(values, initial=0.0)))
        axes.set_ylim(0, 1.08 * highest)
        axes.set_xlabel("step")
        axes.legend(loc="best")


def draw_gradient_norms(run: RunFolder, figure: Figure) -> None:
    """Norm of the gradient of each component, on a logarithmic scale, and of all of it."""
    names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith(GRADIENTS))
    found = [name for name in names if np.any(np.nan_to_num(run.series(name)[1]) > 0)]
    if len(run.series("train/grad_norm")[0]):
        found.append("train/grad_norm")
    if not found:
        raise NothingToPlotError("metrics.jsonl holds no norms of gradients")
    axes = figure.subplots()
    axes.set_title("Norm of the gradient")
    note(axes, "by component, before it is clipped; logarithmic")
    for name, color in zip(found, (TRAINED, *COLORS), strict=False):
        total = name == "train/grad_norm"
        steps, values = run.series(name)
        values = np.where(values > 0, values, np.nan)
        raw_and_smooth(
            axes, steps, values, "#22262B" if total else color,
            "all together" if total else name.removeprefix(GRADIENTS),
        )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the style writes no formulas
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    optimization = run.config.get("optimization")
    limit = optimization.get("max_grad_norm") if isinstance(optimization, dict) else None
    if isinstance(limit, (int, float)) and limit > 0:
        axes.axhline(limit, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.6, label=f"cut to {limit:g}")
    axes.set_xlabel("step")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _steps(run: RunFolder, name: str) -> bool:
    return len(run.series(f"val/{name}")[0]) > 0


def _draw_whole(run: RunFolder, axes: Axes, names: list[str], primary: str) -> None:
    axes.set_title("Boxes")
    note(axes, "validation; the untouched model at step 0")
    for name, color in zip(names, (TRAINED, *COLORS), strict=False):
        first = name == primary
        axes.plot(*run.series(f"val/{name}"), color=color, marker="o", markersize=4 if first else 3,
                  linewidth=2.4 if first else 1.4, alpha=1.0 if first else 0.85, label=metric_label(name),
                  zorder=3 if first else 2)  # fmt: skip
    for name in _between(run, primary):
        axes.plot(*run.series(name), color=TRAINED, linewidth=1.2, linestyle=(0, (2, 1.5)),
                  label=f"{metric_label(primary)}, between validations, on fewer rows")  # fmt: skip
    if primary in names:
        mark_best(axes, *run.series(f"val/{primary}"), written=False)
    axes.set_ylim(0, 1.04)
    axes.set_xlabel("step")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=2)


def _between(run: RunFolder, primary: str) -> list[str]:
    """The primary metric as it was measured beside validations: `detection.iou_steps`."""
    logged = dict.fromkeys(name for row in run.metrics for name in row)
    return [name for name in logged if name.endswith(f"/{primary}") and not name.startswith("val/")]
