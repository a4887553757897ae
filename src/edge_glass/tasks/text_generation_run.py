"""What runs have in common whose model writes words: answers before and after training, and what is kept."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edge_glass.core import distributed
from edge_glass.core.errors import DataError
from edge_glass.core.files import write_whole
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.results import assemble_results, read_json, write_json
from edge_glass.tasks.experiment import Cost, split_counts
from edge_glass.tasks.sources import training_device
from edge_glass.tasks.text_generation import TextGenerationTask
from edge_glass.training.callbacks import read_lines

logger = logging.getLogger(__name__)

UNTOUCHED = "evaluation/untouched.json"
LOGGED = 3  # answers of a validation in the log


class TextGenerationRun(TextGenerationTask):
    """A `TextGenerationTask` as a run sees it: an `Experiment`, but for what depends on what is written.

    Attributes:
        guess: What stands in results.json for guessing without looking, such as `average_box`.
        guess_metrics: The metrics of the guess that are kept there beside the primary one, with their parts
            (`exact_match/type/…`).
    """

    guess: ClassVar[str]
    guess_metrics: ClassVar[tuple[str, ...]]

    @abstractmethod
    def estimates(
        self, measured: Any, split: str = "test", metrics: Sequence[str] | None = None
    ) -> dict[str, Estimate]:
        """Return metrics by name, each with its bootstrap draws; all of them by default."""

    @abstractmethod
    def fingerprints(self) -> dict[str, Any]:
        """Return fingerprints of weights and data."""

    @abstractmethod
    def guesses(self, rows: Sequence[int]) -> Any:
        """Return what somebody would write for test rows who knows the training rows and sees nothing."""

    @abstractmethod
    def save_archive(self, folder: Path, trained: Any, untouched: Any) -> None:
        """Write the answers that the report shows."""

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write the finished model."""

    def callbacks(self, folder: Path) -> list[Any]:
        """Return what writes sample answers of every validation."""
        return [SampleAnswers(self, folder / "samples.jsonl")]

    def measure(self, split: str) -> Any:
        """Return answers to the measured rows of a split."""
        return self.answer(self.model, split, self.measured_rows(split), self.progress)

    def untouched(self, folder: Path) -> Any:
        """Return answers before training. They are kept: an untouched model may write for many minutes."""
        path, key = folder / UNTOUCHED, self._identity()
        kept = distributed.on_main(lambda: self._kept(path, key))
        if kept is None:
            kept = self.measure("test")
            document = {"of": key, **asdict(kept)}
            distributed.on_main(lambda: write_json(path, document))
        return kept

    def _kept(self, path: Path, key: str) -> Any:
        """Return what was kept for this key, if anything."""
        if not path.is_file():
            return None
        try:
            document = read_json(path)
            return self.written(**document) if document.pop("of") == key else None
        except (DataError, KeyError, TypeError):
            return None

    def _identity(self) -> str:
        """Return a text that changes with everything that the untouched model's answers depend on."""
        config = self.config.model_dump(exclude={"training", "optimization", "output_dir", "ablation"})
        measured = self.measured_rows("test")
        parts = config, self.config.training.precision, self.fingerprints(), measured
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def prepare(self) -> None:
        """Do nothing: training starts from the untouched model."""

    def rebuild(self, state: Mapping[str, Tensor]) -> None:
        """Replace the model by a whole one with these trained tensors."""
        model = self.fresh_model()
        model.load_trainable_state_dict(state)
        self.model = model.to(training_device(self.config)).eval()

    def finish(self, folder: Path, untouched: Any, cost: Cost) -> dict[str, Any]:
        """Measure the trained model, and write the model and what the report shows."""
        trained = self.measure("test")
        return distributed.on_main(lambda: self._write_results(folder, untouched, trained, cost))

    def _write_results(self, folder: Path, untouched: Any, trained: Any, cost: Cost) -> dict[str, Any]:
        names = tuple(dict.fromkeys((*self.guess_metrics, self.primary_metric.partition("/")[0])))
        guessed = self.estimates(self.guesses(trained.rows), metrics=names)
        kept = {name: one for name, one in guessed.items() if name.partition("/")[0] in names}
        results = assemble_results(
            split="test",
            metric=self.primary_metric,
            trained=self.estimates(trained),
            baseline=self.estimates(untouched),
            seconds=cost.seconds,
            samples=cost.samples,
            data=split_counts(self.splits),
            rivals={self.guess: kept},
        )
        results[self.guess] = {"metrics": results["rivals"][self.guess]}
        results["task"] = self.config.task
        self.save_archive(folder, trained, untouched)
        self.save_model(folder / "model")
        return results


class SampleAnswers(TrainerCallback):
    """Writes some answers of each validation to `samples.jsonl`, and logs a few of them."""

    def __init__(self, task: TextGenerationTask, path: Path) -> None:
        self.task, self.path = task, path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forget validations that are about to be taken again, as in `MetricsLog`."""
        if not state.is_world_process_zero or not self.path.exists():
            return
        kept = [line for line in read_lines(self.path) if 0 < state.global_step >= line["step"]]
        write_whole(self.path, "".join(f"{json.dumps(line)}\n" for line in kept))

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        line = {"step": state.global_step, "samples": self.task.samples}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        for sample in self.task.samples[:LOGGED]:
            right = sample["answer"] == sample["reference"]
            said = "" if right else f" (right: {sample['reference']})"
            asked = sample.get("question", sample["id"])
            logger.info("step %d: %s → %s%s", state.global_step, asked, sample["answer"], said)
