"""AdamW, torch's own in one fused kernel."""

from __future__ import annotations

import torch
from torch import nn

from edge_glass.training.optimizers import decay_groups


def build(
    model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """See `build_optimizer`."""
    return torch.optim.AdamW(decay_groups(model, weight_decay), lr=lr, betas=betas, fused=True)
