"""What tasks have in common whose model writes words: their loss, their canary, what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import canary, distributed
from edge_glass.core.canary import Canary
from edge_glass.core.labels import NOT_TRAINED
from edge_glass.core.passes import evaluating, moved, parts
from edge_glass.tasks.measuring import arithmetic, measured_rows
from edge_glass.training.task import Batch, Report

SHOWN_SAMPLES = 8


class TextGenerationTask(ABC):
    """Base of tasks whose model is taught by labels and measured by what it writes.

    Attributes:
        config: The experiment.
        model: Gives a `DecoderOutput` for a batch.
        samples: Some answers of the last validation, as plain data.
    """

    greater_is_better = True
    validates_untouched = True  # the curves of the answers begin at step 0

    config: ExperimentConfig
    model: Any
    samples: list[dict[str, Any]]
    _canary_sample: dict[str, Tensor]
    _untouched: Tensor

    @property
    @abstractmethod
    def splits(self) -> Mapping[str, Any]:
        """The rows of train, val and test."""

    @abstractmethod
    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Rows of a split with their labels, as for training, but not augmented."""

    def weight(self, batch: Batch) -> int:
        """Supervised tokens: what a batch counts among those of one step."""
        return int((batch["labels"] != NOT_TRAINED).sum())

    def loss(self, model: nn.Module, batch: Batch, *, step: int, diagnostics: bool) -> tuple[Tensor, Report]:
        """Mean cross entropy over the supervised tokens of a batch."""
        output = model(batch)
        count = output.count.clamp(min=1)
        report = {name: value / count for name, value in output.report.items()}
        report["token_accuracy"] = report.pop("correct")
        return output.loss_sum / count, report

    def measured_rows(self, split: str) -> list[int]:
        """Rows that are measured, evenly spread over a split."""
        return measured_rows(self.config, split, len(self.splits[split]))

    @torch.no_grad()
    def validation_loss(self, model: nn.Module, split: str, rows: Sequence[int]) -> dict[str, float]:
        """Mean over all supervised tokens of these rows; each rank measures its share."""
        loss, correct, count = 0.0, 0.0, 0
        with evaluating(model), self.precision():
            for part in parts(distributed.own_share(rows), self.config.generation.batch_size):
                output = model(moved(self.batch(split, part), self.model.device))
                loss, count = loss + float(output.loss_sum), count + int(output.count)
                correct += float(output.report["correct"])
        sums = np.sum(distributed.from_all((loss, correct, float(count))), axis=0)
        total = max(sums[2], 1.0)
        return {"loss": sums[0] / total, "token_accuracy": sums[1] / total}

    def precision(self) -> AbstractContextManager[None]:
        """The arithmetic of training."""
        return arithmetic(self.config, self.model.device)

    # The canary

    def keep_canary(self, batch: Batch) -> None:
        """Remember what the untouched model makes of a batch of one row."""
        self._canary_sample = canary.canary_sample(batch)
        self._untouched = canary.compute_logits(self.model, self._canary_sample)

    def canary(self, model: Any) -> Canary:
        """A stored sample with the logits that this model gives it, and those of the untouched one."""
        return Canary(self._canary_sample, canary.compute_logits(model, self._canary_sample), self._untouched)

    def check_canary(self, model: Any, tensors: Mapping[str, Tensor], what: str) -> None:
        """Refuse weights that do not answer as they did when they were stored.

        Raises:
            CheckpointError: See `canary.check`.
        """
        stored = Canary.of(tensors)
        canary.check(model, stored.sample, stored.trained, stored.untouched, what)


def evenly_spread(rows: Sized) -> list[int]:
    """Places of a few of these rows, evenly spread."""
    count = len(rows)
    return sorted({count * number // SHOWN_SAMPLES for number in range(SHOWN_SAMPLES)}) if count else []
