"""Means between two log lines, also when a checkpoint falls between them."""

from __future__ import annotations

import json

import pytest
import torch

from edge_glass.training.log_lines import Averages


def test_means_since_the_last_line() -> None:
    averages = Averages()
    averages.add({"loss": torch.tensor(1.0), "rare": torch.tensor(5.0)})
    averages.add({"loss": torch.tensor(2.0)})
    assert averages.take() == {"loss": 1.5, "rare": 5.0}
    assert averages.take() == {}


def test_nothing_keeps_a_graph_alive() -> None:
    averages = Averages()
    averages.add({"loss": torch.tensor(1.0, requires_grad=True) * 2})
    json.dumps(averages.state())
    assert averages.take() == {"loss": 2.0}


@pytest.mark.parametrize("cut", range(6))
def test_saved_in_between_the_mean_is_the_same(cut: int) -> None:
    values = [torch.randn((), generator=torch.Generator().manual_seed(i)) * 10**i for i in range(6)]
    through, before, after = Averages(), Averages(), Averages()
    for value in values:
        through.add({"loss": value})
    for value in values[:cut]:
        before.add({"loss": value})
    after.load(json.loads(json.dumps(before.state())))
    for value in values[cut:]:
        after.add({"loss": value})
    assert after.take() == through.take()
