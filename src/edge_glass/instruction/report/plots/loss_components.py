"""Parts of the loss, halting and the norm of the gradient, where they were logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.reporting.curves import COLORS, draw_limit, gradient_limit, raw_and_smooth, step_panels
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import GOOD, NothingToPlotError, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "Inside the training"
READING = (
    "Gradients longer than the limit (dotted, where it is in sight) are cut to it, which is harmless; a "
    "norm that keeps growing asks for a smaller learning rate."
)
SIZE = (11, 4.0)
ORDER = 60

PARTS = {
    "train/last_loss": "after the last supervision step",
    "train/halting_loss": "halting",
}
OTHERS = {
    "train/halting_right": ("Halting", "how often stopping was judged rightly"),
    "train/grad_norm": ("Norm of the gradient", "before it is clipped"),
}


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith("train/"))
    parts = [name for name in names if name in PARTS or name.startswith("train/loss_")]
    others = [name for name in OTHERS if name in names and len(run.series(name)[0])]
    parts = [name for name in parts if np.any(run.series(name)[1])]
    count = bool(parts) + len(others)
    if not count:
        raise NothingToPlotError("metrics.jsonl holds no parts of the loss")
    panels = iter(step_panels(figure, count))
    if parts:
        axes = next(panels)
        title(axes, "Parts of the loss", "unweighted, mean over the tokens of the answers")
        for name, color in zip(parts, COLORS, strict=False):
            label = PARTS.get(name, name.removeprefix("train/loss_").replace("_", " "))
            raw_and_smooth(axes, *run.series(name), color, label)
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
    for name in others:
        axes = next(panels)
        title(axes, *OTHERS[name])
        raw_and_smooth(axes, *run.series(name), GOOD, None)
        axes.set_ylim(bottom=0)
        if name == "train/grad_norm":
            limit = gradient_limit(run)
            if limit is not None and limit < axes.get_ylim()[1]:
                draw_limit(axes, limit)
