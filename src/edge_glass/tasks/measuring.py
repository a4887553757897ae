"""What tasks that write answers share when they measure: which rows, in which arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edge_glass.config.schema import ExperimentConfig
from edge_glass.training.arguments import resolve_precision


def measured_rows(config: ExperimentConfig, split: str, total: int) -> list[int]:
    """Rows of a split that are measured, evenly spread over its `total` rows."""
    evaluation = config.evaluation
    most = evaluation.validation_rows if split == "val" else evaluation.test_rows
    if most is None or most >= total:
        return list(range(total))
    return [total * number // most for number in range(most)]


@contextmanager
def arithmetic(config: ExperimentConfig, device: torch.device) -> Iterator[None]:
    """The precision of training."""
    training = config.training
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = kinds.get(resolve_precision(training.precision, training.device))
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield
