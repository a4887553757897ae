"""Means of what the loss reports, from one log line to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


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
        """The means since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state(self) -> dict[str, Any]:
        """As JSON-able data, exactly."""
        return {"sums": {name: float(total) for name, total in self._sums.items()}, "counts": self._counts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._sums = {name: torch.tensor(total) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])
