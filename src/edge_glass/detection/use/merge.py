"""Adding the LoRA adapters of a finished detection run to its model; see `edge_glass.tasks.merging`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_glass.config.detection import DetectionConfig
from edge_glass.core.progress import progress_bar
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionTable
from edge_glass.detection.measure.metrics import DetectionSet, detection_values
from edge_glass.detection.use.detect import Detector
from edge_glass.detection.use.detections import Detection
from edge_glass.tasks.finding import require_task
from edge_glass.tasks.merging import Answered, Merged, merge_adapters
from edge_glass.vlm.folder import DETECTION_FOLDER


def merge_detection(
    run: Path, output: Path | None, bound: float | None, rows: int, progress: bool = True
) -> Merged:
    """Write a run's model with its adapters in the weights; see `merge_adapters`."""

    def answer(model: Any, config: DetectionConfig, table: DetectionTable) -> Answered:
        found = _look(Detector(model, config), table, progress)
        return Answered([one.text for one in found], _metric(table, found, config.evaluation.primary_metric))

    found = require_task(run, "detection")
    return merge_adapters(found.run, found.model, DETECTION_FOLDER, load_scenes, answer, output, bound, rows)


def _look(detector: Detector, table: DetectionTable, progress: bool) -> list[Detection]:
    with progress_bar("looking at test pictures", len(table), progress) as advance:
        return detector.detect_all(_shown(table, advance))


def _shown(table: DetectionTable, advance: Callable[[int], None]) -> Iterator[Image.Image]:
    for row in range(len(table)):
        yield table.rgb(row)
        advance(1)


def _metric(table: DetectionTable, found: list[Detection], metric: str) -> float:
    seen = DetectionSet(
        boxes=[one.boxes for one in found],
        labels=[one.labels for one in found],
        scores=[np.array(one.scores) for one in found],
        true_boxes=list(table.boxes),
        true_labels=[list(labels) for labels in table.labels],
        units=np.arange(len(found)),
        parsed=[one.parsed for one in found],
        dropped=[one.dropped for one in found],
    )
    return detection_values(seen, [metric])[metric]
