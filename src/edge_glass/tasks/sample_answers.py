"""Sample answers of every validation, in a file and in the terminal."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edge_glass.core.files import write_whole
from edge_glass.training.callbacks import read_lines

logger = logging.getLogger(__name__)

SAID = 3  # answers a validation says in the terminal


class Sampled(Protocol):
    """A task that keeps some answers of its last validation.

    Attributes:
        samples: Each with id, reference, answer, ended, and where there is one a question.
    """

    samples: list[dict[str, Any]]


class SampleAnswers(TrainerCallback):
    """Writes some answers of each validation to `samples.jsonl`, and says a few of them."""

    def __init__(self, task: Sampled, path: Path) -> None:
        self.task, self.path = task, path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Validations that are about to be taken again are forgotten, as in `MetricsLog`."""
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
        for sample in self.task.samples[:SAID]:
            right = sample["answer"] == sample["reference"]
            said = "" if right else f" (right: {sample['reference']})"
            asked = sample.get("question", sample["id"])
            logger.info("step %d: %s → %s%s", state.global_step, asked, sample["answer"], said)
