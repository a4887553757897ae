"""What every pass of a model over rows needs: chunks of rows, a device, and eval mode meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")


def parts(rows: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Split rows into chunks of `size`, the last one perhaps shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def spread(total: int, most: int) -> list[int]:
    """Return at most `most` of `total` rows, evenly spread."""
    count = min(most, total)
    return [total * number // count for number in range(count)]


def moved(value: Any, device: torch.device) -> Any:
    """Return tensors, also those within mappings and lists, on a device; anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: moved(part, device) for name, part in value.items()}
    return [moved(part, device) for part in value] if isinstance(value, list) else value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a model in eval mode, and restore its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
