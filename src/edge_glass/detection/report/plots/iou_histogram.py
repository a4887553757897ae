"""How many pictures have which IoU, trained and untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_glass.detection.report.matching import detections_of
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import TRAINED, UNTOUCHED, NothingToPlotError, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "IoU of the pictures"
READING = (
    "A heap at 0 is pictures on which nothing was hit: look at those below. Heaps between 0.3 and 0.7 are "
    "boxes in the right region whose edges are not learned yet."
)
SIZE = (11, 3.6)
ORDER = 30
AMONG_NUMBERS = True
BINS: Final = 20


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    if not detections_of(run):
        raise NothingToPlotError("the evaluation left no boxes yet")
    records = detections_of(run)
    before = [one.untouched_iou for one in records if one.untouched_iou is not None]
    axes = figure.subplots()
    explanation = f"{run.split} split, {len(records):,} pictures; the lines are the means"
    title(axes, "IoU of the pictures", explanation)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    after = np.array([one.iou for one in records])
    _histogram(axes, after, edges, TRAINED, "trained", filled=True)
    if before:
        _histogram(axes, np.array(before), edges, UNTOUCHED, "untouched model", filled=False)
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU with the true boxes")
    axes.set_ylabel("pictures")
    axes.legend(loc="upper center")


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
