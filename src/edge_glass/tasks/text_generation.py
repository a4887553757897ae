"""What tasks have in common whose model writes words: their loss, their canary, what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from edge_glass.core import canary, distributed
from edge_glass.core.canary import Canary
from edge_glass.core.labels import NOT_TRAINED
from edge_glass.core.passes import evaluating, moved, parts, spread
from edge_glass.core.progress import progress_bar
from edge_glass.tasks.sources import training_device
from edge_glass.training.arguments import resolve_precision
from edge_glass.training.task import Batch, Report

if TYPE_CHECKING:
    from edge_glass.config.detection import DetectionConfig
    from edge_glass.config.instruction import InstructionConfig

SPLITS = ("train", "val", "test")
SHOWN_SAMPLES = 8


class TextGenerationTask(ABC):
    """Base of tasks whose model is taught by labels and measured by what it writes.

    Args:
        config: The experiment.
        progress: Show progress bars.
        model: A finished model to measure; by default a fresh one is built.
        tables: Its train, val and test; by default they are read.

    Attributes:
        written: Dataclass of lists: what a model wrote for some rows, among it the `rows` themselves.
        doing: What a progress bar says while it writes, such as "answering {split} questions".
        tables: Of train, val and test, all rows.
        model: Gives a `DecoderOutput` for a batch.
        samples: Some answers of the last validation, as plain data.

    Raises:
        EdgeGlassError: Data, weights or configuration are wrong; nothing has been trained then.
    """

    greater_is_better = True
    validates_untouched = True  # the curves of the answers begin at step 0

    config: InstructionConfig | DetectionConfig
    written: ClassVar[type]
    doing: ClassVar[str]
    _canary_sample: dict[str, Tensor]
    _untouched: Tensor

    def __init__(
        self,
        config: InstructionConfig | DetectionConfig,
        progress: bool = True,
        model: Any = None,
        tables: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.progress = config, progress
        self.primary_metric = config.evaluation.primary_metric
        self.tables = tables or self.read_tables()
        self.model: Any = (model or self.fresh_model()).to(training_device(config))
        self.samples: list[dict[str, Any]] = []
        self.set_up(fresh=model is None)
        self.keep_canary(self.batch("test", [self.canary_row()]))

    @abstractmethod
    def read_tables(self) -> Mapping[str, Any]:
        """Return train, val and test of the experiment."""

    @abstractmethod
    def fresh_model(self) -> Any:
        """Return the model that training starts from."""

    @abstractmethod
    def set_up(self, fresh: bool) -> None:
        """Make what stands between tables and model: data sets, collator, settings.

        Args:
            fresh: The model is about to be trained; a finished one is left as it is.
        """

    @property
    @abstractmethod
    def splits(self) -> Mapping[str, Any]:
        """Return the rows of train, val and test that can be used."""

    @abstractmethod
    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Return rows of a split with their labels, as for training, but not augmented."""

    @abstractmethod
    def write(self, model: Any, split: str, rows: Sequence[int]) -> Any:
        """Return what the model writes for these rows, one batch of them, as a `written`."""

    @abstractmethod
    def metric_values(self, split: str, written: Any) -> dict[str, float]:
        """Return the metrics of what was written, without intervals."""

    @abstractmethod
    def sample(self, split: str, written: Any, place: int) -> dict[str, Any]:
        """Return one answer as plain data: id, reference, answer, ended; a question where there is one."""

    def canary_row(self) -> int:
        """Return the test row whose logits are stored beside the weights."""
        return 0

    def weight(self, batch: Batch) -> int:
        """Return the supervised tokens: what a batch counts among those of one step."""
        return int((batch["labels"] != NOT_TRAINED).sum())

    def loss(self, model: nn.Module, batch: Batch, *, step: int, diagnostics: bool) -> tuple[Tensor, Report]:
        """Return the mean cross entropy over the supervised tokens of a batch."""
        output = model(batch)
        count = output.count.clamp(min=1)
        report = {name: value / count for name, value in output.report.items()}
        report["token_accuracy"] = report.pop("correct")
        return output.loss_sum / count, report

    # Measuring

    def evaluate(self, model: Any, split: str) -> dict[str, float]:
        """Return loss and token accuracy, and the metrics of what the model writes."""
        rows = self.measured_rows(split)
        written = self.answer(model, split, rows)
        self.samples = [
            self.sample(split, written, place) for place in spread(len(written.rows), SHOWN_SAMPLES)
        ]
        return self.validation_loss(model, split, rows) | self.metric_values(split, written)

    def measured_rows(self, split: str) -> list[int]:
        """Return the rows that are measured, evenly spread over a split."""
        evaluation, total = self.config.evaluation, len(self.splits[split])
        most = evaluation.validation_rows if split == "val" else evaluation.test_rows
        return spread(total, total if most is None else most)

    def answer(
        self,
        model: Any,
        split: str,
        rows: Sequence[int],
        progress: bool = False,
        limit: Callable[[Iterable[Sequence[int]]], Iterable[Sequence[int]]] = iter,
    ) -> Any:
        """Write answers to these rows; each rank writes its share, and all get all of them.

        Args:
            model: Of this task.
            split: Of the rows.
            rows: To be answered, in any order.
            progress: Show a progress bar.
            limit: Passes on those of the rank's batches that are answered; all ranks have to agree.

        Returns:
            A `written`.
        """
        own = distributed.own_share(rows)
        found = []
        with (
            self.precision(),
            progress_bar(self.doing.format(split=split), len(own), progress) as advance,
        ):
            for part in limit(parts(own, self.config.generation.batch_size)):
                found.append(self.write(model, split, part))
                advance(len(part))
        gathered = list(chain(*distributed.from_all(found)))
        names = [field.name for field in fields(self.written)]
        return self.written(
            **{name: list(chain(*(getattr(one, name) for one in gathered))) for name in names}
        )

    @torch.no_grad()
    def validation_loss(self, model: nn.Module, split: str, rows: Sequence[int]) -> dict[str, float]:
        """Return means over all supervised tokens of these rows; each rank measures its share."""
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
        """Compute in the precision of training."""
        return autocast(self.config, self.model.device)

    # The canary

    def keep_canary(self, batch: Batch) -> None:
        """Remember what the untouched model makes of a batch of one row."""
        self._canary_sample = canary.canary_sample(batch)
        self._untouched = canary.compute_logits(self.model, self._canary_sample)

    def canary(self, model: Any) -> Canary:
        """Return a stored sample with the logits that this model gives it, and those of the untouched one."""
        return Canary(self._canary_sample, canary.compute_logits(model, self._canary_sample), self._untouched)

    def check_canary(self, model: Any, tensors: Mapping[str, Tensor], what: str) -> None:
        """Refuse weights that do not answer as they did when they were stored.

        Raises:
            CheckpointError: See `canary.check`.
        """
        stored = Canary.of(tensors)
        canary.check(model, stored.sample, stored.trained, stored.untouched, what)


@contextmanager
def autocast(config: InstructionConfig | DetectionConfig, device: torch.device) -> Iterator[None]:
    """Compute in the precision of training."""
    training = config.training
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = kinds.get(resolve_precision(training.precision, training.device))
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield
