"""The numbers of a run as rows of cells, ready for a template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_glass.config.metrics import metric
from edge_glass.reporting.run_folder import number
from edge_glass.reporting.wording import format_value, metric_label

MODELS = {"baseline": "untouched model", "metrics": "trained"}
"""Key of `results.json` → what the model is called, of the two that every run has."""


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


@dataclass(frozen=True)
class Measured:
    """Metrics of one model on the split.

    Attributes:
        key: Of `results.json`, or of the run compared with.
        heading: In words.
        metrics: Name → {"value", "low", "high"}.
    """

    key: str
    heading: str
    metrics: Mapping[str, Any]


def measured(results: Mapping[str, Any], headings: Mapping[str, str]) -> list[Measured]:
    """Return the models that `results.json` has numbers of.

    Args:
        results: Its content.
        headings: Key → what the model is called, in the order they are shown. What a key holds are the
            metrics, or something that has them as "metrics", such as the most frequent answer.
    """
    parts = {key: results.get(key) or {} for key in headings}
    found = [Measured(key, headings[key], part.get("metrics", part) or {}) for key, part in parts.items()]
    return [one for one in found if one.metrics]


def ordered(metrics: Mapping[str, Any], primary: str, known: Iterable[str]) -> list[str]:
    """Return metrics of the whole split: the primary one, then as in `known`, then others."""
    first = [name for name in dict.fromkeys((primary, *known)) if name in metrics]
    return first + [name for name in metrics if name not in first and "/" not in name]


def metric_rows(models: Sequence[Measured], names: Iterable[str], primary: str) -> list[Row]:
    """Return a row for each metric with a cell for each model, named and noted as in the table of metrics."""
    numbers = [one.metrics for one in models]
    return [
        Row(metric_label(name), cells(numbers, name), primary=name == primary, note=metric(name).note)
        for name in names
    ]


def columns(models: Sequence[Measured]) -> list[tuple[str, str]]:
    """Return key and heading of each model, as the tables of a page have them."""
    return [(one.key, one.heading) for one in models]


def cells(models: Sequence[Mapping[str, Any]], name: str) -> list[Cell]:
    """Put one metric of several models side by side, each as "metrics" in results.json.

    The best is marked, unless another one reads the same; none of a metric that is neither good nor bad.
    """
    higher = metric(name).higher_is_better
    values = [number(model, name) for model in models]
    texts = [format_value(name, value) for value in values]
    known = [value for value in values if value is not None]
    better = (max if higher else min)(known) if known and higher is not None else None
    found = []
    for model, value, text in zip(models, values, texts, strict=True):
        low, high = number(model, name, "low"), number(model, name, "high")
        interval = "" if low is None else f"{format_value(name, low)} – {format_value(name, high)}"
        share = value if value is not None and higher and 0 <= value <= 1 else None
        lead = value is not None and value == better and texts.count(text) == 1
        found.append(Cell(text, interval, share, lead))
    return found


def flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Turn nested mappings into (dotted name, text) pairs."""
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
