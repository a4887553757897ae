"""Muon for the matrices inside a model, AdamW for everything else: embeddings, output, norms, biases.

Updates of Muon are scaled as large as AdamW's, so one learning rate and one weight decay serve both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edge_glass.core.errors import ConfigError
from edge_glass.training.optimizers import decay_groups

_OUTSIDE = ("embed", "lm_head")


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimizers that step together and share their groups with this one, which a schedule changes."""

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self.both: tuple[torch.optim.Optimizer, ...] = (muon, adamw)
        super().__init__([group for each in self.both for group in each.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step with both."""
        loss = None if closure is None else closure()
        for each in self.both:
            each.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return both states as one; parameters are counted on from the first to the second."""
        joined: dict[str, Any] = {"state": {}, "param_groups": []}
        first = 0
        for each in self.both:
            own = each.state_dict()
            joined["state"] |= {first + index: entries for index, entries in own["state"].items()}
            for group in own["param_groups"]:
                joined["param_groups"].append(group | {"params": [first + at for at in group["params"]]})
            first += sum(len(group["params"]) for group in own["param_groups"])
        return joined

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Split what `state_dict` joined, and go on from it."""
        first, groups = 0, iter(state_dict["param_groups"])
        for each in self.both:
            number = sum(len(group["params"]) for group in each.param_groups)
            own = [next(groups) for _ in each.param_groups]
            each.load_state_dict(
                {
                    "state": {
                        index - first: entries
                        for index, entries in state_dict["state"].items()
                        if first <= index < first + number
                    },
                    "param_groups": [
                        group | {"params": [at - first for at in group["params"]]} for group in own
                    ],
                }
            )
            first += number
        self.param_groups = [group for each in self.both for group in each.param_groups]


def build(
    model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """See `build_optimizer`; `betas` are AdamW's.

    Raises:
        ConfigError: Nothing is trained that Muon is for.
    """
    outside = {
        id(parameter)
        for name, module in model.named_modules()
        for parameter in module.parameters(recurse=False)
        if isinstance(module, nn.Embedding) or any(word in name for word in _OUTSIDE)
    }
    inside = {
        id(parameter)
        for parameter in model.parameters()
        if parameter.requires_grad and parameter.ndim == 2 and id(parameter) not in outside
    }
    groups = decay_groups(model, weight_decay)
    matrices = [each for each in groups[0]["params"] if id(each) in inside]
    if not matrices:
        raise ConfigError(
            "optimization.optimizer: expected trained matrices for muon, got none; use adamw here"
        )
    groups[0]["params"] = [each for each in groups[0]["params"] if id(each) not in inside]
    muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([group for group in groups if group["params"]] or groups, lr=lr, betas=betas)
    return MuonAndAdamW(muon, adamw)
