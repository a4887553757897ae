"""`MultimodalTrainer`: `transformers.Trainer` with exact resume, whole checkpoints and a task behind it."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, PrinterCallback

from edge_glass.errors import CheckpointError, TrainingError
from edge_glass.training import distributed, optimizer_state, sharding
from edge_glass.training.averages import Averages
from edge_glass.training.callbacks import EpochOrder, StepSeed, obey_main_process
from edge_glass.training.checkpoint import (
    checkpoint_path,
    drop_later_checkpoints,
    problems,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from edge_glass.training.sampler import EpochBatchSampler
from edge_glass.training.task import Batch, Task

logger = logging.getLogger(__name__)

MODEL = "model.safetensors"
STATE = "trainer_state.json"
SCHEDULER = "scheduler.json"
SCALER = "scaler.json"
AVERAGES = "averages.json"
CANARY = "canary.safetensors"


class MultimodalTrainer(Trainer):
    """The training loop of every task.

    What it changes in the library's trainer: the loss and the metrics come from the task; order and dropout
    are pure functions of seed, epoch and step; checkpoints are whole or absent; a loss that is not finite
    stops the run; logged names are `train/…` and `val/…`. Ranks share every batch and stop together; rank 0
    alone writes.

    Args:
        task: What is trained.
        model: Has `trainable_state_dict()` and a strict `load_trainable_state_dict(state)`.
        args: See `edge_glass.training.training_arguments`; `args.output_dir` is the checkpoints' folder.
        keep_checkpoints: Newest checkpoints kept, besides the best one.
        callbacks: Side effects only.
        sharded: Spread parameters, gradients and optimizer state over the ranks (FSDP2); else DDP.
    """

    model: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        args: TrainingArguments,
        keep_checkpoints: int = 2,
        callbacks: Sequence[TrainerCallback] = (),
        sharded: bool = False,
    ) -> None:
        self.task = task
        self.keep_checkpoints = keep_checkpoints
        self.checkpoints = Path(str(args.output_dir))
        self.sampler = EpochBatchSampler(
            len(task.train_dataset),  # type: ignore[arg-type]
            args.per_device_train_batch_size,
            args.seed,
            distributed.rank(),
            distributed.world_size(),
            getattr(task, "row_kinds", None),
        )
        self._averages = Averages()
        self._unlogged: dict[str, Any] | None = None
        self._step_ids: list[Any] = []
        self._trained: list[nn.Parameter] = []
        self._finished = False
        self._weigh: Callable[[Batch], int] | None = getattr(task, "weight", None)
        self._step_weight = 1
        self.wait_seconds = 0.0
        super().__init__(
            model=model,
            args=args,
            train_dataset=task.train_dataset,
            eval_dataset=task.train_dataset,  # asked for when evaluation is on, never read: see `evaluate`
            data_collator=task.collate,
            callbacks=[EpochOrder(self.sampler), StepSeed(), *callbacks],
        )
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        if sharded and distributed.world_size() == 1:
            logger.warning("training.sharding is on, but one process has nothing to share")
        elif sharded:
            sharding.shard(self.model, args.device)
            # The library's name for "wrap nothing, average the gradients of what is not sharded".
            self.is_distributed_loading_by_transformers = True

    # Data and loss

    def get_train_dataloader(self) -> DataLoader:
        """This rank's batches. Workers get no seeds: a row is a function of its key.

        It does not pass through accelerate, which would share out again what is shared out already.
        """
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.task.train_dataset,
            batch_sampler=self.sampler,
            collate_fn=self.task.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.args.dataloader_pin_memory,
            worker_init_fn=obey_main_process,
        )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """As the library's, and counts how long the loop waited for data."""
        start = time.perf_counter()
        samples = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.wait_seconds += time.perf_counter() - start
        if self._weigh is not None:
            own = sum(self._weigh(batch) for batch in samples[0])
            self._step_weight = max(1, sum(distributed.from_all(own)))
        return samples

    def _weighed(self, loss: torch.Tensor, batch: Batch) -> torch.Tensor:
        """A batch's mean → its part of the mean over the accumulated batches of all ranks.

        Every batch counts as it weighs. The library divides by the number of accumulated batches and of
        ranks, which is undone here.
        """
        if self._weigh is None:
            return loss
        parts = self.current_gradient_accumulation_steps * distributed.world_size()
        return loss * (self._weigh(batch) * parts / self._step_weight)

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The task's loss; its parts are averaged into the next log line.

        Raises:
            TrainingError: The loss is not finite.
        """
        step = self.state.global_step
        loss, report = self.task.loss(model, inputs, step=step, diagnostics=self._logs_next())
        if distributed.agree(not torch.isfinite(loss)):
            values = ", ".join(sorted({str(value) for value in distributed.from_all(loss.item())}))
            raise TrainingError(
                f"step {step + 1}: the loss is {values}; samples {_shortened(inputs.get('ids', []))}.\n"
                f"Nothing was saved from this step; the newest checkpoint in {self.checkpoints} is intact. "
                "Look at these samples, or lower optimization.lr."
            )
        self._averages.add({name: self._weighed(value, inputs) for name, value in report.items()})
        self._step_ids += inputs.get("ids", [])
        loss = self._weighed(loss, inputs)
        return (loss, None) if return_outputs else loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = sharding.whole(super()._get_grad_norm(model, grad_norm))
        if not self.args.fp16 and not torch.isfinite(torch.as_tensor(norm)):
            raise TrainingError(
                f"step {self.state.global_step + 1}: the gradient norm is {float(norm)}; samples "
                f"{_shortened(self._step_ids)}.\nThe weights were not changed by this step. "
                "Lower optimization.lr, or use training.precision=fp32."
            )
        self._step_ids = []
        return norm

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """As the library's, which asks its own models how they are sharded."""
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def _logs_next(self) -> bool:
        next_step = self.state.global_step + 1
        return next_step == 1 or next_step % self.state.logging_steps == 0

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices decay; biases, norms and temperatures do not."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim >= 2]

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # the library passes it on
            model, loader = super()._prepare_for_training(*args, **kwargs)
        # At every step the library walks all parameters, also of frozen encoders; the optimizer has the rest.
        self._trained = [each for group in self.optimizer.param_groups for each in group["params"]]
        model.zero_grad = self.optimizer.zero_grad
        return model, loader

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        del self.model_wrapped.zero_grad
        return super()._finalize_training(*args, **kwargs)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if self._has_mixed_mesh_grads(model):
            return super()._clip_grad_norm(model)
        return self.accelerator.clip_grad_norm_(self._trained, self.args.max_grad_norm)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """Tensors go to the device; ids, which may be thousands of strings, are not searched for any."""
        tensors = {name: value for name, value in inputs.items() if name != "ids"}
        return super()._prepare_inputs(tensors) | {"ids": inputs.get("ids", [])}

    # Logs and metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log under the project's names, with the averaged parts of the loss."""
        if "loss" not in logs and not any(name.startswith("val/") for name in logs):
            return
        renamed = {_LOG_NAMES.get(name, name): value for name, value in logs.items() if name != "epoch"}
        if "train/loss" in renamed:
            renamed |= {f"train/{name}": mean for name, mean in self._of_all(self._averages.take()).items()}
            renamed |= {"train/step": self.state.global_step, "train/epoch": self.state.epoch or 0.0}
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, renamed)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Metrics of the validation split, logged as `val/NAME` and returned as `eval_NAME`.

        Rank 0's are taken everywhere: all ranks must come to the same conclusions.
        """
        with sharding.whole_parameters(self.model):
            metrics = self.task.evaluate(self.model, "val")
        distributed.barrier()
        metrics = distributed.from_main(metrics)
        self.log({f"val/{name}": value for name, value in metrics.items()})
        prefixed = {f"eval_{name}": value for name, value in metrics.items()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, prefixed)
        return prefixed

    # Checkpoints

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


_LOG_NAMES = {"loss": "train/loss", "learning_rate": "train/lr", "grad_norm": "train/grad_norm"}


def _is_out_of_patience(callback: TrainerCallback) -> bool:
    return (
        isinstance(callback, EarlyStoppingCallback)
        and callback.early_stopping_patience_counter >= callback.early_stopping_patience
    )


def _shortened(ids: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(identifier) for identifier in ids[:most])
    return shown + (f", … ({len(ids)} in all)" if len(ids) > most else "")
