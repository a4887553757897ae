"""Plots over the steps of training: loss, its parts, learning rate, validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.evaluation.metrics import higher_is_better
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, GOOD, TRAINED, UNTOUCHED, WORDS, NothingToPlotError, note
from edge_glass.reporting.wording import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIRECTION_COLORS = {"i2t": TRAINED, "t2i": WORDS, "mean": "#22262B"}


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


def guessing_loss(run: RunFolder) -> tuple[float, str] | None:
    """Loss of a model that guesses, with its formula: the weights of the loss times ln(batch).

    Known for InfoNCE only; None when the config or `train/ln_batch` does not tell.
    """
    losses = run.config.get("losses")
    _, ln_batch = run.series("train/ln_batch")
    if (
        not isinstance(losses, dict)
        or losses.get("kind", "infonce") != "infonce"
        or not np.isfinite(ln_batch).any()
    ):
        return None
    weight = float(losses.get("contrastive", 0.25))
    if len(run.series("train/loss_mrl")[1]):
        weight += float(losses.get("mrl", 1.0))
    usual = _usual(ln_batch)
    return weight * usual, f"guessing: {weight:g} × ln({round(np.exp(usual))}) = {weight * usual:.2f}"


def _usual(values: np.ndarray) -> float:
    """Median of the finite values: the last batch of an epoch may be smaller."""
    return float(np.median(values[np.isfinite(values)]))


def draw_training_curves(run: RunFolder, figure: Figure) -> None:
    """Loss of training and validation, and validation recall with the untouched model at step 0."""
    has_loss = any(len(run.series(name)[0]) for name in ("train/loss", "val/loss"))
    recalls = _validation_names(run)
    if not has_loss and not recalls:
        raise NothingToPlotError("metrics.jsonl holds neither a loss nor a validation metric")
    panels = iter(np.atleast_1d(figure.subplots(1, int(has_loss) + bool(recalls))))
    if has_loss:
        axes = next(panels)
        axes.set_title("Loss")
        _raw_and_smooth(axes, *run.series("train/loss"), TRAINED, "training")
        steps, values = run.series("val/loss")
        if len(steps):
            axes.plot(steps, values, color=WORDS, marker="o", markersize=4.5, label="validation")
        if (reference := guessing_loss(run)) is not None:
            _reference(axes, reference[0], reference[1])
        axes.set_xlabel("step")
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9))
    if recalls:
        _draw_validation(run, next(panels), recalls)


def draw_loss_components(run: RunFolder, figure: Figure) -> None:
    """Parts of the loss beside ln(batch), and the three signs of a collapse."""
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
    columns = 1 if count == 1 else 2
    grid = np.atleast_1d(figure.subplots(-(-count // columns), columns)).ravel()
    for axes in grid[count:]:
        axes.remove()
    panels = iter(grid)
    if parts:
        axes = next(panels)
        axes.set_title("Parts of the loss")
        note(axes, "unweighted; a model that guesses stands on the dotted line")
        labels = {"train/loss_clip": ("full embedding", TRAINED), "train/loss_mrl": ("Matryoshka", WORDS)}
        for name in parts:
            _raw_and_smooth(axes, *run.series(name), labels[name][1], labels[name][0])
        _, ln_batch = run.series("train/ln_batch")
        if np.isfinite(ln_batch).any():
            value = _usual(ln_batch)
            _reference(axes, value, f"ln(batch) = ln({round(np.exp(value))}) = {value:.2f}")
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.88))
    for name, (title, text) in present.items():
        axes = next(panels)
        axes.set_title(title)
        note(axes, text)
        _raw_and_smooth(axes, *run.series(name), GOOD, None)
    for axes in grid[:count]:
        axes.set_xlabel("step")


def draw_lr_schedule(run: RunFolder, figure: Figure) -> None:
    """Learning rate over the steps."""
    steps, rates = run.series("train/lr")
    if not len(steps):
        raise NothingToPlotError("metrics.jsonl holds no learning rate (train/lr)")
    axes = figure.subplots()
    axes.set_title("Learning rate")
    axes.plot(steps, rates, color=TRAINED)
    axes.fill_between(steps, rates, color=TRAINED, alpha=0.08, linewidth=0)
    if np.isfinite(rates).any():
        top = int(np.nanargmax(rates))
        axes.plot(steps[top], rates[top], "o", color=TRAINED, markersize=6)
        axes.annotate(f"{rates[top]:.2g} at step {steps[top]:.0f}", (steps[top], rates[top]), xytext=(8, 2),
                      textcoords="offset points", color=FAINT, fontsize=9.5)  # fmt: skip
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")


def _validation_names(run: RunFolder) -> list[str]:
    """The R@1 series of both directions and their mean, and the primary metric when it is another."""
    evaluation = run.config.get("evaluation")
    primary = evaluation.get("primary_metric", "mean_r1") if isinstance(evaluation, dict) else "mean_r1"
    names = ["val/i2t_r1", "val/t2i_r1", "val/mean_r1"]
    # A median rank has another scale and direction; it is in the table and the CSV.
    if f"val/{primary}" not in names and higher_is_better(str(primary)):
        names.append(f"val/{primary}")
    return [name for name in names if len(run.series(name)[0])]


def _draw_validation(run: RunFolder, axes: Axes, names: list[str]) -> None:
    axes.set_title("Validation recall")
    axes.set_xlabel("step")
    highest = 0.0
    for name in names:
        steps, values = run.series(name)
        metric = name.removeprefix("val/")
        color = DIRECTION_COLORS.get(metric.split("_")[0], GOOD) if metric.endswith("_r1") else GOOD
        is_mean = metric.startswith("mean_")
        axes.plot(steps, values, color=color, marker="o", markersize=4, label=metric_label(metric),
                  linewidth=2.4 if is_mean else 1.6, alpha=1.0 if is_mean else 0.85)  # fmt: skip
        highest = max(highest, float(np.nanmax(values, initial=0.0)))
    steps, values = run.series(names[-1])
    if steps[0] == 0 and np.isfinite(values[0]):
        _reference(axes, values[0], f"untouched model: {values[0]:.3f}")
    _mark_best(axes, steps, values)
    axes.set_ylim(0, max(highest * 1.18, 0.01))
    axes.legend(loc="lower right")


def _raw_and_smooth(axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, label: str | None) -> None:
    if not len(steps):
        return
    window = len(values) // 25
    if window > 1:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.9)
        values = smooth(values, window)
    axes.plot(steps, values, color=color, label=label, marker="o" if len(values) == 1 else None)


def _reference(axes: Axes, value: float, text: str) -> None:
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


def _mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    """A ring around the highest point, with its number."""
    if not np.isfinite(values).any():
        return
    best = int(np.nanargmax(values))
    axes.plot(steps[best], values[best], "o", markersize=10, markerfacecolor="none", markeredgecolor=GOOD)
    axes.annotate(
        f"best {values[best]:.3f} at step {steps[best]:.0f}",
        (steps[best], values[best]),
        xytext=(0, 12),
        textcoords="offset points",
        color=GOOD,
        fontsize=9.5,
        ha="right" if steps[best] > 0.5 * steps[-1] else "left",
    )
