"""Measure a finished run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_glass.config import load_config
from edge_glass.core.errors import CheckpointError
from edge_glass.evaluation.results import metrics_dict, write_json
from edge_glass.tasks.registry import task_kind


def evaluate(
    run: Path, overrides: Sequence[str] = (), split: str = "test", progress: bool = True
) -> dict[str, Any]:
    """Measure a finished run again; see `edge_glass.evaluate`."""
    if not (run / "config.yaml").is_file():
        raise CheckpointError(
            f"{run}: expected a run folder with config.yaml, got none; give one that `edge-glass train` wrote"
        )
    config = load_config(run / "config.yaml", overrides)
    kind = task_kind(config.task)
    task = kind.experiment(config, progress, kind.load_trained(config, run / "model"))
    estimates = task.estimates(task.measure(split), split)
    results = {
        "split": split,
        "task": config.task,
        "rows": len(task.splits[split]),
        "metrics": metrics_dict(estimates),
    }
    write_json(run / "evaluation" / f"{split}.json", results)
    return results
