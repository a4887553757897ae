"""FSDP2 on two gloo processes: parts add up to the whole, and the whole is what a checkpoint holds."""

from __future__ import annotations

from typing import Any

import torch
from towers import WIDTH, Towers, rows
from world import run_well

from edge_glass.core import distributed
from edge_glass.training.saving import flatten_optimizer
from edge_glass.training.sharding import (
    average_whole_gradients,
    shard,
    split_like,
    whole,
    whole_parameters,
    whole_state,
)


def take_a_step() -> dict[str, Any]:
    """One step of a sharded model, its whole state, and both read back into a fresh one."""
    model = Towers("mlp")
    shard(model, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    mine = slice(4 * distributed.rank(), 4 + 4 * distributed.rank())
    model({name: value[mine] for name, value in rows(8).items()})[0].backward()
    average_whole_gradients(model.parameters())  # of the temperature
    optimizer.step()
    state = whole_state(model.trainable_state_dict())
    moments, _ = flatten_optimizer(optimizer.state_dict())
    parts = sum(parameter.to_local().numel() for parameter in model.parameters() if parameter.ndim)  # type: ignore
    with whole_parameters(model):
        embedding = model.x_head(torch.ones(1, WIDTH, dtype=torch.float64))
    other = Towers("mlp")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    shard(other, torch.device("cpu"))
    other.load_trainable_state_dict(split_like(state, other.trainable_state_dict()))
    return {
        "state": state,
        "again": whole_state(other.trainable_state_dict()),
        "moments": whole_state(moments),
        "parts": parts,
        "embedding": embedding.detach(),
    }


def test_parts_and_the_whole() -> None:
    ranks = run_well(take_a_step)
    plain = Towers("mlp")
    optimizer = torch.optim.AdamW(plain.parameters(), 0.1)
    plain(rows(8))[0].backward()
    optimizer.step()
    numbers = sum(parameter.numel() for parameter in plain.parameters() if parameter.ndim)
    assert ranks[0]["parts"] + ranks[1]["parts"] == numbers
    assert 0.4 < ranks[0]["parts"] / numbers < 0.6
    moments, _ = flatten_optimizer(optimizer.state_dict())
    for rank in ranks:
        assert all(type(value) is torch.Tensor for value in rank["state"].values())
        assert rank["moments"].keys() == moments.keys()
        for name in rank["again"]:
            assert torch.equal(rank["again"][name], rank["state"][name])
        for name, moment in rank["moments"].items():
            torch.testing.assert_close(moment, moments[name], rtol=1e-9, atol=1e-14)
        expected = plain.x_head(torch.ones(1, WIDTH, dtype=torch.float64))
        torch.testing.assert_close(rank["embedding"], expected, rtol=1e-6, atol=1e-8)
    assert not any(name.startswith("_") for name in ranks[0]["state"])


def shard_convolutions() -> dict[str, Any]:
    """Channels-last ones, as our vision encoders have them: one trained, one frozen."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Conv2d(3, 4, 2).requires_grad_(False))
    model = model.to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shard(model, torch.device("cpu"))
    cut = [name for name, parameter in model.named_parameters() if hasattr(parameter, "full_tensor")]
    return {"before": before, "after": whole_state(model.state_dict()), "cut": cut}


def test_frozen_weights_stay_whole() -> None:
    for rank in run_well(shard_convolutions):
        assert rank["cut"] == ["0.weight", "0.bias"]
        assert all(torch.equal(rank["after"][name], value) for name, value in rank["before"].items())


def test_what_is_whole_stays_as_it_is() -> None:
    tensor = torch.ones(2)
    assert whole(tensor) is tensor and whole(3) == 3
    assert split_like({"a": tensor}, {"a": torch.zeros(2)})["a"] is tensor
    with whole_parameters(torch.nn.Linear(2, 2)):
        pass
