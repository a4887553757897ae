"""Loss with its guessing level, and validation recall with the untouched model at step 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.alignment.report.sides import BACK, measured_sides, pairs_of
from edge_glass.config.metrics import higher_is_better
from edge_glass.reporting.curves import level, mark_best, raw_and_smooth, step_panels, usual
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import GOOD, INK, TRAINED, WORDS, NothingToPlotError, note
from edge_glass.reporting.wording import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "Training"
READING = (
    "Both losses should fall well below the dotted line, where a model that guesses stands. When validation "
    "loss rises while training loss falls, the model is learning its rows by heart."
)
SIZE = (11, 4.2)
ORDER = 10

# Okabe and Ito's palette; in runs with sounds, the way back of a pair is dashed.
DIRECTION_COLORS = {
    "i2t": TRAINED,
    "t2i": WORDS,
    "a2t": "#009E73",
    "t2a": "#E69F00",
    "v2a": "#56B4E9",
    "a2v": "#CC79A7",
    "mean": INK,
}


def guessing_loss(run: RunFolder) -> tuple[float, str] | None:
    """Return the loss of a model that guesses, with its formula: weights of the loss times ln(batch).

    Known for InfoNCE only; None when the config or `train/ln_batch` does not tell.
    """
    losses = run.section("losses")
    _, ln_batch = run.series("train/ln_batch")
    if not losses or losses.get("kind", "infonce") != "infonce" or not np.isfinite(ln_batch).any():
        return None
    weight = float(losses.get("contrastive", 0.25))
    if len(run.series("train/loss_mrl")[1]):
        weight += float(losses.get("mrl", 1.0))
    if pairs := pairs_of(run):
        summed = guessing_level(run, weight)
        return None if summed is None else (summed, f"guessing: {summed:.2f}, summed over {len(pairs)} pairs")
    value = usual(ln_batch)
    return weight * value, f"guessing: {weight:g} × ln({round(np.exp(value))}) = {weight * value:.2f}"


def complete_loss(run: RunFolder) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return steps and training loss of the batches that held every pair, and whether there were others.

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
    """Sum ln(batch) over the pairs, weighted, times the weights within a pair; None where unknown."""
    total = 0.0
    for pair in pairs_of(run):
        _, ln_batch = run.series(f"train/ln_batch_{pair}")
        if not np.isfinite(ln_batch).any():
            return None
        total += _weight(run, pair) * usual(ln_batch)
    return weight * total


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    has_loss = any(len(run.series(name)[0]) for name in ("train/loss", "val/loss"))
    recalls = _validation_names(run)
    if not has_loss and not recalls:
        raise NothingToPlotError("metrics.jsonl holds neither a loss nor a validation metric")
    count = int(has_loss) + bool(recalls)
    pairs = pairs_of(run)
    widths = [1.0, 1.7] if pairs and count == 2 else [1.0] * count
    panels = iter(step_panels(figure, count, widths=widths))
    if has_loss:
        axes = next(panels)
        axes.set_title("Loss, summed over the pairs" if pairs else "Loss")
        steps, values, others = complete_loss(run)
        if others:
            note(axes, "training: batches with every modality")
        raw_and_smooth(axes, steps, values, TRAINED, "training")
        steps, values = run.series("val/loss")
        if len(steps):
            axes.plot(steps, values, color=WORDS, marker="o", markersize=4.5, label="validation")
        if (reference := guessing_loss(run)) is not None:
            level(axes, reference[0], reference[1])
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9))
    if recalls:
        _draw_validation(run, next(panels), recalls)


def _validation_names(run: RunFolder) -> list[str]:
    """Return the R@1 series of all directions and their mean, and the primary metric if another."""
    primary = run.section("evaluation").get("primary_metric", "mean_r1")
    logged = {name.removeprefix("val/") for row in run.metrics for name in row if name.startswith("val/")}
    names = [*(f"val/{side}_r1" for side in measured_sides(logged)), "val/mean_r1"]
    # A median rank has another scale and direction; it is in the table and the CSV.
    if f"val/{primary}" not in names and higher_is_better(str(primary)):
        names.append(f"val/{primary}")
    return [name for name in names if len(run.series(name)[0])]


def _draw_validation(run: RunFolder, axes: Axes, names: list[str]) -> None:
    axes.set_title("Validation recall")
    highest, many = 0.0, len(names) > 4
    for name in names:
        steps, values = run.series(name)
        metric = name.removeprefix("val/")
        color = DIRECTION_COLORS.get(metric.split("_")[0], GOOD) if metric.endswith("_r1") else GOOD
        is_mean = metric.startswith("mean_")
        back = many and metric.split("_")[0] in BACK
        axes.plot(steps, values, color=color, marker="o", markersize=4, label=metric_label(metric),
                  linestyle=(0, (4, 1.5)) if back else "-",
                  linewidth=2.4 if is_mean else 1.6, alpha=1.0 if is_mean else 0.85)  # fmt: skip
        highest = max(highest, float(np.nanmax(values, initial=0.0)))
    steps, values = run.series(names[-1])
    if steps[0] == 0 and np.isfinite(values[0]):
        level(axes, values[0], f"untouched model: {values[0]:.3f}")
    best = mark_best(axes, steps, values, written=not many)
    axes.set_ylim(0, max(highest * 1.18, 0.01))
    if many:
        # Beside the curves there is no room for words that crosses none of them.
        axes.lines[len(names) - 1].set_label(f"{metric_label(names[-1].removeprefix('val/'))}\n{best}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.legend(loc="lower right")


def _weight(run: RunFolder, pair: str) -> float:
    weights = run.section("fusion" if pair == "fused" else "losses")
    if pair == "fused":
        return float(weights.get("weight", 1.0))
    pairs = weights.get("pairs")
    return float(pairs.get(pair, 1.0)) if isinstance(pairs, dict) else 1.0
