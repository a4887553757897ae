"""Checks across fields for every task."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig


def optimizer(config: ExperimentConfig) -> Iterator[Problem]:
    """AdamW diverges or divides by zero outside of [0, 1)."""
    for index, beta in enumerate(config.optimization.betas):
        if not 0.0 <= beta < 1.0:
            yield Problem(
                ("optimization", "betas", index), f"expected a number of at least 0 and below 1, found {beta}"
            )


def precision(config: ExperimentConfig) -> Iterator[Problem]:
    """fp16 needs a GPU's loss scaling."""
    if config.training.device == "cpu" and config.training.precision == "fp16":
        yield Problem(
            ("training", "precision"),
            "is fp16, which does not train on a CPU (training.device); use auto or bf16",
        )


def loggers(config: ExperimentConfig) -> Iterator[Problem]:
    """A logger that is asked for is installed."""
    if "wandb" in config.training.report_to and importlib.util.find_spec("wandb") is None:
        yield Problem(
            ("training", "report_to"),
            "asks for wandb, which is not installed; pip install 'edge-glass[wandb]', or leave wandb out",
        )


def split_shares(config: ExperimentConfig) -> Iterator[Problem]:
    """Something is left to train on after the splits without a file of their own are taken off."""
    dataset = config.dataset
    own_val = dataset.val_parquet or dataset.val_conversations or dataset.val
    own_test = dataset.test_parquet or dataset.test_conversations or dataset.test
    parts = {
        "val_fraction": 0.0 if own_val else dataset.val_fraction,
        "test_fraction": 0.0 if own_test else dataset.test_fraction,
    }
    if sum(parts.values()) >= 1.0:
        yield Problem(
            ("dataset", "val_fraction"),
            f"{parts['val_fraction']:g} and test_fraction {parts['test_fraction']:g} leave nothing to train "
            "on; together they must stay below 1",
        )
