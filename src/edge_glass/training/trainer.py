"""`MultimodalTrainer`: `transformers.Trainer` with exact resume, whole checkpoints and a task behind it."""

from __future__ import annotations

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
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from edge_glass.core import distributed
from edge_glass.core.errors import TrainingError
from edge_glass.training import sharding
from edge_glass.training.averages import Averages
from edge_glass.training.callbacks import EpochOrder, StepSeed, obey_main_process
from edge_glass.training.resumable import ResumableTrainer
from edge_glass.training.sampler import EpochBatchSampler
from edge_glass.training.task import Batch, Task

logger = logging.getLogger(__name__)


class MultimodalTrainer(ResumableTrainer):
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
        self._step_ids: list[Any] = []
        self._trained: list[nn.Parameter] = []
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


_LOG_NAMES = {"loss": "train/loss", "learning_rate": "train/lr", "grad_norm": "train/grad_norm"}


def _shortened(ids: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(identifier) for identifier in ids[:most])
    return shown + (f", … ({len(ids)} in all)" if len(ids) > most else "")
