"""AdamW of bitsandbytes, whose moments take a byte each; those of embeddings stay in fp32."""

from __future__ import annotations

import torch
from torch import nn

from edge_glass.core.extras import optional_module
from edge_glass.training.optimizers import decay_groups


def build(
    model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """See `build_optimizer`. Tensors of less than 4096 numbers keep moments in fp32 too."""
    library = optional_module("bitsandbytes", "quantization").optim
    manager = library.GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, nn.Embedding):  # rows are seldom seen: their moments are small and uneven
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    optimizer: torch.optim.Optimizer = library.AdamW8bit(
        decay_groups(model, weight_decay), lr=lr, betas=betas
    )
    return optimizer
