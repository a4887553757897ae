"""Ablations: every variant with every seed, each a run of its own, compared in one table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_glass.config import ExperimentConfig, dump_config, variant_config
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.evaluation.results import read_results
from edge_glass.experiment.folder import changed_rows, run_folder_of
from edge_glass.experiment.run import run_apart
from edge_glass.reporting.ablation import write_ablation_report

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AblationResult:
    """All runs of an ablation.

    Attributes:
        rows: A mapping for each run: `variant`, `seed`, `metrics` as in `results.json`, and what it cost.
        page: The page that compares them; a table and a plot are beside it.
    """

    rows: list[dict[str, Any]]
    page: Path


def ablate(
    config: ExperimentConfig,
    output: Path | None = None,
    progress: bool = True,
    show: Callable[[str], object] = logger.info,
) -> AblationResult:
    """Run what has not been run yet; see `edge_glass.ablate`.

    Args:
        show: Is called with a line for each run when its numbers are there.
    """
    if config.ablation is None:
        raise ConfigError(
            f"{config.name}: expected an `ablation` section, got none; list the variants to run in one"
        )
    folder = run_folder_of(config, output)
    rows = []
    for variant in config.ablation.variants:
        for seed in config.ablation.seeds:
            chosen = variant_config(config, variant, seed)
            row = _run(chosen, folder / f"{variant}-seed{seed}", progress)
            rows.append(row | {"variant": variant, "seed": seed})
            values = (f"{name} {row['metrics'][name]['value']:.3f}" for name in config.ablation.metrics)
            show(f"{variant} seed {seed}: {'  '.join(values)}")
    return AblationResult(rows, write_ablation_report(folder, rows, list(config.ablation.metrics)))


def _run(config: ExperimentConfig, folder: Path, progress: bool) -> dict[str, Any]:
    """Run one variant, unless it is finished, and return its numbers and costs."""
    written = folder / "config.yaml"
    if written.exists() and written.read_text(encoding="utf-8") != dump_config(config):
        raise ConfigError(
            f"{written}: expected the configuration that would be run now, got another one; "
            "choose another folder with --output DIR, or delete this one"
        )
    if not (folder / "results.json").exists():
        run_apart(config, folder, progress)
    elif changed := changed_rows(folder, config):
        raise DataError(
            f"{folder} was trained with other rows: {', '.join(changed)}. Bring the old ones back, choose "
            "another folder with --output DIR, or delete this one"
        )
    results = read_results(folder / "results.json")
    return {"metrics": results["metrics"], "seconds": results["seconds"], **results.get("cost", {})}
