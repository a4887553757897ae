"""The numbers of a detection run: which models, which metrics, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_glass.reporting import tables
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import Measured, Row
from edge_glass.reporting.wording import DETECTION_WORDS

MODELS = {
    "baseline": "untouched model",
    "average_box": "always the average box",
    "metrics": "trained",
}


def primary_metric(run: RunFolder) -> str:
    """Return the metric that decides."""
    return run.primary_metric("mean_iou")


def ordered_metrics(metrics: Mapping[str, Any], primary: str) -> list[str]:
    """Return the primary metric first, then the others in the order of the table of metrics."""
    return tables.ordered(metrics, primary, DETECTION_WORDS)


def measured_models(run: RunFolder) -> list[Measured]:
    """Return the models with numbers, weakest first."""
    return tables.measured(run.results, MODELS)


def metric_rows(run: RunFolder) -> list[Row]:
    """Return a row for each metric, a cell for each of `measured_models`."""
    primary = primary_metric(run)
    names = ordered_metrics(run.results.get("metrics") or {}, primary)
    return tables.metric_rows(measured_models(run), names, primary)
