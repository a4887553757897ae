"""The detection task: pictures and what to look for, answered with boxes. Where its rooms meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from edge_glass.config.detection import DetectionConfig
from edge_glass.core import distributed
from edge_glass.core.passes import spread
from edge_glass.data.samples import group_numbers
from edge_glass.decoders.generation import generation_settings
from edge_glass.detection.boxes.codec import BoxCodec, box_codec
from edge_glass.detection.collators import (
    Qwen2VLCollatorV1,
    Qwen2VLCollatorV2,
    Qwen2VLCollatorV3,
    planned_size,
    token_counts,
    token_kinds,
)
from edge_glass.detection.collators.chat import end_of_turn
from edge_glass.detection.data.lengths import fit_answers
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionDataset, DetectionTable
from edge_glass.detection.iou_callback import within
from edge_glass.detection.measure.metrics import DetectionSet, detection_values
from edge_glass.detection.use.detections import find_boxes
from edge_glass.tasks.text_generation import SPLITS, TextGenerationTask
from edge_glass.training.task import Batch
from edge_glass.vlm.model import DetectionModel, build_detection_model


@dataclass(frozen=True)
class Detections:
    """What a model wrote for some rows of a split, and the boxes that were read from it.

    Attributes:
        rows: Of the split.
        texts: The answers.
        ended: Whether each answer ended by itself.
        boxes: Of each answer, xyxy in pixels of the source picture.
        labels: Of each box.
        scores: Of each box: the mean probability of the tokens it was written with.
        problems: What is wrong with each answer; None where nothing is.
        dropped: Boxes of each answer that were written and cannot be used.
    """

    rows: list[int]
    texts: list[str]
    ended: list[bool]
    boxes: list[list[list[float]]]
    labels: list[list[str]]
    scores: list[list[float]]
    problems: list[str | None]
    dropped: list[int]


class DetectionTask(TextGenerationTask):
    """Teaches a vision-language model to find things; see `edge_glass.training.Task`."""

    config: DetectionConfig
    written = Detections
    doing = "looking at {split} pictures"

    def read_tables(self) -> dict[str, DetectionTable]:
        """See `TextGenerationTask`."""
        return load_scenes(self.config)

    def set_up(self, fresh: bool) -> None:
        """See `TextGenerationTask`."""
        config = self.config
        self.processor = self.model.processor
        self.codec: BoxCodec = box_codec(config.vlm.family, config.detection.box_format)
        self.datasets = {name: self._dataset(self.tables[name]) for name in SPLITS}
        self.settings = generation_settings(config, end_of_turn(self.processor))
        self.collator = build_collator(config, self.processor, self.codec)

    def fresh_model(self) -> DetectionModel:
        """Return the model that training starts from."""
        return build_detection_model(self.config)

    def _dataset(self, table: DetectionTable) -> DetectionDataset:
        dataset = self.config.dataset
        fitting = fit_answers(table, self.processor, self.codec, dataset.max_answer_length, dataset.too_long)
        seen = partial(planned_size, self.processor)
        return DetectionDataset(
            fitting, self.codec, self.config.detection.prompt, dataset.system_prompt, seen
        )

    # What the trainer asks for

    @property
    def splits(self) -> dict[str, DetectionTable]:
        """The rows of each split that fit."""
        return {name: dataset.table for name, dataset in self.datasets.items()}

    @property
    def train_dataset(self) -> Dataset:
        """Rows to train on."""
        return self.datasets["train"]

    @property
    def row_kinds(self) -> np.ndarray:
        """Rows of about equally many tokens share batches: padding is no work then."""
        return token_kinds(token_counts(self.splits["train"].sizes, self.processor), self._rows_per_step())

    def _rows_per_step(self) -> int:
        return self.config.dataset.batch_size * distributed.world_size()

    def collate(self, items: Sequence[dict[str, Any]]) -> Batch:
        """Conversation rows → a batch to train on; every batch is read back (`check_detection_labels`)."""
        return {**self.collator(items), "ids": [item["id"] for item in items]}

    # Measuring

    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Rows of a split with their labels."""
        return self.collator([self.datasets[split][row] for row in rows])

    def iou_within(self, model: DetectionModel, seconds: float) -> dict[str, float]:
        """Metrics of as many validation rows as fit into a time budget, at most `detection.iou_rows`."""
        rows = spread(len(self.splits["val"]), self.config.detection.iou_rows)
        found = self.answer(model, "val", rows, limit=partial(within, seconds=seconds))
        return {**self.metric_values("val", found), "rows": float(len(found.rows))}

    def metric_values(self, split: str, written: Detections) -> dict[str, float]:
        """See `TextGenerationTask`."""
        return detection_values(self.detection_set(split, written))

    def write(self, model: DetectionModel, split: str, rows: Sequence[int]) -> Detections:
        """See `TextGenerationTask`; the boxes are read from what was written."""
        items = [self.datasets[split].prompt_row(row) for row in rows]
        read = find_boxes(model, self.codec, items, self.settings)
        return Detections(
            rows=list(rows),
            texts=[one.text for one in read],
            ended=[one.ended for one in read],
            boxes=[one.boxes.tolist() for one in read],
            labels=[one.labels for one in read],
            scores=[one.scores for one in read],
            problems=[one.problem for one in read],
            dropped=[one.dropped for one in read],
        )

    def detection_set(self, split: str, found: Detections) -> DetectionSet:
        """Boxes beside those that should have been found; pictures of one product are one unit."""
        table = self.splits[split]
        groups = table.groups or [None] * len(table)
        units = [groups[row] or str(table.picture_hashes[row]) for row in found.rows]
        return DetectionSet(
            boxes=[np.array(boxes, dtype=np.float64).reshape(-1, 4) for boxes in found.boxes],
            labels=found.labels,
            scores=[np.array(scores, dtype=np.float64) for scores in found.scores],
            true_boxes=[table.boxes[row] for row in found.rows],
            true_labels=[list(table.labels[row]) for row in found.rows],
            units=group_numbers(units),
            parsed=[
                problem is None or bool(labels)
                for problem, labels in zip(found.problems, found.labels, strict=True)
            ],
            dropped=found.dropped,
            ended=found.ended,
            sizes=[table.sizes[row] for row in found.rows],
        )

    def sample(self, split: str, written: Detections, place: int) -> dict[str, Any]:
        """See `TextGenerationTask`."""
        table, row = self.splits[split], written.rows[place]
        return {
            "id": table.ids[row],
            "reference": self._right_answer(table, row),
            "answer": written.texts[place],
            "ended": written.ended[place],
        }

    def _right_answer(self, table: DetectionTable, row: int) -> str:
        size = table.sizes[row]
        seen = planned_size(self.processor, *size)
        return self.codec.write(table.boxes[row], table.labels[row], size, seen)


def build_collator(
    config: DetectionConfig, processor: Any, codec: BoxCodec
) -> Qwen2VLCollatorV1 | Qwen2VLCollatorV2 | Qwen2VLCollatorV3:
    """The collator that an experiment names."""
    detection = config.detection
    if detection.collator == "v1":
        return Qwen2VLCollatorV1(processor, codec, detection.mask)
    if detection.collator == "v2":
        return Qwen2VLCollatorV2(processor, codec, detection.mask)
    return Qwen2VLCollatorV3(processor, codec, detection.mask, detection.max_tokens)
