"""One place: a new optimizer is one new file, named by `optimization.optimizer`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_glass
import edge_glass.training.optimizers as optimizers

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
FILE = '''
"""Plain gradient descent."""

import torch

from edge_glass.training.optimizers import decay_groups

CALLS = []


def build(model, *, lr, betas, weight_decay):
    CALLS.append((lr, weight_decay))
    return torch.optim.SGD(decay_groups(model, weight_decay), lr=lr, momentum=betas[0])
'''


@pytest.fixture
def _descent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The optimizer is one new file among the others."""
    (tmp_path / "descent.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(optimizers, "__path__", [*optimizers.__path__, str(tmp_path)])
    yield
    sys.modules.pop("edge_glass.training.optimizers.descent", None)
    vars(optimizers).pop("descent", None)


@pytest.mark.usefixtures("_descent")
def test_an_optimizer_is_one_file(tmp_path: Path) -> None:
    overrides = ["optimization.optimizer=descent", "optimization.lr=0.5", "training.max_steps=2"]
    config = edge_glass.load_config(QUICKSTART, overrides, tiny=True)
    result = edge_glass.train(config, output=tmp_path / "run", progress=False)
    assert result.results["samples"] == 2 * config.dataset.batch_size
    calls = sys.modules["edge_glass.training.optimizers.descent"].CALLS
    assert calls == [(0.5, config.optimization.weight_decay)]


def test_without_the_file_the_optimizers_are_named() -> None:
    with pytest.raises(edge_glass.ConfigError, match=r"adamw.*muon"):
        edge_glass.train(
            edge_glass.load_config(QUICKSTART, ["optimization.optimizer=descent"], tiny=True), progress=False
        )
