"""The numbers of a detection run as rows of cells, ready for a template, a plot or a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_glass.config.metrics import metric
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import Cell, Row, cells
from edge_glass.reporting.wording import DETECTION_WORDS, metric_label

MODELS = (
    ("baseline", "untouched model"),
    ("average_box", "always the average box"),
    ("metrics", "trained"),
)


def primary_metric(run: RunFolder) -> str:
    """The metric that decides: of the verdict, else of the config."""
    evaluation = run.config.get("evaluation")
    chosen = evaluation.get("primary_metric") if isinstance(evaluation, dict) else None
    return str((run.results.get("verdict") or {}).get("metric") or chosen or "mean_iou")


def measured(run: RunFolder) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(key, heading, metrics) of the models with numbers."""
    found = {key: run.results.get(key) or {} for key, _ in MODELS}
    found["average_box"] = found["average_box"].get("metrics") or {}
    return [(key, heading, found[key]) for key, heading in MODELS if found[key]]


def ordered_metrics(metrics: Mapping[str, Any], primary: str) -> list[str]:
    """The primary one first, then in the order of `DETECTION_WORDS`, then others."""
    known = [name for name in dict.fromkeys((primary, *DETECTION_WORDS)) if name in metrics]
    return known + [name for name in metrics if name not in known]


def metric_rows(run: RunFolder) -> list[Row]:
    """A row for each metric, a cell for each of `measured`."""
    primary = primary_metric(run)
    models = [metrics for _, _, metrics in measured(run)]
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
