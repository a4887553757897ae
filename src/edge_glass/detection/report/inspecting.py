"""What a model of a detection experiment receives: some scenes, before anything is trained."""

from __future__ import annotations

from functools import partial

from edge_glass.config.detection import DetectionConfig
from edge_glass.core.errors import DataError
from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.collators import planned_size
from edge_glass.detection.data.lengths import length_report
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionDataset
from edge_glass.detection.report.inspection import detection_overview, inspected_detections
from edge_glass.detection.task import build_collator
from edge_glass.reporting.inspection import Inspection
from edge_glass.vlm.loading import load_fitting_processor


def inspect_scenes(config: DetectionConfig, count: int = 8, split: str = "train") -> Inspection:
    """Some rows of a split, evenly spread, as training gives them to the model.

    Only the processor of the model is loaded.

    Args:
        config: Of a detection experiment.
        count: How many; all when there are fewer.
        split: train, val or test.

    Raises:
        DataError: The rows cannot be used.
    """
    table = load_scenes(config)[split]
    processor = load_fitting_processor(config)
    detection, dataset = config.detection, config.dataset
    codec = box_codec(config.vlm.family, detection.box_format)
    seen = partial(planned_size, processor)
    rows = DetectionDataset(table, codec, detection.prompt, dataset.system_prompt, seen)
    total = min(count, len(table))
    items = [rows[len(table) * number // total] for number in range(total)]
    try:
        batch = build_collator(config, processor, codec)(items)
    except DataError as error:
        raise DataError(f"{table.source}: {error}") from error
    return Inspection(
        samples=inspected_detections(batch, items, processor, codec, split=split, mask=detection.mask),
        lengths=length_report(table, processor, codec, dataset.max_answer_length).lines(),
        title=config.name,
        overview=detection_overview(config, processor, codec, table.categories),
    )
