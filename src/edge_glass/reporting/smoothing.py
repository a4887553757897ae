"""Lines over the steps of training: noisy values with their smooth course, and levels to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.reporting.style import FAINT, GOOD, UNTOUCHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the finite values within `window // 2` places to either side: no lag, and fewer at the ends."""
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
    """Median of the finite values: the last batch of an epoch may be smaller."""
    return float(np.median(values[np.isfinite(values)]))


def raw_and_smooth(
    axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, label: str | None, marker: bool = False
) -> None:
    """Every value faintly and their smooth course over it; with `marker`, a few values as they are."""
    if not len(steps):
        return
    window = 0 if marker else len(values) // 25
    if window > 1:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.9)
        values = smooth(values, window)
    dots = "o" if marker or len(values) == 1 else None
    axes.plot(steps, values, color=color, label=label, marker=dots, markersize=4.5 if marker else None)


def level(axes: Axes, value: float, text: str) -> None:
    """A dotted level with its meaning written on it, a little to the right of where the curves begin."""
    axes.axhline(value, color=UNTOUCHED, linestyle=(0, (1, 2)), linewidth=1.6)
    axes.annotate(
        text,
        (0.14, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        color=FAINT,
        fontsize=9.5,
    )


def mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray, written: bool) -> str:
    """A ring around the highest point; returns its number and step, which are also `written` beside it."""
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
