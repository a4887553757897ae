"""Recall against the number of embedding dimensions kept, with intervals, for all measured models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.alignment.report.sides import BACK, ENDS, archive_of, candidates, measured_sides
from edge_glass.alignment.report.tables import full_dimension, measured_dimensions
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.style import CLOSED_FORM, TRAINED, UNTOUCHED, NothingToPlotError
from edge_glass.reporting.wording import SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "Recall against embedding size"
READING = (
    "How much of the embedding can be cut off before search suffers. Bands are 95 % intervals; where they "
    "overlap, the difference may be chance."
)
SIZE = (11, 7)
ORDER = 20

MODELS = (
    ("baseline", "untouched", UNTOUCHED, "s"),
    ("closed_form", "closed form", CLOSED_FORM, "D"),
    ("metrics", "trained", TRAINED, "o"),
)


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    metrics = run.results.get("metrics", {})
    if not metrics:
        raise NothingToPlotError("results.json is not there yet")
    full = full_dimension(run)
    dimensions = measured_dimensions(metrics, full)
    if len(dimensions) < 2:
        raise NothingToPlotError("only the full embedding dimension was measured (no mrl_dimensions)")
    layout = _layout(measured_sides(metrics))
    if not layout:
        raise NothingToPlotError("results.json holds no direction of retrieval")
    columns, rows = max(map(len, layout)), 2 * len(layout)
    if rows > 2:
        figure.set_size_inches(11, 2.6 * rows)
    for block, measure in enumerate(("r1", "r10")):
        shared = None
        for line, sides in enumerate(layout):
            row = block * len(layout) + line
            for column, side in enumerate(sides):
                axes = figure.add_subplot(rows, columns, row * columns + column + 1, sharey=shared)
                shared = axes
                axes.set_title(f"{SIDES[side]}, R@{measure[1:]}")
                _draw_models(run, axes, f"{side}_{measure}", dimensions, full)
                if row == rows - 1:
                    axes.set_xlabel("numbers kept of the embedding")
                if row == column == 0:
                    axes.legend(loc="best")


def _layout(sides: list[str]) -> list[list[str]]:
    """Put two directions side by side; of more, a pair of modalities per column, one way above the other."""
    if len(sides) <= 2:
        return [sides] if sides else []
    return [[side for side in sides if side not in BACK], [side for side in sides if side in BACK]]


def _draw_models(run: RunFolder, axes: Axes, base: str, dimensions: list[int], full: int | None) -> None:
    top = 0.0
    for key, label, color, marker in MODELS:
        metrics = run.results.get(key) or {}
        names = {d: base if d == full else f"{base}@{d}" for d in dimensions}
        known = [d for d in dimensions if number(metrics, names[d]) is not None]
        if not known:
            continue
        values = np.array([number(metrics, names[d]) for d in known], float)
        ends = {
            key: np.array([np.nan if (end := number(metrics, names[d], key)) is None else end for d in known])
            for key in ("low", "high")
        }
        axes.fill_between(known, ends["low"], ends["high"], color=color, alpha=0.14, linewidth=0)
        axes.plot(known, values, color=color, marker=marker, markersize=5, label=label, clip_on=False)
        top = max(top, float(np.nanmax([*values, *ends["high"]])))
    _draw_chance(run, axes, base)
    axes.set_xscale("log", base=2)
    axes.set_xticks(dimensions, [str(d) for d in dimensions])
    axes.minorticks_off()
    # Both columns share an axis; never shrink what the first one needed.
    axes.set_ylim(0, max(top * 1.08, 0.02, axes.get_ylim()[1] if axes.get_ylim()[1] != 1.0 else 0.0))


def _draw_chance(run: RunFolder, axes: Axes, base: str) -> None:
    """Draw the level of guessing, exact when every query has one right candidate."""
    direction = base.partition("_")[0]
    archive = archive_of(run)
    if archive is None or direction not in ENDS:
        return
    count = candidates(archive, direction)
    if count:
        chance = min(1.0, int(base.rpartition("r")[2]) / count)
        axes.axhline(chance, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.4, label="guessing")
