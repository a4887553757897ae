"""Rows in chunks, and batches on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


def chunks(rows: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Split rows into chunks of `size`; the last one may be shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def moved(value: Any, device: torch.device) -> Any:
    """Return a batch with its tensors, also those within mappings, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    return {name: moved(part, device) for name, part in value.items()} if isinstance(value, dict) else value
