"""Training runs of answering toys whose rows are ragged, some without a picture; the gradients are kept."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

import edge_glass.instruction.data.sources as conversation_sources
from edge_glass.config import ExperimentConfig
from edge_glass.core import distributed
from edge_glass.instruction.data.sources import generated_conversations
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.run import InstructionExperiment
from edge_glass.training import MultimodalTrainer, TrainingPlan, training_arguments
from edge_glass.training.callbacks import MetricsLog

TRM: dict[str, Any] = {
    "kind": "trm",
    "vocabulary": 300,
    "size": {"width": 32, "heads": 2, "layers": 2},
    "recursion": {"halting": True},
}
LM: dict[str, Any] = {"kind": "causal_lm", "mode": "lora", "lora": {"rank": 4}}
DECODERS = {"trm": TRM, "plain": {**TRM, "kind": "plain"}, "lora": LM, "full": {**LM, "mode": "full"}}


@dataclass
class AnswerRun:
    """One run of `rows` training rows, of which the first `blank` have words only."""

    folder: Path
    batch_size: int
    accumulation: int = 1
    decoder: str = "trm"
    rows: int = 24
    blank: int = 0
    sounds: bool = False
    steps: int = 4
    weighted: bool = True
    logging_steps: int = 1
    resume: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Gradients(TrainerCallback):
    """Keeps what the optimizer is about to use, of every step."""

    def __init__(self) -> None:
        self.found: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As one mapping by name."""
        self.found.append(
            {
                name.removeprefix("module."): value.grad.detach().clone()
                for name, value in kwargs["model"].named_parameters()
                if value.grad is not None
            }
        )


def conversations(rows: int, blank: int, sounds: bool = False) -> dict[str, InstructionTable]:
    """The generated rows, fewer of them, some without a picture (and sound)."""
    tables = generated_conversations(sounds)
    table = tables["train"].select([number * 7 % 96 for number in range(rows)])
    gone = range(blank)
    pictures = [None if row in gone else one for row, one in enumerate(table.picture_hashes)]
    takes = [() if row in gone else one for row, one in enumerate(table.sound_hashes)]
    return tables | {"train": replace(table, picture_hashes=pictures, sound_hashes=takes)}


def config_of(run: AnswerRun) -> ExperimentConfig:
    """A toy experiment without clipping."""
    raw: dict[str, Any] = {
        "name": "x",
        "task": "instruction",
        "tiny": True,
        "dataset": {"batch_size": run.batch_size, "max_question_length": 256, "max_answer_length": 64},
        "vision_encoder": {"pooling_type": "grid", "grid_size": 2},
        "decoder": DECODERS[run.decoder],
        "generation": {"max_new_tokens": 4, "batch_size": 8},
        "optimization": {"lr": 0.01, "max_grad_norm": 0.0},
        "training": {
            "epochs": 9,
            "max_steps": run.steps,
            "device": "cpu",
            "eval_epochs": 9.0 if run.logging_steps == 1 else 0.6,
            "logging_steps": run.logging_steps,
            "gradient_accumulation_steps": run.accumulation,
        },
        "evaluation": {"validation_rows": 7, "test_rows": 7, "bootstrap_samples": 100},
    }
    if run.sounds:
        raw["audio_encoder"] = {"pooling_type": "mean"}
    return ExperimentConfig.model_validate(raw | run.options)


def task_of(run: AnswerRun) -> InstructionExperiment:
    """Its task, with the rows of the run instead of the generated ones."""
    real = conversation_sources.generated_conversations
    conversation_sources.generated_conversations = partial(conversations, run.rows, run.blank)
    try:
        return InstructionExperiment(config_of(run), progress=False)
    finally:
        conversation_sources.generated_conversations = real


def execute(run: AnswerRun, home: str | None = None) -> dict[str, Any]:
    """Train and say what became of it: on every rank."""
    if home is not None:
        os.environ["EDGE_GLASS_HOME"] = home
    task = task_of(run)
    shares: list[tuple[int, tuple[str, ...]]] = []
    collate = task.collate

    def watched(items: Any) -> Any:
        batch = collate(items)
        shares.append((len(batch["ids"]), tuple(sorted(batch["inputs"]))))
        return batch

    task.collate = watched  # type: ignore[method-assign]
    config = task.config
    plan = TrainingPlan.of(config, run.rows)
    arguments = training_arguments(config, plan, run.folder / "checkpoints", task.primary_metric, True)
    run.folder.mkdir(parents=True, exist_ok=True)
    gradients = Gradients()
    callbacks = [MetricsLog(run.folder / "metrics.jsonl"), gradients]
    trainer = MultimodalTrainer(task, task.model, arguments, 9, callbacks)
    if not run.weighted:
        trainer.weight = None
    trainer.train(resume_from_checkpoint=None if run.resume is None else str(run.resume))
    return {
        "rank": distributed.rank(),
        "gradients": gradients.found,
        "weights": {name: value.clone() for name, value in task.model.trainable_state_dict().items()},
        "shares": shares,
        "curves": curves(run.folder),
        "val": task.evaluate(task.model, "val"),
    }


def curves(folder: Path) -> dict[str, list[float]]:
    """What was logged of training, but for the clock."""
    lines = [line for line in lines_of(folder) if "train/loss" in line]
    names = [name for name in lines[0] if name.startswith("train/") and name != "train/epoch"]
    return {name: [line[name] for line in lines] for name in names}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Norm of the difference as a share of the first one's norm, over all tensors together."""
    assert one.keys() == other.keys()
    squares = sum(float((one[name].double() - other[name].double()).square().sum()) for name in one)
    whole = sum(float(value.double().square().sum()) for value in one.values())
    return (squares / whole) ** 0.5
