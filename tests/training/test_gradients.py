"""Gradient norms by component, and the check that gradients are where they belong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from regression_task import Network, Regression, build, metrics, run, same_weights
from stock_training import Parts, stock_trainer
from torch import nn
from transformers import TrainerCallback

from edge_glass.core.errors import TrainingError
from edge_glass.training.callbacks import MetricsLog
from edge_glass.training.gradients import (
    GradientCheck,
    GradNormCallback,
    component_norms,
    gradient_problems,
)


def first_part(name: str) -> str:
    """`eye.weight` → `eye`."""
    return name.partition(".")[0]


def squares(line: dict[str, Any], prefix: str) -> float:
    return sum(value**2 for name, value in line.items() if name.startswith(f"{prefix}grad_norm/"))


class TestNorms:
    def test_of_each_component(self) -> None:
        model = Parts()
        model(torch.ones(2, 4), torch.ones(2))["loss"].backward()
        norms = component_norms(model, first_part)
        assert list(norms) == ["eye", "mouth"]  # the others are frozen
        eye = math.hypot(float(model.eye.weight.grad.norm()), float(model.eye.bias.grad.norm()))
        assert norms["eye"] == pytest.approx(eye)

    @pytest.mark.parametrize("clip", [0.0, 0.01, 1e9])
    def test_they_add_up_to_what_the_stock_trainer_logs(self, tmp_path: Path, clip: float) -> None:
        trainer = stock_trainer(tmp_path, GradNormCallback(first_part), max_grad_norm=clip)
        trainer.train()
        lines = [line for line in trainer.state.log_history if "loss" in line]
        assert len(lines) == 6
        for line in lines:
            assert {name for name in line if "/" in name} == {"grad_norm/eye", "grad_norm/mouth"}
            assert line["grad_norm"] > 0.01
            assert math.sqrt(squares(line, "")) == pytest.approx(line["grad_norm"], rel=1e-4)

    def test_in_the_stock_trainer_later_callbacks_see_them(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path / "metrics.jsonl")
        stock_trainer(tmp_path, GradNormCallback(first_part), log, num_train_epochs=1).train()
        lines = metrics(tmp_path)
        assert ["grad_norm/eye" in line for line in lines] == [True] * 3 + [False]  # then the summary

    def test_in_our_trainer(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        folder.mkdir()
        trainer = build(folder, Regression(), training={"logging_steps": 3})
        trainer.callbacks.insert(0, GradNormCallback(first_part))
        trainer.train()
        lines = [line for line in metrics(folder) if "train/loss" in line]
        assert [line["step"] for line in lines] == [1, 3, 6, 9, 12]
        for line in lines:
            assert {name for name in line if "norm/" in name} == {
                "train/grad_norm/body",
                "train/grad_norm/scale",
            }
            assert math.sqrt(squares(line, "train/")) == pytest.approx(line["train/grad_norm"], rel=1e-4)

    def test_every_so_many_steps(self, tmp_path: Path) -> None:
        trainer = stock_trainer(tmp_path, GradNormCallback(first_part, every=4))
        trainer.train()
        history = [line for line in trainer.state.log_history if "loss" in line]
        assert [line["step"] for line in history if "grad_norm/eye" in line] == [1, 4]

    def test_with_accumulation(self, tmp_path: Path) -> None:
        options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
        trainer = stock_trainer(tmp_path, GradNormCallback(first_part), **options)
        trainer.train()
        for line in (line for line in trainer.state.log_history if "loss" in line):
            assert math.sqrt(squares(line, "")) == pytest.approx(line["grad_norm"], rel=1e-4)

    def test_training_is_left_alone(self, tmp_path: Path) -> None:
        plain, watched = tmp_path / "plain", tmp_path / "watched"
        one = run(plain, dropout=0.1)
        watched.mkdir()
        other = build(watched, Regression(), GradNormCallback(first_part), GradientCheck(), dropout=0.1)
        other.train()
        assert same_weights(one.model.state_dict(), other.model.state_dict())


class Detached(Parts):
    """Its eye is cut off from the loss, as re-entrant checkpointing does."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = self.eye(x).detach()
        guess = self.mouth(self.middle(seen).relu()).squeeze(-1)
        return {"loss": (guess - y).square().mean()}


class Unchanged(TrainerCallback):
    """Remembers the weights before the first step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = {name: value.clone() for name, value in kwargs["model"].state_dict().items()}


class TestCheck:
    def test_a_sound_model_passes(self, tmp_path: Path) -> None:
        stock_trainer(tmp_path, GradientCheck()).train()
        run_folder = tmp_path / "run"
        run_folder.mkdir()
        build(run_folder, Regression(), GradientCheck()).train()

    def test_a_zero_gradient_is_one(self, tmp_path: Path) -> None:
        """That of LoRA's A at the start, whose B is zero."""
        model = Parts()
        nn.init.zeros_(model.mouth[1].weight)
        model(torch.ones(2, 4), torch.ones(2))["loss"].backward()
        assert not model.eye.weight.grad.any()
        assert not any(gradient_problems(model).values())
        stock_trainer(tmp_path, GradientCheck(), model=model).train()

    def test_a_detached_part_is_named_before_weights_change(self, tmp_path: Path) -> None:
        unchanged, model = Unchanged(), Detached()
        with pytest.raises(TrainingError) as caught:
            stock_trainer(tmp_path, unchanged, GradientCheck(), model=model).train()
        said = str(caught.value)
        assert said.startswith("step 1: 2 trained parameter(s) with no gradient: eye.weight, eye.bias.\n")
        assert "re-entrant checkpointing" in said
        assert same_weights(unchanged.before, model.state_dict())

    def test_it_looks_at_the_whole_accumulated_step(self, tmp_path: Path) -> None:
        options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        with pytest.raises(TrainingError, match=r"^step 1: "):
            stock_trainer(tmp_path, GradientCheck(), model=Detached(), **options).train()

    def test_it_looks_again_after_a_resume(self, tmp_path: Path) -> None:
        check = GradientCheck()
        trainer = stock_trainer(tmp_path, check, num_train_epochs=1)
        trainer.train()
        trainer.model.eye.requires_grad_(False)
        trainer.model.unused.requires_grad_(True)
        with pytest.raises(TrainingError, match="2 trained parameter"):
            trainer.train()

    def test_a_gradient_on_something_frozen(self) -> None:
        model = Parts()
        model(torch.ones(2, 4), torch.ones(2))["loss"].backward()
        model.eye.requires_grad_(False)
        assert gradient_problems(model)["a gradient"] == ["eye.weight", "eye.bias"]

    def test_a_gradient_that_is_not_finite(self) -> None:
        model = Network()
        model(torch.ones(2, 6).double()).sum().backward()
        model.scale.grad.fill_(float("inf"))
        assert gradient_problems(model)["a gradient that is not finite"] == ["scale"]
        assert not any(gradient_problems(model, finite=False).values())

    def test_many_names_are_cut(self, tmp_path: Path) -> None:
        model = Parts()
        model.more = nn.ModuleList(nn.Linear(1, 1) for _ in range(10))
        with pytest.raises(TrainingError, match=r"20 trained parameter.*more\.3\.bias, …\.") as caught:
            stock_trainer(tmp_path, GradientCheck(), model=model).train()
        assert "more.4" not in str(caught.value)
