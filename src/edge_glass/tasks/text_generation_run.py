"""What runs have in common whose model writes words: the untouched model's answers, which are kept."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import distributed
from edge_glass.core.errors import DataError
from edge_glass.evaluation.results import read_json, write_json
from edge_glass.tasks.experiment import Cost
from edge_glass.tasks.sources import training_device

UNTOUCHED = "evaluation/untouched.json"


class TextGenerationRun(ABC):
    """Beside a `TextGenerationTask`, the part of an `Experiment` that does not depend on what is written.

    Attributes:
        written: Dataclass of lists, what `measure` gives.
    """

    written: type
    config: ExperimentConfig
    model: Any

    @abstractmethod
    def measure(self, split: str) -> Any:
        """Answers to the measured rows of a split."""

    @abstractmethod
    def fresh_model(self) -> Any:
        """The model that training starts from."""

    @abstractmethod
    def measured_rows(self, split: str) -> list[int]:
        """Rows that are measured."""

    @abstractmethod
    def fingerprints(self) -> dict[str, Any]:
        """Of weights and data."""

    @abstractmethod
    def write_results(self, folder: Path, untouched: Any, trained: Any, cost: Cost) -> dict[str, Any]:
        """Results, archive and artefact; called on rank 0 alone."""

    def untouched(self, folder: Path) -> Any:
        """Answers before training. They are kept: an untouched language model may write for many minutes."""
        path, key = folder / UNTOUCHED, self._identity()
        kept = distributed.on_main(lambda: self._kept(path, key))
        if kept is None:
            kept = self.measure("test")
            document = {"of": key, **asdict(kept)}
            distributed.on_main(lambda: write_json(path, document))
        return kept

    def _kept(self, path: Path, key: str) -> Any:
        """What was kept for this key, if anything."""
        if not path.is_file():
            return None
        try:
            document = read_json(path)
            return self.written(**document) if document.pop("of") == key else None
        except (DataError, KeyError, TypeError):
            return None

    def _identity(self) -> str:
        """Changes with everything that the untouched model's answers depend on."""
        config = self.config.model_dump(exclude={"training", "optimization", "output_dir", "ablation"})
        measured = self.measured_rows("test")
        parts = config, self.config.training.precision, self.fingerprints(), measured
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def prepare(self) -> None:  # noqa: B027 - nothing is what most runs need
        """Nothing: training starts from the untouched model."""

    def rebuild(self, state: Mapping[str, Tensor]) -> None:
        """A whole model with these trained tensors."""
        model = self.fresh_model()
        model.load_trainable_state_dict(state)
        self.model = model.to(training_device(self.config)).eval()

    def finish(self, folder: Path, untouched: Any, cost: Cost) -> dict[str, Any]:
        """Final numbers, artefact and archive."""
        trained = self.measure("test")
        return distributed.on_main(lambda: self.write_results(folder, untouched, trained, cost))
