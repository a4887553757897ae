"""What the page of a run of answers shows: numbers by type, companions, answers to look at."""

from __future__ import annotations

from typing import Any

from edge_glass.instruction.report.companions import is_graded, primary_metric
from edge_glass.instruction.report.gallery import answer_gallery, graded_histories
from edge_glass.instruction.report.tables import (
    Part,
    compared_lines,
    measured_models,
    metric_rows,
    mistakes,
    part_metric,
    part_rows,
)
from edge_glass.instruction.report.wording import blind_sentence, frequent_sentence, shares_sentence
from edge_glass.reporting.page import Tile, metric_tiles
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import columns
from edge_glass.reporting.wording import metric_label

PART_TITLES: dict[Part, str] = {"type": "By type of answer", "source": "By source"}


def answers_context(run: RunFolder) -> dict[str, Any]:
    """Return what stands in `answers.html.j2` beside what every run has."""
    sentences = (shares_sentence(run), blind_sentence(run), frequent_sentence(run))
    return {
        "notes": [sentence for sentence in sentences if sentence],
        "tiles": _tiles(run),
        "metric": metric_label(primary_metric(run)),
        "models": columns(measured_models(run)),
        "metric_rows": metric_rows(run),
        "numbers_of": "written answers",
        "parts": _parts(run),
        "compared": compared_lines(run),
        "mistakes": mistakes(run),
        "gallery": answer_gallery(run),
        "histories": graded_histories(run),
    }


def _tiles(run: RunFolder) -> list[Tile]:
    """Return the numbers at the top."""
    primary = primary_metric(run)
    beside = next(name for name in ("token_f1", "rouge_l") if name != primary)
    names = (primary, beside if is_graded(primary) else "exact_match", "never_ended")
    return metric_tiles(run, dict.fromkeys(names))


def _parts(run: RunFolder) -> list[dict[str, Any]]:
    """Return tables by type and by source, where there are several."""
    metrics = run.results.get("metrics") or {}
    models = columns(measured_models(run, blind=True))
    tables = []
    for part, title in PART_TITLES.items():
        metric = part_metric(metrics, part, primary_metric(run))
        if metric is not None:
            rows = part_rows(run, part, metric)
            tables.append({"title": title, "metric": metric_label(metric), "models": models, "rows": rows})
    return tables
