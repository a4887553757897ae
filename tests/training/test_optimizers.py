"""Optimizers by name: each learns, is saved without a pickle, and goes on bit-equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import regression_task
import torch
from regression_task import Network, Regression, build, metrics, run, same_weights
from torch import nn

from edge_glass.core.errors import ConfigError
from edge_glass.training import optimizers
from edge_glass.training.arguments import resolve_precision
from edge_glass.training.checkpoint import find_checkpoint
from edge_glass.training.optimizers import OPTIMIZERS, build_optimizer

SETTINGS: dict[str, Any] = {"betas": (0.9, 0.95), "weight_decay": 0.1}


class Wide(Network):
    """float32, and with a matrix large enough for moments of eight bits."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.wide = nn.Linear(regression_task.WIDTH, 1024)
            self.back = nn.Linear(1024, 1, bias=False)
        self.float()
        self.dtypes: set[torch.dtype] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, WIDTH]` → `[B]`."""
        wide = self.wide(x.float())
        self.dtypes.add(wide.dtype)
        return super().forward(x.float()) + self.back(wide.tanh()).squeeze(-1)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy task learns with it."""
    monkeypatch.setattr(regression_task, "Network", Wide)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("name", ["adafactor", "adamw", "adamw_8bit", "muon"])
def test_stopped_in_the_middle_it_goes_on_bit_equal(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {
        "dropout": 0.2,
        "optimizer": name,
        "optimization": {"lr": 0.01},
        "training": {"epochs": 5, "logging_steps": 4},
    }
    through = run(tmp_path / "through", **options)
    run(tmp_path / "stopped", signal_at=7, **options)
    checkpoint = find_checkpoint(tmp_path / "stopped/checkpoints")
    assert checkpoint is not None and {file.suffix for file in checkpoint.iterdir()} == {
        ".json",
        ".safetensors",
    }
    resumed = run(tmp_path / "stopped", resume=checkpoint, **options)
    assert same_weights(through.model.state_dict(), resumed.model.state_dict())
    lines = metrics(tmp_path / "through")
    assert lines == metrics(tmp_path / "stopped")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < losses[0]


def test_muon_takes_the_matrices_inside() -> None:
    model = nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4),
            "body": nn.Linear(4, 4),
            "frozen": nn.Linear(4, 4),
            "lm_head": nn.Linear(4, 5),
        }
    )
    model["frozen"].requires_grad_(False)
    muon = build_optimizer("muon", model, lr=0.1, **SETTINGS)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [[names[id(each)] for each in group["params"]] for group in muon.param_groups]
    assert groups == [["body.weight"], ["embed.weight", "lm_head.weight"], ["body.bias", "lm_head.bias"]]
    assert [group["weight_decay"] for group in muon.param_groups] == [0.1, 0.1, 0.0]
    muon.param_groups[0]["lr"] = 0.5  # as a schedule does
    assert muon.both[0].param_groups[0]["lr"] == 0.5  # type: ignore[attr-defined]
    muon.load_state_dict(muon.state_dict())
    muon.param_groups[0]["lr"] = 0.7
    assert muon.both[0].param_groups[0]["lr"] == 0.7  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"optimization\.optimizer: expected trained matrices"):
        build_optimizer("muon", nn.LayerNorm(3), lr=0.1, **SETTINGS)


def test_an_optimizer_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sgd.py").write_text(
        "import torch\ndef build(model, *, lr, betas, weight_decay):\n"
        "    return torch.optim.SGD(model.parameters(), lr=lr)\n"
    )
    monkeypatch.setattr(optimizers, "__path__", [*optimizers.__path__, str(tmp_path)])
    assert "sgd" in OPTIMIZERS.names()
    run(tmp_path / "run", training={"max_steps": 2}, optimizer="sgd")
    sys.modules.pop("edge_glass.training.optimizers.sgd")


def test_an_unknown_optimizer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"adafactor, adamw, adamw_8bit, muon; got 'stone'"):
        build(tmp_path, Regression(), optimizer="stone").train()


# Precision and compilation


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("precision", "capability", "dtype"),
    [
        ("fast", "avx512_bf16", torch.bfloat16),
        ("fast", "avx2", torch.float32),
        ("auto", "avx512_bf16", torch.float32),
        ("bf16", "avx2", torch.bfloat16),
    ],
)
def test_the_precision_inside_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, capability: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, capability: True})
    trainer = run(tmp_path, training={"max_steps": 2, "precision": precision})
    assert trainer.model.dtypes == {dtype}
    assert resolve_precision(precision, "cpu") == ("bf16" if dtype == torch.bfloat16 else "fp32")


@pytest.mark.slow
@pytest.mark.usefixtures("wide")
def test_a_compiled_model_learns_the_same(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", training={"max_steps": 3})
    compiled = run(tmp_path / "compiled", training={"max_steps": 3}, compile=True)
    assert type(compiled.wrapped).__name__ == "OptimizedModule"
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)
