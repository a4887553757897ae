"""What a run asks of a task beside training: `tasks/run.py` is the same for all of them."""

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

    config: ExperimentConfig
    model: Any

    @property
    def splits(self) -> Mapping[str, SampleTable]:
        """The rows of train, val and test."""
        ...

    def measure(self, split: str) -> Any:
        """Everything that the numbers of a split are made of, with the model as it is."""
        ...

    def untouched(self, folder: Path) -> Any:
        """`measure("test")` before training; a run that is resumed may find it in its folder."""
        ...

    def estimates(self, measured: Any, split: str = "test") -> dict[str, Estimate]:
        """Numbers with their draws."""
        ...

    def prepare(self) -> None:
        """Whatever comes between measuring the untouched model and training."""
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
        """Side effects of its own during training."""
        ...

    def fingerprints(self) -> dict[str, Any]:
        """Of weights and data."""
        ...


def split_counts(splits: Mapping[str, SampleTable]) -> dict[str, SplitCount]:
    """Rows used and left out, by split."""
    counts = {}
    for name, table in splits.items():
        reasons: dict[str, int] = {}
        for rejected in table.rejected:
            reasons[rejected.reason] = reasons.get(rejected.reason, 0) + 1
        counts[name] = SplitCount(len(table), reasons)
    return counts
