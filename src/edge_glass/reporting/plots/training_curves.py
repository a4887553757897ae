"""Loss of a model that writes, and the share of tokens that are guessed right; training and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_glass.reporting.curves import raw_and_smooth, step_panels
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import TRAINED, WORDS, NothingToPlotError, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "Training"
READING = (
    "Left: how surprised the model is by the right answer; 0 is no surprise at all. When validation "
    "loss rises while training loss falls, the model is learning its rows by heart. Right: easier than "
    "answering, since the model is always told the right words so far, and much of an answer, such as the "
    "brackets and names around the digits of a box, is soon guessed."
)
SIZE = (11, 4.2)
ORDER = 10


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    panels = [
        ("loss", "Loss", "mean over the tokens of the answers"),
        ("token_accuracy", "Token accuracy", "next token guessed right, given the right ones before it"),
    ]
    shown = [
        panel
        for panel in panels
        if any(len(run.series(f"{side}/{panel[0]}")[0]) for side in ("train", "val"))
    ]
    if not shown:
        raise NothingToPlotError("metrics.jsonl holds neither a loss nor a token accuracy")
    for axes, (name, words, text) in zip(step_panels(figure, len(shown)), shown, strict=True):
        title(axes, words, text)
        raw_and_smooth(axes, *run.series(f"train/{name}"), TRAINED, "training")
        steps, values = run.series(f"val/{name}")
        if len(steps):
            axes.plot(steps, values, color=WORDS, marker="o", markersize=4.5, label="validation")
        axes.set_ylim(bottom=0)
        if name != "loss":
            axes.set_ylim(0, 1.04)
        if axes.lines:
            axes.legend(loc="best")
