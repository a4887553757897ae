"""Lines over the steps of training: values with their smooth course, metrics of validations, levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, GOOD, TRAINED, UNTOUCHED, note
from edge_glass.reporting.wording import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (TRAINED, "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#7A7A7A", "#22262B", "#F0E442")


def step_panels(
    figure: Figure, count: int, columns: int | None = None, widths: Sequence[float] | None = None
) -> list[Axes]:
    """Return `count` empty panels over the steps of training: side by side, or in rows of `columns`."""
    columns = columns or count
    grid = np.atleast_1d(figure.subplots(-(-count // columns), columns, width_ratios=widths)).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[:count]:
        axes.set_xlabel("step")
    return list(grid[:count])


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the finite values within `window // 2` places to either side: without a lag."""
    half = window // 2
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    # A reach that shrinks towards the ends keeps them unbiased; half of it remains, against noise.
    reach = np.clip(np.minimum(index, index[::-1]), (half + 1) // 2, half)
    first, last = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    number = counts[last] - counts[first]
    return np.where(number > 0, (sums[last] - sums[first]) / np.maximum(number, 1), np.nan)


def usual(values: np.ndarray) -> float:
    """Return the median of the finite values: the last batch of an epoch may be smaller."""
    return float(np.median(values[np.isfinite(values)]))


def raw_and_smooth(
    axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, label: str | None, marker: bool = False
) -> None:
    """Draw every value faintly and their smooth course over it; with `marker`, a few values as they are."""
    if not len(steps):
        return
    window = 0 if marker else len(values) // 25
    if window > 1:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.9)
        values = smooth(values, window)
    dots = "o" if marker or len(values) == 1 else None
    axes.plot(steps, values, color=color, label=label, marker=dots, markersize=4.5 if marker else None)


def level(axes: Axes, value: float, text: str, end: bool = False, below: bool = False) -> None:
    """Draw a dotted level with its meaning written on it.

    Args:
        axes: With the curves.
        value: Where.
        text: Its meaning.
        end: Write at the right end, not a little to the right of where the curves begin.
        below: Write below the level, not above it.
    """
    draw_limit(axes, value)
    axes.annotate(text, (0.99 if end else 0.14, value), xycoords=("axes fraction", "data"),
                  xytext=(0, -4 if below else 4), textcoords="offset points", ha="right" if end else "left",
                  va="top" if below else "baseline", color=FAINT, fontsize=9.5)  # fmt: skip


def mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray, written: bool) -> str:
    """Draw a ring around the highest point; return its number and step, also `written` beside it."""
    if not np.isfinite(values).any():
        return ""
    best = int(np.nanargmax(values))
    axes.plot(steps[best], values[best], "o", markersize=10, markerfacecolor="none", markeredgecolor=GOOD)
    text = f"best {values[best]:.3f} at step {steps[best]:.0f}"
    if written:
        axes.annotate(
            text,
            (steps[best], values[best]),
            xytext=(0, 12),
            textcoords="offset points",
            color=GOOD,
            fontsize=9.5,
            ha="right" if steps[best] > 0.5 * steps[-1] else "left",
        )
    return text


def validated(run: RunFolder) -> dict[str, int]:
    """Return metric → how many validations have it, in the order of their first appearance."""
    names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith("val/"))
    return {name.removeprefix("val/"): len(run.series(name)[0]) for name in names}


def draw_validated(axes: Axes, run: RunFolder, groups: Sequence[Sequence[str]], primary: str) -> None:
    """Draw metrics of validations over the steps, the primary one boldly, its best value with a ring.

    Args:
        axes: Empty.
        run: Its `metrics.jsonl` is read.
        groups: Metrics; those of one group agree and share a line.
        primary: The metric that decides.
    """
    note(axes, "validation; the untouched model at step 0")
    for group, color in zip(groups, COLORS, strict=False):
        first = primary in group
        label = ", ".join(metric_label(name) for name in group)
        axes.plot(*run.series(f"val/{group[0]}"), color=color, marker="o", markersize=4 if first else 3,
                  linewidth=2.4 if first else 1.4, alpha=1.0 if first else 0.85, label=_folded(label),
                  zorder=3 if first else 2)  # fmt: skip
    if any(primary in group for group in groups):
        mark_best(axes, *run.series(f"val/{primary}"), written=False)
    axes.set_ylim(0, 1.04)


def draw_shares(axes: Axes, run: RunFolder, text: str, colors: Mapping[str, str]) -> None:
    """Draw shares of bad answers over the validations; `colors` names the metrics, `text` explains them."""
    note(axes, text)
    highest = 0.05 / 1.08
    for name, color in colors.items():
        steps, values = run.series(f"val/{name}")
        axes.plot(steps, values, color=color, marker="o", markersize=4, label=metric_label(name))
        highest = max(highest, float(np.nanmax(values, initial=0.0)))
    axes.set_ylim(0, 1.08 * highest)
    if len(colors) > 1:
        axes.legend(loc="best")


def legend_below(axes: Axes, columns: int = 2) -> None:
    """Put the legend below the panel, where it covers no line."""
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=columns)


def gradient_limit(run: RunFolder) -> float | None:
    """Return the norm that gradients are cut to, if there is one."""
    limit = run.section("optimization").get("max_grad_norm")
    return float(limit) if isinstance(limit, (int, float)) and limit > 0 else None


def draw_limit(axes: Axes, limit: float, label: str | None = None) -> None:
    """Draw a dotted line, such as at the norm that gradients are cut to."""
    axes.axhline(limit, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.6, label=label)


def _folded(label: str, width: int = 34) -> str:
    """Break a long label at a comma."""
    if len(label) <= width:
        return label
    cut = label.rfind(", ", 0, width)
    return label if cut < 0 else f"{label[: cut + 1]}\n{_folded(label[cut + 2 :], width)}"
