"""Parts of the loss beside ln(batch), temperature and signs of a collapse; a line per pair of modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.alignment.report.sides import PAIR_WORDS, has_sounds, pairs_of
from edge_glass.reporting.curves import level, raw_and_smooth, step_panels, usual
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, GOOD, TRAINED, WORDS, NothingToPlotError, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

HEADING = "Parts of the loss and signs of collapse"
READING = (
    "A cosine of wrong pairs near 1, or an effective rank near 1, means that everything gets the same "
    "embedding."
)
SIZE = (11, 7)
ORDER = 60

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


def more(run: RunFolder) -> str:
    """Say where sounds stand, in runs that have them."""
    return "Each pair of modalities has its own loss and its own temperature." if has_sounds(run) else ""


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    if pairs_of(run):
        _draw_pairs(run, figure)
        return
    # A Matryoshka loss with the weight 0 is logged as 0, and is no part of the loss.
    parts = [name for name in ("train/loss_clip", "train/loss_mrl") if np.any(run.series(name)[1])]
    signs = {
        "train/off_diagonal_cosine": ("Cosine of wrong pairs", "near 0 is healthy, towards 1 is a collapse"),
        "train/effective_rank": ("Effective rank", "directions the embeddings really use"),
        "train/temperature": ("Temperature", "learned; low means sharp"),
    }
    present = {name: texts for name, texts in signs.items() if len(run.series(name)[0])}
    count = bool(parts) + len(present)
    if not count:
        raise NothingToPlotError("metrics.jsonl holds no parts of the loss")
    panels = iter(step_panels(figure, count, columns=min(count, 2)))
    if parts:
        axes = next(panels)
        title(axes, "Parts of the loss", "unweighted; a model that guesses stands on the dotted line")
        labels = {"train/loss_clip": ("full embedding", TRAINED), "train/loss_mrl": ("Matryoshka", WORDS)}
        for name in parts:
            raw_and_smooth(axes, *run.series(name), labels[name][1], labels[name][0])
        _, ln_batch = run.series("train/ln_batch")
        if np.isfinite(ln_batch).any():
            value = usual(ln_batch)
            level(axes, value, f"ln(batch) = ln({round(np.exp(value))}) = {value:.2f}")
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.88))
    for name, (words, text) in present.items():
        axes = next(panels)
        title(axes, words, text)
        raw_and_smooth(axes, *run.series(name), GOOD, None)


def _draw_pairs(run: RunFolder, figure: Figure) -> None:
    """Draw losses, temperatures and signs of a collapse, a line for each pair."""
    pairs = pairs_of(run)
    shown = [panel for panel in PANELS if any(np.any(run.series(f"{panel[0]}_{pair}")[1]) for pair in pairs)]
    rows = -(-len(shown) // 2)
    figure.set_size_inches(11, 0.6 + 3.1 * rows)
    for axes, (name, words, text) in zip(step_panels(figure, len(shown), columns=2), shown, strict=True):
        title(axes, words, text)
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
    handles = [_line(_color(pair)) for pair in pairs]
    figure.legend(handles, [PAIR_WORDS.get(pair, pair) for pair in pairs], loc="outside upper left", ncols=4)


def _draw_guessing(run: RunFolder, axes: Axes, pairs: list[str]) -> None:
    """Draw ln(batch), one line for all pairs when they agree to a tenth: no more can be told apart."""
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
