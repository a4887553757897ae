"""Checks across fields for every task."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.registry import Registry

OPTIMIZERS = Registry("edge_glass.training.optimizers", "optimizer")
TRACKERS = Registry("edge_glass.training.trackers", "tracker")
OTHER_TRACKERS = ("aim", "clearml", "comet_ml", "dvclive", "swanlab")  # by their names, through accelerate


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


def optimizer_kind(config: ExperimentConfig) -> Iterator[Problem]:
    """The optimizer is one of ours."""
    known, kind = OPTIMIZERS.names(), config.optimization.optimizer
    if kind not in known:
        yield Problem(("optimization", "optimizer"), f"expected one of {', '.join(known)}; got {kind!r}")


def tracker_kinds(config: ExperimentConfig) -> Iterator[Problem]:
    """Trackers are ours, or those that accelerate knows besides."""
    known = sorted({*TRACKERS.names(), *OTHER_TRACKERS})
    for name in config.training.report_to:
        if name not in known:
            yield Problem(("training", "report_to"), f"expected some of {', '.join(known)}; got {name!r}")


def tracker_packages(config: ExperimentConfig) -> Iterator[Problem]:
    """A tracker that is asked for is installed; its package has its name."""
    for name in config.training.report_to:
        if importlib.util.find_spec(name) is None:
            package = "'edge-glass[wandb]'" if name == "wandb" else name
            yield Problem(
                ("training", "report_to"),
                f"asks for {name}, which is not installed; pip install {package}, or leave {name} out",
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
