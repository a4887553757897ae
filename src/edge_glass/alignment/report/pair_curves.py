"""Plots over the steps of training for runs with more than one pair of modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.smoothing import level, raw_and_smooth, usual
from edge_glass.reporting.style import FAINT, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PAIR_WORDS = {
    "vision_text": "pictures and words",
    "audio_text": "sounds and words",
    "vision_audio": "pictures and sounds",
    "fused": "two together and the third",
}
PAIR_COLORS = {
    "vision_text": "#0072B2",
    "audio_text": "#D55E00",
    "vision_audio": "#009E73",
    "fused": "#CC79A7",
}
PANELS = (
    ("train/loss_clip", "Loss of each pair", "full embedding, unweighted; dotted: guessing"),
    ("val/loss_clip", "Loss of each pair, validation", "full embedding, unweighted"),
    ("train/loss_mrl", "Matryoshka loss of each pair", "unweighted mean over the dimensions"),
    ("train/temperature", "Temperature of each pair", "learned; low means sharp"),
    ("train/off_diagonal_cosine", "Cosine of wrong pairs", "near 0 is healthy, towards 1 is a collapse"),
    ("train/effective_rank", "Effective rank", "directions that pictures (or sounds) of a pair really use"),
)


def pairs_of(run: RunFolder) -> list[str]:
    """Pairs of modalities that were logged one by one; none in a run with a single pair."""
    start = "train/loss_clip_"
    found = {name.removeprefix(start) for row in run.metrics for name in row if name.startswith(start)}
    return [pair for pair in PAIR_WORDS if pair in found] + sorted(found - PAIR_WORDS.keys())


def complete_loss(run: RunFolder) -> tuple[np.ndarray, np.ndarray, bool]:
    """Steps and training loss of the batches that held every pair, and whether there were others.

    The loss is a sum over pairs: batches of rows that lack a modality have fewer terms and no place beside
    the rest. Where no batch held every pair, all are given.
    """
    pairs = pairs_of(run)
    steps, values = run.series("train/loss")
    complete = {row["step"] for row in run.metrics if all(f"train/ln_batch_{pair}" in row for pair in pairs)}
    kept = np.isin(steps, list(complete))
    if not kept.any():
        return steps, values, False
    return steps[kept], values[kept], not kept.all()


def guessing_level(run: RunFolder, weight: float) -> float | None:
    """Weighted sum over the pairs of ln(batch), times the weights within a pair; None where unknown."""
    total = 0.0
    for pair in pairs_of(run):
        _, ln_batch = run.series(f"train/ln_batch_{pair}")
        if not np.isfinite(ln_batch).any():
            return None
        total += _weight(run, pair) * usual(ln_batch)
    return weight * total


def draw_pair_components(run: RunFolder, figure: Figure) -> None:
    """Losses, temperatures and signs of a collapse, a line for each pair."""
    pairs = pairs_of(run)
    shown = [panel for panel in PANELS if any(np.any(run.series(f"{panel[0]}_{pair}")[1]) for pair in pairs)]
    rows = -(-len(shown) // 2)
    figure.set_size_inches(11, 0.6 + 3.1 * rows)
    grid = np.atleast_1d(figure.subplots(rows, 2)).ravel()
    for axes in grid[len(shown) :]:
        axes.remove()
    for axes, (name, title, text) in zip(grid, shown, strict=False):
        axes.set_title(title)
        note(axes, text)
        for pair in pairs:
            # The rank is of the pair's first modality: pictures stand in two pairs with the same number.
            if name == "train/effective_rank" and pair == "vision_audio" and "vision_text" in pairs:
                continue
            steps, values = run.series(f"{name}_{pair}")
            raw_and_smooth(axes, steps, values, _color(pair), None, marker=name.startswith("val/"))
        if name == "train/loss_clip":
            _draw_guessing(run, axes, pairs)
        if name in ("train/loss_clip", "val/loss_clip", "train/loss_mrl", "train/temperature"):
            axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
    handles = [_line(_color(pair)) for pair in pairs]
    figure.legend(handles, [PAIR_WORDS.get(pair, pair) for pair in pairs], loc="outside upper left", ncols=4)


def _draw_guessing(run: RunFolder, axes: Axes, pairs: list[str]) -> None:
    """ln(batch), one line for all pairs when they agree to a tenth, which is all that can be told apart."""
    series = [run.series(f"train/ln_batch_{pair}")[1] for pair in pairs]
    levels = [usual(values) for values in series if np.isfinite(values).any()]
    if levels and max(levels) - min(levels) < 0.1:
        value = float(np.mean(levels))
        level(axes, value, f"ln(batch) = {value:.2f}")


def _line(color: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color)


def _color(pair: str) -> str:
    return PAIR_COLORS.get(pair, FAINT)


def _weight(run: RunFolder, pair: str) -> float:
    section = run.config.get("fusion") if pair == "fused" else run.config.get("losses")
    weights = section if isinstance(section, dict) else {}
    if pair == "fused":
        return float(weights.get("weight", 1.0))
    pairs = weights.get("pairs")
    return float(pairs.get(pair, 1.0)) if isinstance(pairs, dict) else 1.0
