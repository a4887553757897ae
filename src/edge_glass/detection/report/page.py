"""What the page of a detection run shows: numbers, what happened, and boxes to look at."""

from __future__ import annotations

from typing import Any

from edge_glass.detection.report.gallery import detection_gallery
from edge_glass.detection.report.matching import count_outcomes, detections_of
from edge_glass.detection.report.tables import measured, metric_rows, primary_metric
from edge_glass.detection.report.wording import (
    convention_sentence,
    found_sentence,
    problems_sentence,
)
from edge_glass.reporting.courses import sample_courses
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.run_page import PlotText, metric_tiles, shown_plots

HISTOGRAM = "iou_histogram.png"
PLOTS: tuple[PlotText, ...] = (
    ("training_curves.png", "Training",
     "Left: how surprised the model is by the right answer; 0 is no surprise at all. When validation loss "
     "rises while training loss falls, the model is learning its rows by heart. Right: most tokens of an "
     "answer are brackets and names, which are soon guessed; the digits are what is hard."),
    ("detection_metrics.png", "Boxes while it learned",
     "The model writes whole answers to some validation pictures and is told nothing. A loss that falls "
     "while these stay where they are is a sign of labels that do not fit the pictures."),
    ("box_coordinates.png", "Where the boxes are",
     "On the diagonal a box is where it should be. A line with another slope means coordinates of another "
     "resize; two clouds without a slope mean that x and y are swapped, or that nothing was learned."),
    ("gradient_norms.png", "Which part learns",
     "A component whose norm stays at 0 learns nothing, though it may be meant to; one that grows without "
     "end asks for a smaller learning rate."),
    ("lr_schedule.png", "Learning rate",
     "It rises at first, while the new parts are still random, and falls towards the end, to settle."),
)  # fmt: skip
TILES = ("f1_50", "unparsable", "never_ended")


def detection_context(run: RunFolder) -> dict[str, Any]:
    """What stands in `detection.html.j2` beside what every run has."""
    sentences = (found_sentence(run), problems_sentence(run), convention_sentence(run))
    return {
        "notes": [sentence for sentence in sentences if sentence],
        "tiles": metric_tiles(run, dict.fromkeys((primary_metric(run), "mean_iou", *TILES))),
        "models": [(key, heading) for key, heading, _ in measured(run)],
        "metric_rows": metric_rows(run),
        "histogram": next(iter(shown_plots(run, [(HISTOGRAM, "IoU of the pictures", "")])), None),
        "outcomes": count_outcomes(detections_of(run)),
        "gallery": detection_gallery(run),
        "courses": sample_courses(run, lambda said, right: said.split() == right.split() or None),
        "plots": shown_plots(run, PLOTS),
    }
