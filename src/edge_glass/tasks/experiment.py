"""What a run asks of a task beside training: `experiment/run.py` is the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from edge_glass.config import ExperimentConfig
from edge_glass.data.samples import SampleTable
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.results import SplitCount
from edge_glass.training.task import Task


class Cost(NamedTuple):
    """What training took: seconds, and rows seen, repeats counted."""

    seconds: float
    samples: int


class Experiment(Task, Protocol):
    """A task as a run sees it. Methods are called on every rank, unless they say otherwise."""

    model: Any

    @property
    def config(self) -> ExperimentConfig:
        """Return the experiment."""
        ...

    @property
    def splits(self) -> Mapping[str, SampleTable]:
        """Return the rows of train, val and test."""
        ...

    def measure(self, split: str) -> Any:
        """Return everything that the numbers of a split are made of, with the model as it is."""
        ...

    def untouched(self, folder: Path) -> Any:
        """Return `measure("test")` before training; a run that is resumed may find it in its folder."""
        ...

    def estimates(self, measured: Any, split: str = "test") -> dict[str, Estimate]:
        """Return metrics by name, each with its bootstrap draws."""
        ...

    def prepare(self) -> None:
        """Do what comes between measuring the untouched model and training."""
        ...

    def rebuild(self, state: Mapping[str, Tensor]) -> None:
        """Replace the model, which stays sharded, by a whole one with these trained tensors."""
        ...

    def finish(self, folder: Path, untouched: Any, cost: Cost) -> dict[str, Any]:
        """Measure the trained model, and write the artefact and what the report shows (rank 0 alone).

        Returns:
            The content of `results.json`.
        """
        ...

    def callbacks(self, folder: Path) -> list[Any]:
        """Return callbacks of its own for training."""
        ...

    def fingerprints(self) -> dict[str, Any]:
        """Return fingerprints of `weights` and, by split, of `data`."""
        ...


def split_counts(splits: Mapping[str, SampleTable]) -> dict[str, SplitCount]:
    """Count rows used and left out, by split."""
    counts = {}
    for name, table in splits.items():
        reasons: dict[str, int] = {}
        for rejected in table.rejected:
            reasons[rejected.reason] = reasons.get(rejected.reason, 0) + 1
        counts[name] = SplitCount(len(table), reasons)
    return counts
