"""The numbers of a detection run as rows of cells, ready for a template, a plot or a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_glass.config.metrics import metric
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import Cell, Row, cells, measured, ordered
from edge_glass.reporting.wording import DETECTION_WORDS, metric_label

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
    return ordered(metrics, primary, DETECTION_WORDS)


def metric_rows(run: RunFolder) -> list[Row]:
    """A row for each metric, a cell for each of `measured`."""
    primary = primary_metric(run)
    models = [one.metrics for one in measured(run.results, MODELS)]
    return [
        Row(
            metric_label(name),
            _cells(models, name),
            primary=name == primary,
            note=metric(name).note,
        )
        for name in ordered_metrics(run.results.get("metrics") or {}, primary)
    ]


def _cells(models: list[Mapping[str, Any]], name: str) -> list[Cell]:
    found = cells(models, name)
    higher = metric(name).higher_is_better
    if higher is None:  # neither good nor bad
        return [replace(cell, share=None, best=False) for cell in found]
    return found if higher else [replace(cell, share=None) for cell in found]
