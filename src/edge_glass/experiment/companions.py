"""Runs to compare a run with: without the picture, and plain decoders of a TRM's size and compute."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_glass.config import ExperimentConfig
from edge_glass.config.overrides import merged
from edge_glass.evaluation.results import read_results
from edge_glass.experiment.own_process import alone
from edge_glass.experiment.report import write_report
from edge_glass.reporting.wording import headline

FOLDER = "compared"
RESULTS = "results.json"

logger = logging.getLogger(__name__)


def companion_config(config: ExperimentConfig, kind: str) -> ExperimentConfig:
    """The same experiment but for one thing.

    Args:
        config: The experiment; for same_size and same_compute its decoder is a trm.
        kind: One of `evaluation.compare_with`.
    """
    decoder = config.decoder
    recursion = decoder.recursion
    applied = recursion.supervision_steps * recursion.cycles * (recursion.refinements + 1)
    plain = {"kind": "plain", "recursion": type(recursion)().model_dump()}
    changes: dict[str, Any] = {
        "blind": {"prefix": {"blind": True}},
        "same_size": {"decoder": plain},
        "same_compute": {"decoder": plain | {"size": {"layers": decoder.size.layers * applied}}},
    }
    alone_like = {"name": f"{config.name}-{kind}", "evaluation": {"compare_with": []}}
    return ExperimentConfig.model_validate(merged(merged(config.model_dump(), changes[kind]), alone_like))


def run_companions(
    config: ExperimentConfig, folder: Path, train: Callable[..., object], progress: bool
) -> None:
    """Run what has not been run yet, and write the report again with all of them.

    Args:
        config: The experiment, which has been run.
        folder: Its run folder; companions go to `compared/NAME` in it.
        train: A module-level function of (config, folder, progress) that goes on where it stopped.
        progress: Show progress bars.
    """
    asked: list[str] = getattr(config.evaluation, "compare_with", [])  # only tasks that have companions say
    left = [kind for kind in asked if not (folder / FOLDER / kind / RESULTS).exists()]
    writes = os.environ.get("RANK", "0") == "0"
    if left and writes:
        logger.info("%s; report in %s", headline(read_results(folder / RESULTS)), folder / "report.html")
    for number, kind in enumerate(left, 1):
        where = folder / FOLDER / kind
        if writes:
            logger.info("to compare it with: %s (%d of %d) in %s", kind, number, len(left), where)
        if "RANK" in os.environ:
            train(companion_config(config, kind), where, progress)
        else:  # in a process of its own, as an ablation's runs
            alone(train, companion_config(config, kind), where, progress)
    if asked and writes:
        write_report(folder)
