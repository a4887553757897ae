"""The smallest real task: a noisy line to fit. Used by the tests of the trainer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, TrainerCallback

from edge_glass.config import ExperimentConfig
from edge_glass.core.errors import CheckpointError
from edge_glass.training import MultimodalTrainer, TrainingPlan, training_arguments
from edge_glass.training.callbacks import MetricsLog, StopOnSignal
from edge_glass.training.task import Batch, Report

WIDTH = 6


class Rows(Dataset):
    """Row `index` is drawn from (epoch, index), as augmented pictures are. Rows in `bad` are NaN."""

    def __init__(self, length: int, bad: Sequence[int] = ()) -> None:
        self.length, self.bad = length, bad

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        x = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1000 * epoch + index)).double()
        y = x.sum() + index / 10
        return {"id": f"row{index}", "x": x * float("nan") if index in self.bad else x, "y": y}


class Network(nn.Module):
    """A matrix, a norm, dropout and a scalar."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Linear(WIDTH, 8), nn.LayerNorm(8), nn.Dropout(dropout), nn.Linear(8, 1)
            )
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        """`[B, WIDTH]` → `[B]`."""
        return self.scale * self.body(x).squeeze(-1)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """All of it."""
        return self.state_dict()

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Strictly."""
        if state.keys() != self.state_dict().keys():
            raise CheckpointError("weights do not fit the model")
        self.load_state_dict(dict(state))


class Regression:
    """See `edge_glass.training.Task`. Its metric is a function of the weights that jumps about."""

    primary_metric = "score"
    greater_is_better = True

    def __init__(self, rows: int = 32, bad: Sequence[int] = (), explode: Sequence[int] = ()) -> None:
        self._rows = Rows(rows, bad)
        self.explode = {f"row{index}" for index in explode}
        self.seen: list[list[str]] = []

    @property
    def train_dataset(self) -> Dataset:
        """32 rows."""
        return self._rows

    def collate(self, items: Sequence[Any]) -> Batch:
        """Stack."""
        return {
            "ids": [item["id"] for item in items],
            "x": torch.stack([item["x"] for item in items]),
            "y": torch.stack([item["y"] for item in items]),
        }

    def loss(self, model: Network, batch: Batch, *, step: int, diagnostics: bool) -> tuple[Tensor, Report]:
        """Mean squared error. Rows in `explode` add a zero whose gradient is not finite."""
        self.seen.append(batch["ids"])
        loss = (model(batch["x"]) - batch["y"]).square().mean()
        if self.explode & set(batch["ids"]):
            loss = loss + (model.scale * 0).sqrt()
        return loss, {"mse": loss.detach()}

    def evaluate(self, model: Network, split: str) -> dict[str, float]:
        """`score` in [-1, 1]: equal for equal weights only."""
        total = sum(float(value.double().sum()) for value in model.state_dict().values())
        return {"score": float(torch.sin(torch.tensor(1000.0 * total, dtype=torch.float64)))}


class SignalAt(TrainerCallback):
    """Sends this process a real signal in the middle of a step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the weights change."""
        if state.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)


def build(
    folder: Path, task: Regression, *callbacks: TrainerCallback, dropout: float = 0.0, **sections: Any
) -> MultimodalTrainer:
    """A trainer over a fresh network, as `experiment.run` builds it."""
    own = {
        name: sections.pop(name)
        for name in ("optimizer", "compile", "trackers", "settings")
        if name in sections
    }
    training = {"epochs": 3, "device": "cpu"} | sections.pop("training", {})
    sections = {"dataset": {"batch_size": 8}, "optimization": {"lr": 0.05}} | sections
    config = ExperimentConfig.model_validate({"name": "x", "training": training, **sections})
    plan = TrainingPlan.of(config, len(task.train_dataset))  # type: ignore[arg-type]
    args = training_arguments(
        config, plan, folder / "checkpoints", task.primary_metric, task.greater_is_better
    )
    log = MetricsLog(folder / "metrics.jsonl")
    patience = config.training.early_stopping_patience
    early = [EarlyStoppingCallback(patience)] if patience else []
    model = Network(dropout)
    watching = [log, *early, *callbacks]
    return MultimodalTrainer(task, model, args, config.training.keep_checkpoints, watching, **own)


def run(
    folder: Path,
    task: Regression | None = None,
    *,
    signal_at: int | None = None,
    resume: Path | None = None,
    **options: Any,
) -> MultimodalTrainer:
    """Train, until SIGTERM arrives in the middle of step `signal_at` if that is given."""
    folder.mkdir(exist_ok=True)
    stop = StopOnSignal()
    callbacks = [stop, *([SignalAt(signal_at)] if signal_at else [])]
    trainer = build(folder, task or Regression(), *callbacks, **options)
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    assert (stop.received is not None) == (signal_at is not None)
    return trainer


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Bit-equal."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
