"""The report of a run: one self-contained page, made from what the run folder holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_glass.errors import DataError
from edge_glass.evaluation.retrieval import DIRECTIONS
from edge_glass.reporting.gallery import gallery
from edge_glass.reporting.html import write_page
from edge_glass.reporting.matryoshka import full_dimension, measured_dimensions
from edge_glass.reporting.plots import TrainingVisualizer
from edge_glass.reporting.run_folder import RunFolder, number, write_metrics_csv
from edge_glass.reporting.tables import dimension_rows, flatten, measured_models, metric_rows
from edge_glass.reporting.wording import (
    SIDES,
    closed_form_sentence,
    format_count,
    format_seconds,
    format_value,
    headline,
    left_out_sentence,
    metric_label,
)

logger = logging.getLogger(__name__)

# File name, heading, how to read it.
PLOTS = (
    ("training_curves.png", "Training",
     "Both losses should fall well below the dotted line, where a model that guesses stands. When validation "
     "loss rises while training loss falls, the model is learning its rows by heart."),
    ("mrl_performance.png", "Recall against embedding size",
     "How much of the embedding can be cut off before search suffers. Bands are 95 % intervals; where they "
     "overlap, the difference may be chance."),
    ("similarity_matrix.png", "What looks similar to the model",
     "Left: a bright diagonal means that words and their picture agree, bright stripes that one picture "
     "attracts all words. Right: the two heaps should stand apart."),
    ("embedding_space.png", "Embedding space",
     "Short lines mean that a picture and its words lie close. Two separate clouds are a modality gap. Two "
     "dimensions show only a part of the space."),
    ("embedding_space_tsne.png", "Embedding space, neighbourhoods",
     "t-SNE keeps neighbours together; distances between far groups mean nothing."),
    ("loss_components.png", "Parts of the loss and signs of collapse",
     "A cosine of wrong pairs near 1, or an effective rank near 1, means that everything gets the same "
     "embedding."),
    ("lr_schedule.png", "Learning rate", ""),
)  # fmt: skip


def write_report(run_folder: Path | str) -> Path:
    """Draw the plots, write `metrics.csv` and `report.html`, and return the path of the page.

    A run that is not finished gives a page of what there is; what is missing is named in it.

    Raises:
        DataError: There is no such run folder.
    """
    run = RunFolder(Path(run_folder))
    visualizer = TrainingVisualizer(run)
    visualizer.plot_all()
    write_metrics_csv(run)
    return write_page(run.path / "report.html", "report.html.j2", **report_context(run, visualizer.left_out))


def report_context(run: RunFolder, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Everything the template shows, as plain data."""
    results = run.results
    full = full_dimension(run)
    dimensions = measured_dimensions(results.get("metrics") or {}, full)
    return {
        "name": str(run.config.get("name", run.path.name)),
        "task": str(run.config.get("task", "alignment")),
        "results": results,
        "verdict": results.get("verdict") or {},
        "headline": headline(results) if results else None,
        "closed_form": closed_form_sentence(results),
        "guessing": _guessing(run),
        "tiles": _tiles(run),
        "models": measured_models(results) if results else [],
        "metric_rows": metric_rows(results),
        "dimension_tables": _dimension_tables(results, dimensions, full),
        "data": [left_out_sentence(name, split) for name, split in (results.get("data") or {}).items()],
        "plots": _plots(run),
        "left_out": dict(left_out),
        "galleries": _galleries(run),
        "parameters": _parameters(run),
        "config_text": run.config_text,
        "environment": flatten(run.environment),
        "last_step": run.metrics[-1] if run.metrics else None,
    }


def _tiles(run: RunFolder) -> list[tuple[str, str, str]]:
    """(value, what it is, small print) of the numbers at the top."""
    results = run.results
    metrics, baseline = results.get("metrics") or {}, results.get("baseline") or {}
    tiles = []
    for name in ("i2t_r1", "t2i_r1", "mean_r10", "mean_medr"):
        if (value := number(metrics, name)) is not None:
            before = format_value(name, number(baseline, name))
            tiles.append((format_value(name, value), metric_label(name), f"untouched {before}"))
    if results:
        seconds, samples = results.get("seconds"), results.get("samples")
        speed = f", {format_count(samples / seconds)}/s" if seconds and samples else ""
        tiles.append((format_seconds(seconds), "of training", f"{format_count(samples)} samples{speed}"))
    return tiles


def _guessing(run: RunFolder) -> str | None:
    """What chance alone would give, when the candidates are known."""
    if run.archive is None:
        return None
    images, texts = len(run.archive.image_ids), len(run.archive.captions)
    chance = f"R@1 {1 / texts:.4f}"
    if images != texts:
        chance = f"R@1 {1 / texts:.4f} ({SIDES['i2t']}) and {1 / images:.4f} ({SIDES['t2i']})"
    return (
        f"Measured on {format_count(images)} pictures and {format_count(texts)} captions; "
        f"guessing would give {chance}."
    )


def _dimension_tables(
    results: Mapping[str, Any], dimensions: list[int], full: int | None
) -> list[dict[str, Any]]:
    if len(dimensions) < 2:
        return []
    tables = [
        {"title": metric_label(base), "rows": dimension_rows(results, base, dimensions, full)}
        for base in ("i2t_r1", "t2i_r1")
    ]
    return [table for table in tables if table["rows"]]


def _plots(run: RunFolder) -> list[dict[str, Any]]:
    shown = []
    for name, title, text in PLOTS:
        path = run.plots / name
        if path.is_file():
            shown.append({"title": title, "text": text, "data": path.read_bytes(), "name": name})
    return shown


def _galleries(run: RunFolder) -> list[dict[str, Any]]:
    if run.archive is None:
        return []
    titles = {"i2t": "From pictures to words", "t2i": "From words to pictures"}
    shown = []
    for direction in reversed(DIRECTIONS):
        try:
            chosen = gallery(run.archive, direction)
        except DataError as error:
            logger.warning("no gallery: %s", error)
            continue
        shown.append({"direction": direction, "title": titles[direction], "groups": chosen})
    return shown


def _parameters(run: RunFolder) -> dict[str, Any] | None:
    if not run.parameters:
        return None
    rows = [(name, counts["total"], counts["trained"]) for name, counts in run.parameters.items()]
    return {"rows": rows, "total": sum(r[1] for r in rows), "trained": sum(r[2] for r in rows)}
