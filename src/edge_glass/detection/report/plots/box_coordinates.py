"""Centres of predicted boxes against those of the true ones: right ones stand on the diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_glass.detection.report.matching import centres, detections_of
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, TRAINED, UNTOUCHED, NothingToPlotError, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "Where the boxes are"
READING = (
    "On the diagonal a box is where it should be. A line with another slope means coordinates of another "
    "resize; two clouds without a slope mean that x and y are swapped, or that nothing was learned."
)
SIZE = (11, 5.4)
ORDER = 40
MOST_POINTS: Final = 1500


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    after = centres(detections_of(run))
    before = centres(detections_of(run), untouched=True)
    if not len(after) and not len(before):
        raise NothingToPlotError("no picture has as many boxes found as there should be")
    titles = ("Across", "Down")
    texts = ("left to right: 0 is the left rim", "top to bottom: 0 is the upper rim")
    for axis, axes in enumerate(np.atleast_1d(figure.subplots(1, 2))):
        title(axes, titles[axis], texts[axis])
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
