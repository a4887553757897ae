"""Measure a finished run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_glass.config import load_config
from edge_glass.errors import CheckpointError
from edge_glass.evaluation.metrics import estimate_retrieval
from edge_glass.evaluation.results import metrics_dict, write_json
from edge_glass.models.artefact import load_model
from edge_glass.tasks.alignment import AlignmentTask


def evaluate_run(
    run: Path, overrides: Sequence[str] = (), split: str = "test", progress: bool = True
) -> dict[str, Any]:
    """Metrics of a finished run with intervals, also written to `evaluation/SPLIT.json`.

    Args:
        run: A run folder.
        overrides: Such as `dataset.test_parquet=other.parquet`.
        split: `val` or `test`.

    Raises:
        CheckpointError: The run is not finished.
    """
    if not (run / "config.yaml").is_file():
        raise CheckpointError(f"{run}: no run here (config.yaml is missing).")
    model = load_model(run / "model")
    config = load_config(run / "config.yaml", overrides)
    task = AlignmentTask(config, progress, model)
    estimates = estimate_retrieval(
        task.retrieval(task.model, split), config.evaluation.bootstrap_samples, config.seed
    )
    results = {"split": split, "rows": len(task.splits[split]), "metrics": metrics_dict(estimates)}
    write_json(run / "evaluation" / f"{split}.json", results)
    return results
