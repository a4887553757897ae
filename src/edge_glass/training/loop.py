"""The training loop: batches → loss → gradients → weights, and what happens between the steps.

Read `MultimodalTrainer.train` first and follow the methods downwards; they stand in the order in which they
are called. `accelerate` does what differs between machines: devices, precision, processes, trackers.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import DistributedDataParallelKwargs, send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

from edge_glass.core import distributed
from edge_glass.core.errors import TrainingError
from edge_glass.migrating import takes_old_calls
from edge_glass.training import saving, sharding
from edge_glass.training.callbacks import obey_main_process
from edge_glass.training.log_lines import Averages
from edge_glass.training.optimizers import build_optimizer
from edge_glass.training.sampler import EpochBatchSampler
from edge_glass.training.task import Batch, Task


class MultimodalTrainer:
    """Trains the model of a `Task`.

    Order and dropout are pure functions of (seed, epoch, step), so a run that is stopped anywhere goes on
    bit-equal from its last checkpoint. Ranks share every batch and stop together; rank 0 alone writes.

    Args:
        task: What is trained.
        model: Has `trainable_state_dict()` and a strict `load_trainable_state_dict(state)`.
        args: See `edge_glass.training.training_arguments`; `args.output_dir` is the checkpoints' folder.
        keep_checkpoints: Newest checkpoints kept, besides the best one.
        callbacks: `transformers.TrainerCallback`s; they watch, log and may ask to save or stop.
        sharded: Spread parameters, gradients and optimizer state over the ranks (FSDP2); else DDP.
        optimizer: Name of a file in `edge_glass.training.optimizers`.
        compile: Compile the model's forward pass with `torch.compile`.
        trackers: What else gets every log line; see `edge_glass.training.trackers`.
        settings: Settings of the run, flat, which the trackers are told.

    Attributes:
        state: Step, epoch and best metric so far.
        control: What callbacks ask for: to log, evaluate, save or stop.
        model: The model itself.
        wrapped: The model as it is called: wrapped for mixed precision and several processes.
        averages: What the loss reported since the last log line.
        wait_seconds: How long the loop waited for data.
    """

    @takes_old_calls("edge_glass.train(config), or MultimodalTrainer(task, model, args)")
    def __init__(
        self,
        task: Task,
        model: nn.Module,
        args: TrainingArguments,
        keep_checkpoints: int = 2,
        callbacks: Sequence[TrainerCallback] = (),
        sharded: bool = False,
        optimizer: str = "adamw",
        compile: bool = False,
        trackers: Sequence[GeneralTracker] = (),
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.args, self.keep_checkpoints = task, args, keep_checkpoints
        self.checkpoints = Path(str(args.output_dir))
        self.callbacks = list(callbacks)
        self.sharded = sharding.is_possible(sharded)
        self.sampler = EpochBatchSampler(
            len(task.train_dataset),  # type: ignore[arg-type]
            args.per_device_train_batch_size,
            args.seed,
            distributed.rank(),
            distributed.world_size(),
            getattr(task, "row_kinds", None),
        )
        self.steps_per_epoch = max(1, -(-len(self.sampler) // args.gradient_accumulation_steps))
        self.accelerator = Accelerator(
            cpu=args.use_cpu,
            mixed_precision=args.mixed_precision,
            dynamo_backend="inductor" if compile else None,
            log_with=list(trackers) or None,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=False, broadcast_buffers=False)
            ],
        )
        self.accelerator.sync_gradients = True  # another trainer of this process may have left it off
        self.model: Any = model.to(self.accelerator.device)
        if self.sharded:
            sharding.shard(self.model, self.accelerator.device)
        self.optimizer_name, self.settings = optimizer, settings
        self.weight = getattr(task, "weight", None)
        self.state = TrainerState(
            max_steps=args.max_steps,
            logging_steps=int(args.logging_steps),
            eval_steps=int(args.eval_steps or args.max_steps),
            save_steps=int(args.save_steps),
            num_train_epochs=-(-args.max_steps // self.steps_per_epoch),
            train_batch_size=args.per_device_train_batch_size,
            is_local_process_zero=distributed.is_local_main(),
            is_world_process_zero=distributed.is_main(),
        )
        self.control = TrainerControl()
        self.averages, self.last_logged = Averages(), 0
        self.loss_sum = torch.tensor(0.0, device=self.accelerator.device)  # since the last log line
        self.wait_seconds = 0.0

    def add_callback(self, callback: TrainerCallback) -> None:
        """Add a callback behind the others."""
        self.callbacks.append(callback)

    # A run

    def train(self, resume_from_checkpoint: str | None = None) -> None:
        """Train to the end, or until a callback asks to stop; `model` has the best weights then.

        Args:
            resume_from_checkpoint: Folder to go on from.

        Raises:
            TrainingError: The loss or a gradient is not finite.
            CheckpointError: A checkpoint cannot be read or written.
        """
        state, control = self.state, self.control
        self._prepare()
        if resume_from_checkpoint is not None:
            saving.resume(self, Path(resume_from_checkpoint))
        self.accelerator.init_trackers("edge-glass", self.settings)
        self._tell("on_train_begin")
        if state.global_step == 0 and getattr(self.task, "validates_untouched", False):
            self.evaluate()
        while state.global_step < state.max_steps and not control.should_training_stop:
            self._run_epoch()
        if state.best_model_checkpoint is not None:
            saving.load_weights(self, Path(state.best_model_checkpoint))
        self._tell("on_train_end")
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _prepare(self) -> None:
        """Wrap the model, make optimizer, schedule and data loader."""
        args = self.args
        optimizer = build_optimizer(
            self.optimizer_name,
            self.model,
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            weight_decay=args.weight_decay,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # accelerate passes it on
            # A sharded model has its own way of sharing gradients: it is prepared as for evaluation.
            self.wrapped = self.accelerator.prepare_model(
                self.model, device_placement=not self.sharded, evaluation_mode=self.sharded
            )
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.optimizer.zero_grad()
        self.trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.lr_scheduler = get_scheduler(
            args.lr_scheduler_type,
            self.optimizer,
            num_warmup_steps=args.get_warmup_steps(args.max_steps),
            num_training_steps=args.max_steps,
        )
        workers = args.dataloader_num_workers
        self.loader = DataLoader(
            self.task.train_dataset,
            batch_sampler=self.sampler,  # knows ranks, epochs and resuming, and is not wrapped by accelerate
            collate_fn=self.task.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=args.dataloader_pin_memory,
            worker_init_fn=obey_main_process,
        )

    # An epoch

    def _run_epoch(self) -> None:
        """Take the steps that are left of the epoch in which the run stands."""
        state, control, per_step = self.state, self.control, self.args.gradient_accumulation_steps
        batches = len(self.sampler)
        epoch, steps_done = divmod(state.global_step, self.steps_per_epoch)
        self.sampler.epoch, self.sampler.skipped = epoch, steps_done * per_step
        self._tell("on_epoch_begin")
        iterator = iter(self.loader)
        for first in range(steps_done * per_step, batches, per_step):
            parts = self._fetch(iterator, min(per_step, batches - first))
            norm, lr = self._take_step(parts)
            state.global_step += 1
            state.epoch = epoch + (first + len(parts)) / batches
            self._look_up(norm, lr)
            if control.should_training_stop:
                break
        self._tell("on_epoch_end")

    def _fetch(self, iterator: Iterator[Batch], number: int) -> list[Batch]:
        """Fetch the next batches, as the data loader gives them."""
        start = time.perf_counter()
        batches = [next(iterator) for _ in range(number)]
        self.wait_seconds += time.perf_counter() - start
        return batches

    # A step

    def _take_step(self, batches: Sequence[Batch]) -> tuple[Tensor, float]:
        """Add up the gradients of the batches and change the weights once: gradient norm, learning rate."""
        seed_step(self.args.seed, self.state.global_step, self.args.use_cpu)
        self.control.should_log = self.control.should_evaluate = self.control.should_save = False
        self._tell("on_step_begin")
        self.wrapped.train()
        for number, (batch, share) in enumerate(zip(batches, self._shares(batches), strict=True), 1):
            with nullcontext() if number == len(batches) else self._no_gradient_exchange():
                loss = self._loss(batch, share) / len(batches)
                self.accelerator.backward(loss)
            self.loss_sum += loss.detach()
            if number < len(batches):
                self._tell("on_substep_end")
        if self.sharded:
            sharding.average_whole_gradients(self.trained)
        norm = self._clip(batches)
        self._tell("on_pre_optimizer_step")
        self.optimizer.step()
        self._tell("on_optimizer_step")
        lr = float(self.optimizer.param_groups[0]["lr"])
        if not self.accelerator.optimizer_step_was_skipped:  # fp16: the gradients were too large
            self.lr_scheduler.step()
        self.optimizer.zero_grad()
        return norm, lr

    def _shares(self, batches: Sequence[Batch]) -> list[float]:
        """Return how much each batch counts, 1 on average over all batches and ranks of a step.

        So that the mean over batches and ranks, which is what is taken, becomes the mean over what
        `task.weight` counts, such as supervised tokens.
        """
        if self.weight is None:
            return [1.0] * len(batches)
        weights = [self.weight(batch) for batch in batches]
        total = max(1, sum(distributed.from_all(sum(weights))))
        parts = len(batches) * distributed.world_size()
        return [weight * parts / total for weight in weights]

    def _no_gradient_exchange(self) -> AbstractContextManager[None]:
        """Let ranks exchange gradients after the last batch of a step only."""
        if self.sharded:
            return sharding.no_gradient_exchange(self.model)
        context: AbstractContextManager[None] = self.accelerator.no_sync(self.wrapped)
        return context

    def _loss(self, batch: Batch, share: float) -> Tensor:
        """Compute the task's loss of one batch, by its share."""
        step = self.state.global_step
        batch = send_to_device({"ids": [], **batch}, self.accelerator.device, skip_keys="ids")
        loss, report = self.task.loss(self.wrapped, batch, step=step, diagnostics=self._logs_at(step + 1))
        if distributed.agree(not torch.isfinite(loss)):
            values = ", ".join(sorted({str(value) for value in distributed.from_all(loss.item())}))
            raise TrainingError(
                f"step {step + 1}: the loss is {values}; samples {_shortened(batch['ids'])}.\n"
                f"Nothing was saved from this step; the newest checkpoint in {self.checkpoints} is intact. "
                "Look at these samples, or lower optimization.lr."
            )
        self.averages.add({name: value * share for name, value in report.items()})
        return loss * share

    def _clip(self, batches: Sequence[Batch]) -> Tensor:
        """Scale the gradients down to `max_grad_norm`, where it is not 0; their norm before that."""
        norm: Tensor = sharding.whole(
            self.accelerator.clip_grad_norm_(self.trained, self.args.max_grad_norm or float("inf"))
        )
        if not self.args.fp16 and not torch.isfinite(norm):
            ids = [identifier for batch in batches for identifier in batch.get("ids", [])]
            raise TrainingError(
                f"step {self.state.global_step + 1}: the gradient norm is {float(norm)}; samples "
                f"{_shortened(ids)}.\nThe weights were not changed by this step. "
                "Lower optimization.lr, or use training.precision=fp32."
            )
        return norm

    # After a step

    def _look_up(self, norm: Tensor, lr: float) -> None:
        """Log, evaluate, save and stop, where it is due or a callback asks for it."""
        state, control = self.state, self.control
        is_last = state.global_step >= state.max_steps
        control.should_log |= self._logs_at(state.global_step)
        control.should_evaluate |= is_last or state.global_step % state.eval_steps == 0
        control.should_save |= is_last or state.global_step % state.save_steps == 0
        control.should_training_stop |= is_last
        self._tell("on_step_end")
        if control.should_log:
            self._log_steps(norm, lr)
        if control.should_evaluate:
            self._remember_best(self.evaluate())
        if control.should_save:
            saving.save(self)
            self._tell("on_save")

    def _logs_at(self, step: int) -> bool:
        return step == 1 or step % self.state.logging_steps == 0

    def _log_steps(self, norm: Tensor, lr: float) -> None:
        """Log the mean loss since the last line and everything it reported."""
        losses = distributed.from_all(self.loss_sum.item())
        steps = self.state.global_step - self.last_logged
        line = {
            "train/loss": sum(losses) / len(losses) / steps,
            "train/grad_norm": norm.item(),
            "train/lr": lr,
        }
        parts = self.mean_over_ranks(self.averages.take())
        line |= {f"train/{name}": value for name, value in parts.items()}
        self.log(line | {"train/step": self.state.global_step, "train/epoch": self.state.epoch})
        self.loss_sum.zero_()
        self.last_logged = self.state.global_step

    def mean_over_ranks(self, values: dict[str, float]) -> dict[str, float]:
        """Average each value over the ranks; where nothing is weighed, all ranks report the same."""
        if self.weight is None:
            return values
        found = distributed.from_all(values)
        return {name: sum(one[name] for one in found) / len(found) for name in values}

    def log(self, line: dict[str, float]) -> None:
        """Hand a line to the callbacks, which may add to it, and to the trackers."""
        self._tell("on_log", logs=line)
        self.accelerator.log(line, step=self.state.global_step)

    def evaluate(self) -> dict[str, float]:
        """Measure the validation split; its metrics are logged as `val/NAME`.

        Rank 0's are taken everywhere: all ranks must come to the same conclusions.
        """
        with sharding.whole_parameters(self.model):
            metrics = self.task.evaluate(self.model, "val")
        distributed.barrier()
        metrics = distributed.from_main(metrics)
        self.log({f"val/{name}": value for name, value in metrics.items()})
        self._tell("on_evaluate", metrics={f"eval_{name}": value for name, value in metrics.items()})
        return metrics

    def _remember_best(self, metrics: dict[str, float]) -> None:
        state, value = self.state, metrics[self.task.primary_metric]
        sign = 1 if self.args.greater_is_better else -1
        if sign * value > (-float("inf") if state.best_metric is None else sign * state.best_metric):
            state.best_metric, state.best_global_step = value, state.global_step

    def _tell(self, event: str, **extra: Any) -> None:
        """Call one event of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(
                self.args,
                self.state,
                self.control,
                model=self.model,
                processing_class=None,
                optimizer=self.optimizer,
                lr_scheduler=self.lr_scheduler,
                train_dataloader=self.loader,
                **extra,
            )


def seed_step(seed: int, step: int, on_cpu: bool) -> None:
    """Make everything random within a step (dropout) a function of (seed, step, rank)."""
    entropy = np.random.SeedSequence([seed, step, distributed.rank()])
    number = int(entropy.generate_state(1)[0])
    random.seed(number)
    if on_cpu:
        torch.default_generator.manual_seed(number)  # a millisecond less than asking for GPUs each time
    else:
        torch.manual_seed(number)


def _shortened(ids: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(identifier) for identifier in ids[:most])
    return shown + (f", … ({len(ids)} in all)" if len(ids) > most else "")
