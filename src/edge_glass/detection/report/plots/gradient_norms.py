"""Norm of the gradient of each component, on a logarithmic scale, and of all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_glass.reporting.curves import COLORS, draw_limit, gradient_limit, raw_and_smooth, step_panels
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import NothingToPlotError, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "Which part learns"
READING = (
    "A component whose norm stays at 0 learns nothing, though it may be meant to; one that grows without "
    "end asks for a smaller learning rate."
)
SIZE = (11, 4)
ORDER = 50
GRADIENTS: Final = "train/grad_norm/"


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith(GRADIENTS))
    found = [name for name in names if np.any(np.nan_to_num(run.series(name)[1]) > 0)]
    if len(run.series("train/grad_norm")[0]):
        found.append("train/grad_norm")
    if not found:
        raise NothingToPlotError("metrics.jsonl holds no norms of gradients")
    (axes,) = step_panels(figure, 1)
    title(axes, "Norm of the gradient", "by component, before it is clipped; logarithmic")
    for name, color in zip(found, COLORS, strict=False):
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
    if (limit := gradient_limit(run)) is not None:
        draw_limit(axes, limit, f"cut to {limit:g}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
