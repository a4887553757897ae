"""Plots of what was found: how well boxes overlap, and whether their coordinates follow the true ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_glass.detection.report.matching import centres, detections_of
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, TRAINED, UNTOUCHED, NothingToPlotError, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS: Final = 20
MOST_POINTS: Final = 1500


def draw_iou_histogram(run: RunFolder, figure: Figure) -> None:
    """How many pictures have which IoU, trained and untouched."""
    if not detections_of(run):
        raise NothingToPlotError("the evaluation left no boxes yet")
    records = detections_of(run)
    before = [one.untouched_iou for one in records if one.untouched_iou is not None]
    axes = figure.subplots()
    axes.set_title("IoU of the pictures")
    note(axes, f"{run.split} split, {len(records):,} pictures; the lines are the means")
    edges = np.linspace(0.0, 1.0, BINS + 1)
    after = np.array([one.iou for one in records])
    _histogram(axes, after, edges, TRAINED, "trained", filled=True)
    if before:
        _histogram(axes, np.array(before), edges, UNTOUCHED, "untouched model", filled=False)
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU with the true boxes")
    axes.set_ylabel("pictures")
    axes.legend(loc="upper center")


def draw_box_coordinates(run: RunFolder, figure: Figure) -> None:
    """Centres of predicted boxes against those of the true ones: right ones stand on the diagonal."""
    after = centres(detections_of(run))
    before = centres(detections_of(run), untouched=True)
    if not len(after) and not len(before):
        raise NothingToPlotError("no picture has as many boxes found as there should be")
    titles = ("Across", "Down")
    texts = ("left to right: 0 is the left rim", "top to bottom: 0 is the upper rim")
    for axis, axes in enumerate(np.atleast_1d(figure.subplots(1, 2))):
        axes.set_title(titles[axis])
        note(axes, texts[axis])
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.0, linestyle=(0, (1, 2)))
        for pairs, color, label in ((before, UNTOUCHED, "untouched model"), (after, TRAINED, "trained")):
            if len(pairs):
                rows = np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_POINTS)).astype(int)
                axes.plot(pairs.true[rows, axis], np.clip(pairs.found[rows, axis], -0.05, 1.05), "o",
                          color=color, markersize=3.5, alpha=0.5, markeredgewidth=0, label=label)  # fmt: skip
        axes.set_xlim(-0.05, 1.05)
        axes.set_ylim(-0.08, 1.08)
        axes.set_aspect("equal")
        axes.set_xlabel("centre of the true box")
        axes.set_ylabel("centre of the predicted box")
        if axis == 0:
            axes.legend(loc="upper left")


def _histogram(
    axes: Axes, values: np.ndarray, edges: np.ndarray, color: str, label: str, filled: bool
) -> None:
    counts, _ = np.histogram(np.clip(values, 0.0, 1.0), edges)
    if filled:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=color, alpha=0.75, label=label,
                 edgecolor="white", linewidth=0.6)  # fmt: skip
    else:
        axes.stairs(counts, edges, color=color, linewidth=1.8, label=label)
    axes.axvline(float(values.mean()), color=color, linewidth=1.4, linestyle=(0, (4, 2)))
