"""What goes into a log line: means since the last one, and what callbacks add to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerState


class Averages:
    """Sums of float32 scalars and how often each was added. A checkpoint may fall between two log lines."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one report of detached scalars."""
        for name, value in values.items():
            total = self._sums.get(name, torch.zeros((), device=value.device))
            self._sums[name] = total + value.detach().float()
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means since the last call, and begin anew."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state(self) -> dict[str, Any]:
        """Return sums and counts as JSON-able data, exactly."""
        return {"sums": {name: float(total) for name, total in self._sums.items()}, "counts": self._counts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._sums = {name: torch.tensor(total) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])


def is_training_line(logs: Mapping[str, float]) -> bool:
    """Say whether a line is about training steps: of `MultimodalTrainer`, or of the library's trainers."""
    return "train/loss" in logs or "loss" in logs


def extend_line(state: TrainerState, logs: dict[str, float], values: Mapping[str, float]) -> None:
    """Add values to a line: for the callbacks that come later, and in the history where there is one."""
    logs.update(values)
    history = state.log_history
    if history and history[-1].get("step") == state.global_step and is_training_line(history[-1]):
        history[-1].update(values)
