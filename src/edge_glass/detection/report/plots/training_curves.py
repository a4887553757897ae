"""Loss and token accuracy, as of all models that write; what to look for differs with boxes."""

from __future__ import annotations

from edge_glass.reporting.plots.training_curves import HEADING, ORDER, SIZE, draw

__all__ = ["HEADING", "ORDER", "READING", "SIZE", "draw"]

READING = (
    "Left: how surprised the model is by the right answer; 0 is no surprise at all. When validation loss "
    "rises while training loss falls, the model is learning its rows by heart. Right: most tokens of an "
    "answer are brackets and names, which are soon guessed; the digits are what is hard."
)
