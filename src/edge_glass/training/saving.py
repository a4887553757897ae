"""What a checkpoint of a run holds, and how a run goes on from it.

It holds what was trained, the optimizer's moments, the schedule, the sums of the log line that is being
averaged, where callbacks stand, and the task's canary: tensors as safetensors, everything else as JSON.
Nothing random is stored: every step seeds itself from (seed, step).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState

from edge_glass.core import distributed
from edge_glass.core.errors import CheckpointError
from edge_glass.training import sharding
from edge_glass.training.checkpoint import (
    checkpoint_path,
    drop_later_checkpoints,
    problems,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from edge_glass.training.log_lines import Averages

logger = logging.getLogger(__name__)

MODEL = "model.safetensors"
CANARY = "canary.safetensors"
MOMENTS = "optimizer.safetensors"
OPTIMIZER = "optimizer.json"
SCHEDULER = "scheduler.json"
SCALER = "scaler.json"
AVERAGES = "averages.json"
STATE = "trainer_state.json"


class Run(Protocol):
    """What of a run is saved, and how many checkpoints of it: see `MultimodalTrainer`."""

    task: Any
    model: Any
    trained: list[nn.Parameter]
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any
    state: TrainerState
    control: TrainerControl
    callbacks: list[TrainerCallback]
    averages: Averages
    loss_sum: Tensor
    last_logged: int
    checkpoints: Path
    keep_checkpoints: int

    def mean_over_ranks(self, values: dict[str, float]) -> dict[str, float]:
        """Average what ranks report."""
        ...


def save(trainer: Run) -> None:
    """Write a checkpoint: every rank helps to gather what is sharded, rank 0 writes, all go on together.

    Raises:
        CheckpointError: On every rank, where rank 0 cannot write.
    """
    moments, optimizer_document = flatten_optimizer(trainer.optimizer.state_dict())
    tensors = {
        MODEL: sharding.whole_state(trainer.model.trainable_state_dict()),
        MOMENTS: sharding.whole_state(moments),
    }
    if hasattr(trainer.task, "canary"):
        with sharding.whole_parameters(trainer.model):
            tensors[CANARY] = trainer.task.canary(trainer.model).tensors()
    averages = trainer.averages.state()
    sums = trainer.mean_over_ranks({"loss": float(trainer.loss_sum)} | averages.pop("sums"))
    documents = {
        STATE: _state_document(trainer),
        SCHEDULER: trainer.lr_scheduler.state_dict(),
        OPTIMIZER: optimizer_document,
        AVERAGES: {"loss": sums.pop("loss"), "last_logged": trainer.last_logged, "sums": sums} | averages,
    }
    if trainer.accelerator.scaler is not None:
        documents[SCALER] = trainer.accelerator.scaler.state_dict()
    _point_to_best(trainer)
    error = None
    if distributed.is_main():
        try:
            write_checkpoint(trainer.checkpoints, trainer.state.global_step, tensors, documents)
            best = trainer.state.best_model_checkpoint
            prune_checkpoints(trainer.checkpoints, trainer.keep_checkpoints, [Path(best)] if best else [])
        except CheckpointError as caught:
            error = caught
    distributed.barrier()
    if distributed.agree(error is not None):
        raise error or CheckpointError("rank 0 could not write the checkpoint; it says why")


def resume(trainer: Run, folder: Path) -> None:
    """Go on from a checkpoint: weights, optimizer, schedule, step, half a log line, callbacks.

    Checkpoints of later steps are deleted: the run that goes on writes its own. A run that was over, by its
    steps or by early stopping, takes no further step.

    Raises:
        CheckpointError: The checkpoint is broken or of another model.
    """
    tensors, documents = read_checkpoint(folder)
    _load_weights(trainer, tensors, folder)
    moments = {
        name: sharding.split(value, trainer.trained[int(name.split(".")[0])])
        for name, value in tensors[MOMENTS].items()
    }
    asked_for = [
        {name: value for name, value in group.items() if name != "params"}
        for group in trainer.optimizer.param_groups
    ]
    trainer.optimizer.load_state_dict(unflatten_optimizer(moments, documents[OPTIMIZER]))
    trainer.lr_scheduler.load_state_dict(documents[SCHEDULER])
    _use_settings_of_this_run(trainer, asked_for)
    if trainer.accelerator.scaler is not None and SCALER in documents:
        trainer.accelerator.scaler.load_state_dict(documents[SCALER])
    state, saved = trainer.state, documents[STATE]
    state.global_step, state.epoch = saved["global_step"], saved["epoch"]
    state.best_metric, state.best_global_step = saved["best_metric"], saved["best_global_step"]
    trainer.loss_sum += documents[AVERAGES]["loss"]
    trainer.last_logged = documents[AVERAGES]["last_logged"]
    trainer.averages.load(documents[AVERAGES])
    for callback in trainer.callbacks:
        if isinstance(callback, ExportableState) and type(callback).__name__ in saved["stateful_callbacks"]:
            # Where it stood; its settings are those of this run.
            vars(callback).update(saved["stateful_callbacks"][type(callback).__name__]["attributes"])
    trainer.control.should_training_stop = any(map(_is_out_of_patience, trainer.callbacks))
    if distributed.is_main():
        drop_later_checkpoints(trainer.checkpoints, state.global_step)
    distributed.barrier()
    _forget_broken_best(trainer)
    _point_to_best(trainer)


def _use_settings_of_this_run(trainer: Run, asked_for: list[dict[str, Any]]) -> None:
    """Train with this run's learning rate, weight decay and betas: loading a state brings back the old ones.

    Args:
        trainer: Its optimizer and schedule were just loaded.
        asked_for: The options of each group of parameters as this run made them.
    """
    schedule = trainer.lr_scheduler
    schedule.base_lrs = [options["initial_lr"] for options in asked_for]
    for group, options, share_at in zip(
        trainer.optimizer.param_groups, asked_for, schedule.lr_lambdas, strict=True
    ):
        group.update(options)
        group["lr"] = options["initial_lr"] * share_at(schedule.last_epoch)


def load_weights(trainer: Run, folder: Path) -> None:
    """Load only what was trained.

    Raises:
        CheckpointError: The checkpoint is broken or of another model.
    """
    _load_weights(trainer, read_checkpoint(folder)[0], folder)


def _load_weights(trainer: Run, tensors: dict[str, dict[str, Tensor]], folder: Path) -> None:
    model = trainer.model
    model.load_trainable_state_dict(sharding.split_like(tensors[MODEL], model.trainable_state_dict()))
    if CANARY in tensors and hasattr(trainer.task, "check_canary"):
        with sharding.whole_parameters(model):
            trainer.task.check_canary(model, tensors[CANARY], str(folder))


def _state_document(trainer: Run) -> dict[str, Any]:
    document = vars(trainer.state) | {
        "best_model_checkpoint": None,  # a path that is another one when the folder is moved
        "stateful_callbacks": {
            type(each).__name__: each.state()
            for each in trainer.callbacks
            if isinstance(each, ExportableState)
        },
    }
    whole: dict[str, Any] = json.loads(json.dumps(document, default=float))
    return whole


def _point_to_best(trainer: Run) -> None:
    state = trainer.state
    if state.best_global_step:
        state.best_model_checkpoint = str(checkpoint_path(trainer.checkpoints, state.best_global_step))


def _forget_broken_best(trainer: Run) -> None:
    """Forget the best so far if it was damaged since; the run can still end without it."""
    state = trainer.state
    best = checkpoint_path(trainer.checkpoints, state.best_global_step or 0)
    if state.best_global_step and (problem := problems(best)):
        logger.warning(
            "%s, the best so far, is skipped: %s; if no later step is better, the last one is kept",
            best,
            problem,
        )
        state.best_global_step = None


def _is_out_of_patience(callback: TrainerCallback) -> bool:
    return (
        isinstance(callback, EarlyStoppingCallback)
        and callback.early_stopping_patience_counter >= callback.early_stopping_patience
    )


# The state of an optimizer


def flatten_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split `optimizer.state_dict()` into tensors named `INDEX.KEY` and a JSON-able rest."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in _unfolded(entries).items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    return tensors, {"scalars": scalars, "param_groups": state["param_groups"]}


def unflatten_optimizer(tensors: dict[str, Tensor], document: dict[str, Any]) -> dict[str, Any]:
    """Return the `optimizer.state_dict()` from which `flatten_optimizer` made these."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    for index, entries in document["scalars"].items():
        state.setdefault(int(index), {}).update(entries)
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        for group in document["param_groups"]
    ]
    return {"state": {index: _folded(entries) for index, entries in state.items()}, "param_groups": groups}


def _unfolded(entries: dict[str, Any]) -> dict[str, Any]:
    """Write entries of a mapping within the state as `KEY/NAME`; copied, as bitsandbytes shares some."""
    flat: dict[str, Any] = {}
    for key, value in entries.items():
        if isinstance(value, dict):
            flat |= {f"{key}/{name}": each.clone() for name, each in value.items()}
        else:
            flat[key] = value
    return flat


def _folded(entries: dict[str, Any]) -> dict[str, Any]:
    """Undo `_unfolded`."""
    folded: dict[str, Any] = {}
    for key, value in entries.items():
        outer, _, name = key.partition("/")
        if name:
            folded.setdefault(outer, {})[name] = value
        else:
            folded[key] = value
    return folded
