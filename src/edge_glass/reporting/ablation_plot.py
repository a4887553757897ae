"""The plot of an ablation: a row for each variant, a panel for each metric and each cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_glass.reporting.run_folder import number
from edge_glass.reporting.style import FAINT, TRAINED, UNTOUCHED, shorten
from edge_glass.reporting.variants import Variant
from edge_glass.reporting.wording import format_count, format_seconds, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_METRICS = 4
COST_PANELS = (("trained_parameters", "trained\nparameters"), ("seconds", "seconds\nof training"))


def plotted_costs(variants: Sequence[Variant]) -> list[tuple[str, str]]:
    """Costs worth a panel: those that are known and differ."""
    shown = []
    for name, title in COST_PANELS:
        found = {value for variant in variants if (value := variant.cost(name)) is not None}
        if len(found) > 1:
            shown.append((name, title))
    return shown


def figure_size(variants: Sequence[Variant], metrics: Sequence[str]) -> tuple[float, float]:
    """Inches."""
    panels = min(len(metrics), MOST_METRICS) + 0.7 * len(plotted_costs(variants))
    return max(11.0, 2.6 + 2.3 * panels), 1.9 + 0.5 * len(variants)


def draw_ablation(variants: Sequence[Variant], metrics: Sequence[str], figure: Figure) -> None:
    """Dots for seeds, a bar with an interval for their mean, and beside them what each variant costs."""
    metrics, costs = metrics[:MOST_METRICS], plotted_costs(variants)
    widths = [1.0] * len(metrics) + [0.7] * len(costs)
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, metric in zip(panels, metrics, strict=False):
        axes.set_title(_two_lines(metric_label(metric)))
        _draw_metric(axes, variants, metric)
    for axes, (name, title) in zip(panels[len(metrics) :], costs, strict=True):
        axes.set_title(title)
        _draw_cost(axes, variants, name)
    for axes in panels:
        axes.grid(axis="y", visible=False)
        axes.set_ylim(len(variants) - 0.5, -0.5)
    panels[0].set_yticks(range(len(variants)), [shorten(variant.name, 32) for variant in variants])
    several = any(len(variant.values(metric)) > 1 for variant in variants for metric in metrics)
    legend = "small dot: one seed, with its 95 % interval over the test queries · "
    legend += "bar: mean of the seeds, with its 95 % interval over seeds · " if several else ""
    figure.supxlabel(f"{legend}dotted: {shorten(variants[0].name, 24)}", fontsize=9.5, color=FAINT)


def _draw_metric(axes: Axes, variants: Sequence[Variant], metric: str) -> None:
    reference = variants[0].mean(metric)
    if reference is not None:
        axes.axvline(reference, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.3, zorder=1)
    for place, variant in enumerate(variants):
        mean = variant.mean(metric)
        if mean is None:
            axes.annotate(
                "no result", (0.02, place), xycoords=("axes fraction", "data"), color=FAINT, va="center"
            )
            continue
        _draw_seeds(axes, variant, metric, place)
        axes.plot([mean, mean], [place - 0.32, place + 0.32], color=TRAINED, linewidth=2.6)
        interval = variant.interval(metric)
        if interval is not None and len(variant.values(metric)) > 1:
            axes.plot([interval.low, interval.high], [place, place], color=TRAINED, linewidth=2.0)
    axes.locator_params(axis="x", nbins=4)


def _draw_seeds(axes: Axes, variant: Variant, metric: str, place: int) -> None:
    runs = [run for run in variant.runs if number(run.get("metrics") or {}, metric) is not None]
    for index, run in enumerate(runs):
        height = place + 0.5 * ((index + 0.5) / len(runs) - 0.5)
        low, high = (number(run["metrics"], metric, key) for key in ("low", "high"))
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=TRAINED, alpha=0.25, linewidth=1.2)
        axes.plot(
            number(run["metrics"], metric) or 0.0,
            height,
            "o",
            color=TRAINED,
            markersize=4.5,
            alpha=0.6,
            markeredgewidth=0,
        )


def _draw_cost(axes: Axes, variants: Sequence[Variant], name: str) -> None:
    write = format_seconds if name == "seconds" else format_count
    values = [variant.cost(name) for variant in variants]
    highest = max(value for value in values if value is not None)
    for place, value in enumerate(values):
        if value is not None:
            axes.barh(place, value, height=0.5, color="#D5DAE1")
            axes.annotate(
                write(value), (0, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
            )
    axes.set_xlim(0, highest * 1.05 or 1.0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _two_lines(label: str) -> str:
    """ "picture → words R@1 at 128 numbers" → the direction above, the rest below."""
    words, at, rest = label.partition(" R@")
    return f"{words}\n{(at + rest).strip()}" if at else label
