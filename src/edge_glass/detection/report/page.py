"""What the page of a detection run shows: numbers, what happened, and boxes to look at."""

from __future__ import annotations

from typing import Any

from edge_glass.detection.report.gallery import detection_gallery
from edge_glass.detection.report.matching import count_outcomes, detections_of
from edge_glass.detection.report.tables import measured_models, metric_rows, primary_metric
from edge_glass.detection.report.wording import (
    convention_sentence,
    found_sentence,
    problems_sentence,
)
from edge_glass.reporting.answer_history import answer_histories
from edge_glass.reporting.page import metric_tiles
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import columns

TILES = ("f1_50", "unparsable", "never_ended")


def detection_context(run: RunFolder) -> dict[str, Any]:
    """Return what stands in `detection.html.j2` beside what every run has."""
    sentences = (found_sentence(run), problems_sentence(run), convention_sentence(run))
    return {
        "notes": [sentence for sentence in sentences if sentence],
        "tiles": metric_tiles(run, dict.fromkeys((primary_metric(run), "mean_iou", *TILES))),
        "models": columns(measured_models(run)),
        "metric_rows": metric_rows(run),
        "numbers_of": "boxes",
        "outcomes": count_outcomes(detections_of(run)),
        "gallery": detection_gallery(run),
        "histories": answer_histories(run, lambda said, right: said.split() == right.split() or None),
    }
