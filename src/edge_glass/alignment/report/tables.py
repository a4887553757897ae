"""The numbers of an alignment run: rows of cells, by direction and by dimension, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edge_glass.alignment.measure.metrics import MEASURES
from edge_glass.alignment.report.sides import archive_of, measured_sides
from edge_glass.reporting import tables
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.tables import Row, cells, measured
from edge_glass.reporting.wording import difference_words, format_value, metric_label

MODELS = {"baseline": "untouched model", "closed_form": "closed form", "metrics": "trained"}


def metric_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return mean and all directions at the full dimension; then any metric with another name."""
    metrics = results.get("metrics") or {}
    known = [f"{side}_{measure}" for side in ("mean", *measured_sides(metrics)) for measure in MEASURES]
    names = [name for name in known if name in metrics]
    names += [name for name in metrics if name not in names and "@" not in name]
    return _rows(results, names)


def folded_rows(results: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """Split `metric_rows`: to show, and to fold away (R@5, median ranks) where directions are many."""
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
    """Return a row for each metric; a new block begins with each direction."""
    primary = str((results.get("verdict") or {}).get("metric", ""))
    rows = tables.metric_rows(measured(results, MODELS), names, primary)
    sides = [name.partition("_")[0] for name in names]
    return [
        replace(row, first=side != before)
        for row, side, before in zip(rows, sides, ["", *sides], strict=False)
    ]


def dimension_rows(
    results: Mapping[str, Any], base: str, dimensions: Sequence[int], full: int | None
) -> list[Row]:
    """Return one metric at every dimension, the full one first."""
    models = [one.metrics for one in measured(results, MODELS)]
    names = {dim: base if dim == full else f"{base}@{dim}" for dim in dimensions}
    return [
        Row(f"{dim:,}", cells(models, name))
        for dim, name in names.items()
        if number(results.get("metrics") or {}, name) is not None
    ]


def full_dimension(run: RunFolder) -> int | None:
    """Return the width of the full embedding, from the embeddings or the config."""
    archive = archive_of(run)
    if archive is not None:
        return int(archive.image_embeddings.shape[1])
    width = run.section("vision_encoder").get("projection_dim")
    return int(width) if isinstance(width, int) else None


def measured_dimensions(metrics: dict[str, Any], full: int | None) -> list[int]:
    """Return the dimensions that results.json speaks of, descending; `full` first, when known."""
    smaller = {int(name.partition("@")[2]) for name in metrics if name.partition("@")[2].isdigit()}
    return sorted(smaller | ({full} if full is not None else set()), reverse=True)


def closed_form_sentence(results: Mapping[str, Any]) -> str | None:
    """Say whether training beat the closed form, plainly; None when that was not measured."""
    verdict = results.get("closed_form_verdict")
    if not isinstance(verdict, Mapping):
        return None
    metric = str(verdict.get("metric", ""))
    trained = format_value(metric, number(results.get("metrics") or {}, metric))
    closed = format_value(metric, number(results.get("closed_form") or {}, metric))
    numbers = f"{metric_label(metric)} {trained} against {closed} ({difference_words(verdict)})"
    opening = {
        "improved": "Training beat the closed form",
        "worse": "Training did not beat the closed form, which is better and takes seconds",
    }.get(str(verdict.get("status")), "Training and the closed form cannot be told apart")
    return f"{opening}: {numbers}."
