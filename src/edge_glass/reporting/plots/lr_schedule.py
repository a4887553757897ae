"""Learning rate over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.reporting.curves import step_panels
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, TRAINED, NothingToPlotError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "Learning rate"
READING = "It rises at first, while the new parts are still random, and falls towards the end, to settle."
SIZE = (11, 3)
ORDER = 90


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    steps, rates = run.series("train/lr")
    if not len(steps):
        raise NothingToPlotError("metrics.jsonl holds no learning rate (train/lr)")
    (axes,) = step_panels(figure, 1)
    axes.set_title("Learning rate")
    axes.plot(steps, rates, color=TRAINED)
    axes.fill_between(steps, rates, color=TRAINED, alpha=0.08, linewidth=0)
    if np.isfinite(rates).any():
        top = int(np.nanargmax(rates))
        axes.plot(steps[top], rates[top], "o", color=TRAINED, markersize=6)
        axes.annotate(f"{rates[top]:.2g} at step {steps[top]:.0f}", (steps[top], rates[top]), xytext=(8, 2),
                      textcoords="offset points", color=FAINT, fontsize=9.5)  # fmt: skip
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    axes.set_ylim(bottom=0)
