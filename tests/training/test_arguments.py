"""From the experiment file to steps and `TrainingArguments`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.utils import logging as transformers_logging

from edge_glass.config import ExperimentConfig
from edge_glass.training.arguments import LOG_LINES, TrainingPlan, resolve_precision, training_arguments


def experiment(**sections: dict[str, Any]) -> ExperimentConfig:
    """A config with these sections."""
    return ExperimentConfig.model_validate({"name": "x", **sections})


def arguments(config: ExperimentConfig, rows: int = 100) -> Any:
    """`TrainingArguments` of a config."""
    return training_arguments(config, TrainingPlan.of(config, rows), Path("c"), "mean_r1", True)


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "epochs", "steps_per_epoch", "total"),
    [
        (100, 10, 1, 3, 10, 30),
        (101, 10, 1, 3, 11, 33),  # the last batch is a small one
        (99, 10, 4, 2, 3, 6),  # 10 batches: 4 + 4 + 2
        (5, 10, 1, 3, 1, 3),
        (32, 8, 8, 1, 1, 1),
    ],
)
def test_steps(
    rows: int, batch: int, accumulation: int, epochs: int, steps_per_epoch: int, total: int
) -> None:
    config = experiment(
        dataset={"batch_size": batch},
        training={"gradient_accumulation_steps": accumulation, "epochs": epochs},
    )
    plan = TrainingPlan.of(config, rows)
    assert (plan.steps_per_epoch, plan.total_steps) == (steps_per_epoch, total)


def test_two_processes_share_the_rows() -> None:
    config = experiment(dataset={"batch_size": 10}, training={"epochs": 1})
    assert TrainingPlan.of(config, 100, world_size=2).total_steps == 5


def test_rows_of_different_kinds_make_more_batches() -> None:
    config = experiment(dataset={"batch_size": 10}, training={"epochs": 2})
    kinds = np.array([0] * 91 + [3] * 9)
    assert TrainingPlan.of(config, 100, kinds=kinds).total_steps == 22


def test_processes_wait_for_each_other_but_not_for_ever() -> None:
    config = experiment(training={"device": "cpu"})
    plan = TrainingPlan.of(config, 100)
    made = training_arguments(config, plan, Path("c"), "mean_r1", True, timeout_seconds=90.5)
    assert made.ddp_timeout == 91 and arguments(config).ddp_timeout == 600
    assert made.ddp_find_unused_parameters is False and made.ddp_broadcast_buffers is False
    assert made.ddp_backend is None and made.world_size == 1


@pytest.mark.parametrize(
    ("training", "evaluations"),
    [
        ({"epochs": 4}, 10),
        ({"epochs": 4, "eval_epochs": 0.5}, 5),
        ({"epochs": 4, "eval_epochs": 0.001}, 1),
        ({"epochs": 4, "eval_epochs": 9.0}, 40),  # rarer than the run is long: at its end
        ({"epochs": 4, "max_steps": 7}, 7),
    ],
)
def test_when_it_is_measured(training: dict[str, Any], evaluations: int) -> None:
    plan = TrainingPlan.of(experiment(dataset={"batch_size": 10}, training=training), 100)
    assert plan.eval_steps == evaluations


def test_about_two_hundred_log_lines() -> None:
    config = experiment(dataset={"batch_size": 2}, training={"epochs": 100})
    plan = TrainingPlan.of(config, 1000)
    assert plan.total_steps // plan.logging_steps == LOG_LINES
    assert TrainingPlan.of(experiment(training={"epochs": 1}), 64).logging_steps == 1
    assert TrainingPlan.of(experiment(training={"logging_steps": 7}), 64).logging_steps == 7


def test_every_setting_arrives() -> None:
    made = arguments(
        experiment(
            seed=3,  # type: ignore[arg-type]
            dataset={"batch_size": 16, "num_workers": 2},
            optimization={
                "lr": 3e-4,
                "weight_decay": 0.2,
                "betas": [0.8, 0.9],
                "max_grad_norm": 2.0,
                "warmup_ratio": 0.25,
            },
            training={"gradient_accumulation_steps": 2, "epochs": 3, "device": "cpu"},
        )
    )
    assert made.seed == 3
    assert (made.per_device_train_batch_size, made.dataloader_num_workers) == (16, 2)
    assert (made.learning_rate, made.weight_decay) == (3e-4, 0.2)
    assert (made.adam_beta1, made.adam_beta2, made.max_grad_norm) == (0.8, 0.9, 2.0)
    assert made.get_warmup_steps(100) == 25
    assert made.gradient_accumulation_steps == 2
    assert made.max_steps == 12
    assert made.lr_scheduler_type == "cosine"
    assert not made.logging_nan_inf_filter
    assert made.report_to == []
    assert made.use_cpu


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("cosine", 0.1, "cosine"),
        ("linear", 0.0, "linear"),
        ("constant", 0.1, "constant_with_warmup"),
        ("constant", 0.0, "constant"),
    ],
)
def test_schedules(schedule: str, warmup: float, expected: str) -> None:
    made = arguments(experiment(optimization={"schedule": schedule, "warmup_ratio": warmup}))
    assert made.lr_scheduler_type == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_taken_at_its_word(precision: str) -> None:
    made = arguments(experiment(training={"precision": precision, "device": "cpu"}))
    assert made.bf16 == (precision == "bf16") and not made.fp16


def test_auto_precision_on_a_cpu() -> None:
    assert resolve_precision("auto", "cpu") == "fp32"


@pytest.mark.parametrize(
    ("has_bf16", "device", "expected"),
    [(True, "auto", "bf16"), (False, "auto", "fp32"), (True, "cpu", "fp32")],
)
def test_auto_precision_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, device: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert resolve_precision("auto", device) == expected


def test_the_library_is_told_to_be_quiet() -> None:
    made = arguments(experiment())
    assert made.disable_tqdm and made.get_process_log_level() == transformers_logging.ERROR
