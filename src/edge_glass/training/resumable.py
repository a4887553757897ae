"""`ResumableTrainer`: `transformers.Trainer` with checkpoints that are whole or absent, and exact resume."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from edge_glass.core import distributed
from edge_glass.core.errors import CheckpointError
from edge_glass.training import optimizer_state, sharding
from edge_glass.training.averages import Averages
from edge_glass.training.checkpoint import (
    checkpoint_path,
    drop_later_checkpoints,
    problems,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from edge_glass.training.task import Batch, Task

logger = logging.getLogger(__name__)

MODEL = "model.safetensors"
STATE = "trainer_state.json"
SCHEDULER = "scheduler.json"
SCALER = "scaler.json"
AVERAGES = "averages.json"
CANARY = "canary.safetensors"


class ResumableTrainer(Trainer):
    """How a run is saved and goes on: everything of the library's trainer that deals with checkpoints.

    A checkpoint holds what was trained, the optimizer's moments, the schedule, the sums of the log line that
    is being averaged, where callbacks stand, and the task's canary. Nothing random is stored: every step
    seeds itself from (seed, step).

    Attributes:
        task: What is trained.
        checkpoints: Their folder.
        keep_checkpoints: Newest ones kept, besides the best one.
    """

    model: Any
    optimizer: Any
    lr_scheduler: Any
    task: Task
    checkpoints: Path
    keep_checkpoints: int
    _averages: Averages
    _weigh: Callable[[Batch], int] | None

    def __init__(self, **options: Any) -> None:
        self._unlogged: dict[str, Any] | None = None
        self._finished = False
        super().__init__(**options)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Every rank helps to gather what is sharded, rank 0 writes, and all go on together."""
        self._remember_best()
        self._export_callback_states()
        weights = sharding.whole_state(self.model.trainable_state_dict())
        moments, optimizer_document = optimizer_state.flatten(self.optimizer.state_dict())
        moments = sharding.whole_state(moments)
        tensors = {MODEL: weights, optimizer_state.TENSORS: moments} | self._canary()
        unlogged = self._unlogged_averages()
        error = None
        if self.args.should_save:
            try:
                self._write_checkpoint(tensors, optimizer_document, unlogged)
            except CheckpointError as caught:
                error = caught
        distributed.barrier()
        if distributed.agree(error is not None):
            raise error or CheckpointError("rank 0 could not write the checkpoint; it says why")

    def _canary(self) -> dict[str, dict[str, torch.Tensor]]:
        """What the task stores to recognise the model by, if it does."""
        if not hasattr(self.task, "canary"):
            return {}
        with sharding.whole_parameters(self.model):
            return {CANARY: self.task.canary(self.model).tensors()}

    def _write_checkpoint(
        self,
        tensors: dict[str, dict[str, Any]],
        optimizer_document: dict[str, Any],
        unlogged: dict[str, Any],
    ) -> None:
        documents = {
            STATE: json.loads(json.dumps(self._state_document(), default=float)),
            SCHEDULER: self.lr_scheduler.state_dict(),
            optimizer_state.DOCUMENT: optimizer_document,
            AVERAGES: unlogged,
        }
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None:
            documents[SCALER] = scaler.state_dict()
        write_checkpoint(self.checkpoints, self.state.global_step, tensors, documents)
        best = self.state.best_model_checkpoint
        prune_checkpoints(self.checkpoints, self.keep_checkpoints, [Path(best)] if best else [])

    def _unlogged_averages(self) -> dict[str, Any]:
        last_logged = self._globalstep_last_logged
        state = self._averages.state()
        sums = self._of_all({"loss": float(self._tr_loss)} | state.pop("sums"))
        return {"loss": sums.pop("loss"), "last_logged": last_logged, "sums": sums} | state

    def _of_all(self, values: dict[str, float]) -> dict[str, float]:
        """The mean over the ranks; where nothing is weighed, they report the same."""
        if self._weigh is None or distributed.world_size() == 1:
            return values
        found = distributed.from_all(values)
        return {name: sum(one[name] for one in found) / len(found) for name in values}

    def _state_document(self) -> dict[str, Any]:
        document = dict(vars(self.state))
        document.update(log_history=[], total_flos=0, best_model_checkpoint=None)
        return document

    def _remember_best(self) -> None:
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(
                checkpoint_path(self.checkpoints, self.state.best_global_step)
            )

    def _export_callback_states(self) -> None:
        states: Any = self.state.stateful_callbacks
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ExportableState):
                states[type(callback).__name__] = callback.state()

    def _load_callback_state(self) -> None:
        """Where callbacks stood; their settings are those of this run (the library's swaps the objects)."""
        states: Any = self.state.stateful_callbacks
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ExportableState) and type(callback).__name__ in states:
                vars(callback).update(states[type(callback).__name__]["attributes"])

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        progress = super()._init_training_state(max_steps, *args, **kwargs)
        step = self.state.global_step
        self._finished = step >= max_steps or any(map(_is_out_of_patience, self.callback_handler.callbacks))
        if step > 0 and self.args.should_save:
            drop_later_checkpoints(self.checkpoints, step)
        distributed.barrier()
        self._forget_broken_best()
        self._remember_best()
        return progress

    def _forget_broken_best(self) -> None:
        """The best so far may have been damaged since; the run can still end without it."""
        best = checkpoint_path(self.checkpoints, self.state.best_global_step or 0)
        if self.state.best_global_step and (problem := problems(best)):
            logger.warning(
                "%s, the best so far, is skipped: %s; if no later step is better, the last one is kept",
                best,
                problem,
            )
            self.state.best_global_step = None

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self._finished:  # resumed from the last checkpoint of a run: the library would take one more step
            self.control.should_training_stop = True
            return
        if self._unlogged is not None:
            self._tr_loss += self._unlogged["loss"]
            self._globalstep_last_logged = self._unlogged["last_logged"]
            self._averages.load(self._unlogged)
            self._unlogged = None
        if self.state.global_step == 0 and getattr(self.task, "validates_untouched", False):
            self.evaluate()
        super()._run_epoch(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        tensors, _ = read_checkpoint(Path(resume_from_checkpoint))
        target: Any = self.model
        own = target.trainable_state_dict()
        target.load_trainable_state_dict(sharding.split_like(tensors[MODEL], own))
        if CANARY in tensors and hasattr(self.task, "check_canary"):
            with sharding.whole_parameters(self.model):
                self.task.check_canary(self.model, tensors[CANARY], resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        tensors, documents = read_checkpoint(Path(checkpoint))
        moments = self._split_moments(tensors[optimizer_state.TENSORS])
        optimizer_state.load(self.optimizer, moments, documents[optimizer_state.DOCUMENT])
        self.lr_scheduler.load_state_dict(documents[SCHEDULER])
        self._unlogged = documents[AVERAGES]
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and SCALER in documents:
            scaler.load_state_dict(documents[SCALER])

    def _split_moments(self, moments: dict[str, Any]) -> dict[str, Any]:
        """Each moment is sharded as its parameter is; `INDEX.KEY` counts through the optimizer's groups."""
        trained = [each for group in self.optimizer.param_groups for each in group["params"]]
        return {
            name: sharding.split(value, trained[int(name.split(".")[0])]) for name, value in moments.items()
        }

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Restored with the optimizer."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing to restore: `StepSeed` seeds every step from (seed, step)."""


def _is_out_of_patience(callback: TrainerCallback) -> bool:
    return (
        isinstance(callback, EarlyStoppingCallback)
        and callback.early_stopping_patience_counter >= callback.early_stopping_patience
    )
