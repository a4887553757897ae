"""Training runs of the contrastive toy task, on one rank and on several; and what may befall them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from towers import Contrast, Towers
from transformers import TrainerCallback

from edge_glass.config import ExperimentConfig
from edge_glass.core import distributed
from edge_glass.training import MultimodalTrainer, TrainingPlan, training_arguments
from edge_glass.training.callbacks import MetricsLog, StopOnSignal
from edge_glass.training.checkpoint import find_checkpoint
from edge_glass.training.sharding import whole_state


@dataclass
class Run:
    """One run. `signals` are sent by a rank to itself in the middle of a step: (rank, step, number)."""

    folder: Path
    batch_size: int
    rows: int = 17
    epochs: int = 4
    dropout: float = 0.0
    head: str = "mlp"
    accumulation: int = 1
    sharded: bool = False
    resume: bool = False
    signals: list[tuple[int, int, int]] = field(default_factory=list)


class SignalAt(TrainerCallback):
    """Sends this rank a real signal, before the weights change."""

    def __init__(self, signals: list[tuple[int, int, int]]) -> None:
        self.signals = signals

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """In the middle of the step."""
        for rank, step, number in self.signals:
            if rank == distributed.rank() and step == state.global_step + 1:
                os.kill(os.getpid(), number)


def execute(run: Run) -> dict[str, Any]:
    """Train and say what became of it: on every rank."""
    config = ExperimentConfig.model_validate(
        {
            "name": "x",
            "dataset": {"batch_size": run.batch_size},
            "optimization": {"lr": 0.02, "weight_decay": 0.1},
            "training": {
                "epochs": run.epochs,
                "device": "cpu",
                "logging_steps": 1,
                "eval_epochs": 0.67,
                "gradient_accumulation_steps": run.accumulation,
            },
        }
    )
    task, stop = Contrast(run.rows), StopOnSignal()
    plan = TrainingPlan.of(config, run.rows)
    checkpoints = run.folder / "checkpoints"
    args = training_arguments(config, plan, checkpoints, task.primary_metric, task.greater_is_better)
    run.folder.mkdir(parents=True, exist_ok=True)
    callbacks = [MetricsLog(run.folder / "metrics.jsonl"), stop, SignalAt(run.signals)]
    model = Towers(run.head, run.dropout, contrastive=0.5)
    trainer = MultimodalTrainer(task, model, args, 9, callbacks, sharded=run.sharded)
    resume = find_checkpoint(checkpoints) if run.resume else None
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return {
        "weights": whole_state(trainer.model.trainable_state_dict()),
        "step": trainer.state.global_step,
        "best": trainer.state.best_model_checkpoint,
        "received": stop.received,
        "sizes": task.sizes,
        "wrapped": type(trainer.wrapped).__name__,
    }


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints, in order."""
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
