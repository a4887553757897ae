"""The seam between the trainer and what is trained: everything that differs between tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

Batch = dict[str, Any]
Report = dict[str, Tensor]


class Task(Protocol):
    """What the trainer asks of a task. Adding a task touches no file of the trainer.

    A task may have more:

    - `row_kinds`, an int array `[N]`: rows of different kinds never share a batch;
    - `validates_untouched = True`: the validation split is measured before the first step too;
    - `weight(batch) -> int`: what a batch counts, such as its supervised tokens. The loss of a step is then
      the weighted mean over the accumulated batches of all ranks; without it, the plain one;
    - `canary(model)` and `check_canary(model, tensors, what)`: outputs that are stored in every checkpoint,
      and compared with those of the model that was loaded from it.
    """

    primary_metric: str
    greater_is_better: bool

    @property
    def train_dataset(self) -> Dataset:
        """Map-style; its items are fetched by `(epoch, index)` keys from `EpochBatchSampler`."""
        ...

    def collate(self, items: Sequence[Any]) -> Batch:
        """Make a batch of items, perhaps of none. `batch["ids"]` names the samples in messages."""
        ...

    def loss(self, model: Any, batch: Batch, *, step: int, diagnostics: bool) -> tuple[Tensor, Report]:
        """Compute the scalar loss and its parts (detached, averaged into the log), the same on every rank.

        `model` may be wrapped for several processes: call it, do not call its parts.
        """
        ...

    def evaluate(self, model: Any, split: str) -> dict[str, float]:
        """Measure one split: metrics without a prefix, the primary one among them. Called on every rank."""
        ...
