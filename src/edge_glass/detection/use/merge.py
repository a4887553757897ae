"""Adding the LoRA adapters of a finished detection run to its model, and making sure that nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from edge_glass.config import ExperimentConfig, load_config
from edge_glass.core import canary
from edge_glass.core.canary import Canary, read_canary
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.core.progress import progress_bar
from edge_glass.core.quiet import only_warnings
from edge_glass.data.samples import group_numbers
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionTable
from edge_glass.detection.measure.metrics import DetectionSet, detection_values
from edge_glass.detection.use.detect import Detector
from edge_glass.detection.use.detections import Detection
from edge_glass.tasks.merged import (
    LORA,
    Merged,
    default_bound,
    require_equal,
    require_replaceable,
    roomy_device,
)
from edge_glass.tasks.sources import training_device
from edge_glass.vlm.folder import (
    load_detection_model,
    load_unquantized_detector,
    read_description,
    save_merged_detector,
)


def merge_scenes(
    run: Path, model: Path, output: Path | None, bound: float | None, rows: int, progress: bool = True
) -> Merged:
    """As `merge` in `edge_glass.experiment.merge`, of a detection run.

    Args:
        run: The run folder.
        model: The folder of its weights.
        output: Where to; by default `merged` in the run folder.
        bound: Largest difference of logits allowed, as a share of the largest.
        rows: Test pictures that both look at.
        progress: Show progress bars.
    """
    config = read_description(model)
    if config.vlm.mode != "lora":
        raise ConfigError(f"{run}: vlm.mode is {config.vlm.mode}, so there are no adapters to merge")
    folder = output or run / "merged"
    require_replaceable(folder)
    table = _compared_rows(run, rows)
    with only_warnings(LORA):  # which layers are adapted was said in training
        adapted, _ = load_detection_model(model)
    stored = read_canary(model)
    quantised = config.vlm.quantization != "none"
    if quantised:  # what comes out are plain weights, so plain weights go in and are compared
        del adapted
        with only_warnings(LORA):
            adapted = load_unquantized_detector(model)
    half = quantised or str(adapted.vlm.dtype) != "torch.float32"
    bound = default_bound(half) if bound is None else bound
    adapted.to(roomy_device(adapted, training_device(config)))
    looked: list[list[Detection]] = []

    def observe() -> Tensor:
        looked.append(_look(Detector(adapted, config), table, progress))
        return canary.compute_logits(adapted, stored.sample)

    difference = adapted.merge(bound, observe)
    before, after = looked
    metric = config.evaluation.primary_metric
    same = [first.text == second.text for first, second in zip(before, after, strict=True)]
    unmerged, merged = (_metric(table, seen, metric) for seen in (before, after))
    equal, quantization = sum(same) / max(len(same), 1), config.vlm.quantization
    measured = Merged(folder, difference, len(same), equal, metric, unmerged, merged, quantization)
    require_equal(measured, bound, half)
    numbers = {name: value for name, value in asdict(measured).items() if name != "folder"}
    signed = Canary(stored.sample, canary.compute_logits(adapted, stored.sample), stored.untouched)
    save_merged_detector(adapted, config, folder, signed, {**numbers, "run": str(run)})
    return measured


def _compared_rows(run: Path, count: int) -> DetectionTable | None:
    """Test rows, evenly spread; None for none."""
    if not count:
        return None
    if not (run / "config.yaml").is_file():
        raise CheckpointError(
            f"{run}: config.yaml is missing, so its test rows are not known; --rows 0 compares logits alone"
        )
    try:
        table = load_scenes(_config(run))["test"]
    except ConfigError as error:
        raise ConfigError(f"{error}\nThe test rows are compared; --rows 0 compares logits alone.") from error
    chosen = min(count, len(table))
    return table.select([len(table) * number // chosen for number in range(chosen)])


def _config(run: Path) -> ExperimentConfig:
    return load_config(run / "config.yaml")


def _look(detector: Detector, table: DetectionTable | None, progress: bool) -> list[Detection]:
    if table is None:
        return []
    with progress_bar("looking at test pictures", len(table), progress) as advance:
        return detector.detect_all(_shown(table, advance))


def _shown(table: DetectionTable, advance: Callable[[int], None]) -> Iterator[Image.Image]:
    for row in range(len(table)):
        yield table.rgb(row)
        advance(1)


def _metric(table: DetectionTable | None, found: list[Detection], metric: str) -> float:
    if table is None or not found:
        return 0.0
    shown = DetectionSet(
        boxes=[one.boxes for one in found],
        labels=[one.labels for one in found],
        scores=[np.array(one.scores) for one in found],
        true_boxes=list(table.boxes),
        true_labels=[list(labels) for labels in table.labels],
        units=group_numbers([str(row) for row in range(len(found))]),
        parsed=[one.parsed for one in found],
        dropped=[one.dropped for one in found],
    )
    return detection_values(shown, [metric])[metric]
