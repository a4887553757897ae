"""Metrics of boxes at every validation, the untouched model at step 0; answers that went wrong beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_glass.detection.report.tables import ordered_metrics, primary_metric
from edge_glass.reporting.curves import draw_shares, draw_validated, legend_below, step_panels, validated
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import TRAINED, WORDS, NothingToPlotError
from edge_glass.reporting.wording import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "Boxes while it learned"
READING = (
    "The model writes whole answers to some validation pictures and is told nothing. A loss that falls "
    "while these stay where they are is a sign of labels that do not fit the pictures."
)
SIZE = (11, 4.9)
ORDER = 20
DRAWN: Final = ("mean_iou", "f1_50", "precision_50", "recall_50", "f1_75", "map")
FAULTS: Final = {"unparsable": WORDS, "never_ended": "#7A7A7A"}


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    logged = validated(run)
    primary = primary_metric(run)
    chosen = dict.fromkeys((primary, *DRAWN))
    whole = [name for name in ordered_metrics(logged, primary) if name in chosen and logged[name]]
    faults = [name for name in FAULTS if logged.get(name)]
    if not whole and not faults:
        raise NothingToPlotError("metrics.jsonl holds no metrics of boxes yet")
    count = bool(whole) + bool(faults)
    widths = [1.6, 1.0] if count == 2 else [1.0]
    panels = iter(step_panels(figure, count, widths=widths))
    if whole:
        _draw_whole(run, next(panels), whole, primary)
    if faults:
        axes = next(panels)
        axes.set_title("Answers that went wrong")
        colors = {name: FAULTS[name] for name in faults}
        draw_shares(axes, run, "share of the validation answers; less is better", colors)


def _draw_whole(run: RunFolder, axes: Axes, names: list[str], primary: str) -> None:
    axes.set_title("Boxes")
    draw_validated(axes, run, [[name] for name in names], primary)
    for name in _between(run, primary):
        axes.plot(*run.series(name), color=TRAINED, linewidth=1.2, linestyle=(0, (2, 1.5)),
                  label=f"{metric_label(primary)}, between validations, on fewer rows")  # fmt: skip
    legend_below(axes)


def _between(run: RunFolder, primary: str) -> list[str]:
    """Return the primary metric as it was measured beside validations: `detection.iou_steps`."""
    logged = dict.fromkeys(name for row in run.metrics for name in row)
    return [name for name in logged if name.endswith(f"/{primary}") and not name.startswith("val/")]
