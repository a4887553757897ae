"""An optimizer restored from safetensors and JSON goes on exactly as the one that was saved."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edge_glass.training.checkpoint import read_checkpoint, write_checkpoint
from edge_glass.training.saving import MOMENTS, OPTIMIZER, flatten_optimizer, unflatten_optimizer

Build = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Build] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95)),
    "adamw amsgrad": lambda groups: torch.optim.AdamW(groups, lr=0.01, amsgrad=True),
    "adamw fused": lambda groups: torch.optim.AdamW(groups, lr=0.01, fused=True),
    "sgd momentum": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.01),
    "adafactor": lambda groups: torch.optim.Adafactor(groups, lr=0.01),
}


def network() -> nn.Module:
    """A few matrices, vectors and a scalar-like parameter."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 1))


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Matrices decay, the rest does not."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    rest = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Steps `first` to `last`, each on data of its own."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(4, 5, generator=generator)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_equal(tmp_path: Path, name: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](groups(model))
    train(model, optimizer, 0, 5)
    tensors, document = flatten_optimizer(optimizer.state_dict())
    folder = write_checkpoint(tmp_path, 5, {MOMENTS: tensors}, {OPTIMIZER: document})
    weights = copy.deepcopy(model.state_dict())
    train(model, optimizer, 5, 10)

    again = network()
    again.load_state_dict(weights)
    restored = OPTIMIZERS[name](groups(again))
    read, documents = read_checkpoint(folder)
    restored.load_state_dict(unflatten_optimizer(read[MOMENTS], documents[OPTIMIZER]))
    train(again, restored, 5, 10)
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_state_comes_back_as_it_was() -> None:
    model = network()
    optimizer = OPTIMIZERS["adamw"](groups(model))
    train(model, optimizer, 0, 3)
    before = optimizer.state_dict()
    tensors, document = flatten_optimizer(before)
    after = unflatten_optimizer(tensors, json.loads(json.dumps(document)))
    assert after["param_groups"] == before["param_groups"]
    assert after["param_groups"][0]["betas"] == (0.9, 0.95)
    assert isinstance(after["param_groups"][0]["betas"], tuple)
    assert after["state"].keys() == before["state"].keys()
    for index, entries in before["state"].items():
        assert after["state"][index].keys() == entries.keys()
        for key, value in entries.items():
            assert torch.equal(after["state"][index][key], value)
            assert after["state"][index][key].dtype == value.dtype


def test_before_the_first_step(tmp_path: Path) -> None:
    """fp16 may skip the first steps: there is a checkpoint then, and no state yet."""
    optimizer = OPTIMIZERS["adamw"](groups(network()))
    tensors, document = flatten_optimizer(optimizer.state_dict())
    folder = write_checkpoint(tmp_path, 1, {MOMENTS: tensors}, {OPTIMIZER: document})
    read, documents = read_checkpoint(folder)
    optimizer.load_state_dict(unflatten_optimizer(read[MOMENTS], documents[OPTIMIZER]))
    assert optimizer.state_dict()["state"] == {}


def test_plain_numbers_in_the_state() -> None:
    """Some optimizers keep Python numbers beside their tensors."""
    state = {"state": {0: {"step": 3, "momentum": torch.ones(2)}, 2: {"step": 4}}, "param_groups": []}
    tensors, document = flatten_optimizer(state)
    after = unflatten_optimizer(tensors, json.loads(json.dumps(document)))
    assert after["state"][0]["step"] == 3 and torch.equal(after["state"][0]["momentum"], torch.ones(2))
    assert after["state"][2] == {"step": 4}
