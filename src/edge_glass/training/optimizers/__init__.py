"""Optimizers, one file each: `optimization.optimizer` is the name of a file of this package.

Such a file defines one function, `build(model, *, lr, betas, weight_decay)`, that returns a
`torch.optim.Optimizer` over all parameters of `model` that are trained. Its state may hold tensors, numbers
and text: that is what a checkpoint keeps.

Example:
    >>> # edge_glass/training/optimizers/sgd.py
    >>> def build(model, *, lr, betas, weight_decay):
    ...     return torch.optim.SGD(decay_groups(model, weight_decay), lr=lr, momentum=betas[0])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_glass.config.sections.training import OPTIMIZERS

if TYPE_CHECKING:
    import torch
    from torch import nn


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """Make the optimizer `name` over the trained parameters of a model.

    Args:
        name: A file of this package, such as `adamw`.
        model: Its parameters that require gradients are trained.
        lr: Peak learning rate.
        betas: Decay of the mean of gradients and of their squares, where the optimizer has them.
        weight_decay: On matrices only; biases, norms and temperatures do not decay.

    Raises:
        ConfigError: There is no such optimizer, or its package is not installed.
    """
    optimizer: torch.optim.Optimizer = OPTIMIZERS.load(name).build(
        model, lr=lr, betas=betas, weight_decay=weight_decay
    )
    return optimizer


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trained parameters into two groups: matrices, which decay, and the rest, which does not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in trained if each.ndim >= 2], "weight_decay": weight_decay},
        {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0},
    ]
