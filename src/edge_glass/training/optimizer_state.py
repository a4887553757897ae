"""An optimizer's state as safetensors and JSON, so that resuming unpickles nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TENSORS = "optimizer.safetensors"
DOCUMENT = "optimizer.json"


def flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split `optimizer.state_dict()` into tensors named `INDEX.KEY` and a JSON-able rest."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    return tensors, {"scalars": scalars, "param_groups": state["param_groups"]}


def unflatten(tensors: dict[str, Tensor], document: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    for index, entries in document["scalars"].items():
        state.setdefault(int(index), {}).update(entries)
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        for group in document["param_groups"]
    ]
    return {"state": state, "param_groups": groups}


def load(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Restore an optimizer over the same parameters from what `flatten` gave."""
    optimizer.load_state_dict(unflatten(tensors, document))
