"""The numbers of a run as rows of cells, ready for a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_glass.alignment.measure.metrics import MEASURES
from edge_glass.evaluation.metrics import higher_is_better
from edge_glass.reporting.run_folder import number
from edge_glass.reporting.wording import format_value, measured_sides, metric_label

MODELS = (("baseline", "untouched model"), ("closed_form", "closed form"), ("metrics", "trained"))


@dataclass(frozen=True)
class Cell:
    """A number as text, its interval as text, and the share (0 to 1) of the bar behind it (None: no bar)."""

    text: str
    interval: str = ""
    share: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A labelled row; `first` starts a new block, `note` stands small under the label."""

    label: str
    cells: list[Cell]
    first: bool = False
    primary: bool = False
    note: str = ""


def measured_models(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key in results.json, heading) of the models that were measured, in the order they are shown."""
    return [(key, heading) for key, heading in MODELS if results.get(key)]


def metric_rows(results: Mapping[str, Any]) -> list[Row]:
    """Mean and all directions at the full dimension; then any metric with another name."""
    metrics = results.get("metrics") or {}
    known = [f"{side}_{measure}" for side in ("mean", *measured_sides(metrics)) for measure in MEASURES]
    names = [name for name in known if name in metrics]
    names += [name for name in metrics if name not in names and "@" not in name]
    return _rows(results, names)


def folded_rows(results: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """`metric_rows` in two parts: to show, and to fold away (R@5, median ranks) where directions are many."""
    metrics = results.get("metrics") or {}
    primary = str((results.get("verdict") or {}).get("metric", ""))
    folded = [
        f"{side}_{measure}" for side in ("mean", *measured_sides(metrics)) for measure in ("r5", "medr")
    ]
    if len(measured_sides(metrics)) <= 2 or primary in folded:
        return metric_rows(results), []
    rest = {name: entry for name, entry in metrics.items() if name not in folded}
    kept = [name for name in folded if name in metrics]
    return metric_rows({**results, "metrics": rest}), _rows(results, kept)


def _rows(results: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
    primary = (results.get("verdict") or {}).get("metric")
    rows: list[tuple[str, Row]] = []
    for name in names:
        first = name.partition("_")[0] != (rows[-1][0].partition("_")[0] if rows else None)
        rows.append((name, Row(metric_label(name), _cells(results, [name]), first, name == primary)))
    return [row for _, row in rows]


def dimension_rows(
    results: Mapping[str, Any], base: str, dimensions: Sequence[int], full: int | None
) -> list[Row]:
    """One metric at every dimension, the full one first."""
    rows = []
    for dim in dimensions:
        name = base if dim == full else f"{base}@{dim}"
        if number(results.get("metrics") or {}, name) is not None:
            rows.append(Row(f"{dim:,}", _cells(results, [name])))
    return rows


def _cells(results: Mapping[str, Any], names: Sequence[str]) -> list[Cell]:
    models = [results[key] for key, _ in measured_models(results)]
    return [cell for name in names for cell in cells(models, name)]


def cells(models: Sequence[Mapping[str, Any]], name: str) -> list[Cell]:
    """One metric of several models side by side, each as "metrics" in results.json.

    The best is marked, unless another one reads the same.
    """
    values = [number(model, name) for model in models]
    texts = [format_value(name, value) for value in values]
    known = [value for value in values if value is not None]
    better = (max if higher_is_better(name) else min)(known) if known else None
    found = []
    for model, value, text in zip(models, values, texts, strict=True):
        low, high = number(model, name, "low"), number(model, name, "high")
        interval = "" if low is None else f"{format_value(name, low)} – {format_value(name, high)}"
        share = value if value is not None and higher_is_better(name) and 0 <= value <= 1 else None
        lead = value is not None and value == better and texts.count(text) == 1
        found.append(Cell(text, interval, share, lead))
    return found


def flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (dotted name, text) pairs."""
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            rows.append((name, ", ".join(map(str, value))))
        else:
            rows.append((name, "–" if value is None else str(value)))
    return rows
