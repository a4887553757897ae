"""Adafactor, torch's own: the squares of the gradients of a matrix are kept as a row and a column."""

from __future__ import annotations

import torch
from torch import nn

from edge_glass.training.optimizers import decay_groups


def build(
    model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """See `build_optimizer`. Adafactor has no betas."""
    return torch.optim.Adafactor(decay_groups(model, weight_decay), lr=lr)
