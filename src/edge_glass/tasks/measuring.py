"""What tasks that write answers share when they measure: which rows, in which mode and arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from edge_glass.config.schema import ExperimentConfig
from edge_glass.training.arguments import resolve_precision

Item = TypeVar("Item")


def measured_rows(config: ExperimentConfig, split: str, total: int) -> list[int]:
    """Rows of a split that are measured, evenly spread over its `total` rows."""
    evaluation = config.evaluation
    most = evaluation.validation_rows if split == "val" else evaluation.test_rows
    if most is None or most >= total:
        return list(range(total))
    return [total * number // most for number in range(most)]


def parts(rows: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Rows by so many."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def moved(value: Any, device: torch.device) -> Any:
    """Tensors within mappings, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    return {name: moved(part, device) for name, part in value.items()} if isinstance(value, dict) else value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in eval mode meanwhile."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def arithmetic(config: ExperimentConfig, device: torch.device) -> Iterator[None]:
    """The precision of training."""
    training = config.training
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = kinds.get(resolve_precision(training.precision, training.device))
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield
