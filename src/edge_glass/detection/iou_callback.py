"""Measuring by generation in the middle of training, within a time budget, and without a trace in it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edge_glass.core import distributed
from edge_glass.training import sharding
from edge_glass.training.log_lines import extend_line, is_training_line

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class IoUEvalCallback(TrainerCallback):
    """Measures a few rows every so many steps, and logs `val_iou/NAME` with the line of that step.

    Training goes on as if nothing had happened: random numbers, modes of modules and gradients stay as they
    were. It works in the library's trainer and in TRL's too; callbacks that write logs see the values when
    they stand behind this one, the trainer's history has them always.

    Args:
        measure: From the model, in eval mode, and seconds to metrics. It is called on every rank; see
            `within` for how ranks stop together. Those of rank 0 are logged.
        every_steps: Steps between two measurements.
        seconds: Handed to `measure`.
    """

    def __init__(
        self,
        measure: Callable[[Any, float], Mapping[str, float]],
        every_steps: int,
        seconds: float,
    ) -> None:
        self.measure, self.every_steps, self.seconds = measure, every_steps, seconds
        self._found: tuple[int, dict[str, float]] | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step % self.every_steps:
            return
        model = kwargs["model"]
        with undisturbed(model):
            metrics = self.measure(model, self.seconds)
        values = distributed.from_main(dict(metrics))
        self._found = state.global_step, {f"val_iou/{name}": value for name, value in values.items()}
        control.should_log = True
        if state.is_world_process_zero:
            first = next(iter(values.items()), ("nothing", float("nan")))
            logger.info("step %d: %s %.3f on a few validation rows", state.global_step, *first)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or self._found is None or not is_training_line(logs):
            return
        (step, values), self._found = self._found, None
        if step == state.global_step:
            extend_line(state, logs, values)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """A model in eval mode, whole and without gradients while the block runs; then all is as it was.

    That is: the mode of every module, and the random numbers of Python, NumPy and torch.
    """
    modes = {module: module.training for module in model.modules()}
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), sharding.whole_parameters(model):
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002


def within(items: Iterable[Item], seconds: float) -> Iterator[Item]:
    """Items of this rank, until all ranks are through or one of them finds the time over.

    Before each item the ranks agree, so none of them waits for another that has stopped, and none goes on
    alone; the first item is always given. Every rank has to take all it is given; the numbers of items may
    differ.

    Args:
        items: Such as batches of this rank's share.
        seconds: From the first one on.
    """
    mine, none = iter(items), object()
    end = time.monotonic() + seconds
    first = True
    while True:
        item = next(mine, none)
        found = distributed.from_all((item is none, not first and time.monotonic() > end))
        if all(is_through for is_through, _ in found) or any(is_late for _, is_late in found):
            return
        first = False
        if item is not none:
            yield item  # type: ignore[misc]
