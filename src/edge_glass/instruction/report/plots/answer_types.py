"""The primary metric by answer type, of all models measured: what was learned, and what comes for less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_glass.instruction.report.companions import primary_metric
from edge_glass.instruction.report.tables import measured_models, part_metric, part_names
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.style import CLOSED_FORM, FAINT, TRAINED, UNTOUCHED, NothingToPlotError, shorten
from edge_glass.reporting.tables import Measured
from edge_glass.reporting.wording import format_value, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "Answers by type"
READING = (
    "Where the trained model is hardly ahead of the bars above it, it has learned little from what it sees, "
    "however long its bar is. Thin lines are 95 % intervals."
)
SIZE = (11, 4)
ORDER = 30
AMONG_NUMBERS = True

MODEL_COLORS = {
    "baseline": UNTOUCHED,
    "most_frequent_answer": CLOSED_FORM,
    "blind": "#CC79A7",
    "metrics": TRAINED,
}
MOST_TYPES = 12
BAR = 0.2


def draw(run: RunFolder, figure: Figure) -> None:
    """Draw bars with 95 % intervals for all questions and for every type, one colour per model."""
    models = measured_models(run, blind=True)
    metrics = run.results.get("metrics") or {}
    if not metrics:
        raise NothingToPlotError("results.json is not there yet")
    metric = part_metric(metrics, "type", primary_metric(run)) or primary_metric(run)
    if number(metrics, metric) is None:
        raise NothingToPlotError(f"results.json holds no {metric}")
    types = part_names(metrics, "type", metric)
    groups = [("all", metric), *((name, f"{metric}/type/{name}") for name in types[:MOST_TYPES])]
    figure.set_size_inches(11, 1.4 + (0.3 + 0.19 * len(models)) * len(groups))
    axes = figure.subplots()
    axes.set_title(f"{metric_label(metric)} by type of answer" if types else metric_label(metric))
    for place, model in enumerate(models):
        offset = (place - (len(models) - 1) / 2) * BAR
        _draw_model(axes, model, [name for _, name in groups], offset)
    axes.set_yticks(range(len(groups)), [shorten(name, 28) for name, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.05 - 0.12 / len(groups)), ncols=len(models))
    if len(types) > MOST_TYPES:
        axes.set_xlabel(f"{len(types) - MOST_TYPES} more types stand in the table", loc="right")


def _draw_model(axes: Axes, model: Measured, names: list[str], offset: float) -> None:
    color = MODEL_COLORS[model.key]
    label: str | None = model.heading
    for place, name in enumerate(names):
        value = number(model.metrics, name)
        if value is None:
            continue
        height = place + offset
        axes.barh(height, value, height=0.9 * BAR, color=color, label=label)
        label = None
        low, high = number(model.metrics, name, "low"), number(model.metrics, name, "high")
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color="#22262B", linewidth=1.0, alpha=0.7)
        end = max(value, high or 0.0)
        axes.annotate(format_value(name, value), (end, height), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=FAINT)  # fmt: skip
