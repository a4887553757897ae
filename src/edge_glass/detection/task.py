"""The detection task: pictures and what to look for, answered with boxes. Where its rooms meet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import distributed
from edge_glass.core.passes import parts
from edge_glass.core.progress import progress_bar
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
from edge_glass.tasks.sources import training_device
from edge_glass.tasks.text_generation import TextGenerationTask, evenly_spread
from edge_glass.training.task import Batch
from edge_glass.vlm.model import DetectionModel, build_detection_model

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


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
    """Teaches a vision-language model to find things; see `edge_glass.training.Task`.

    Args:
        config: The experiment.
        progress: Show progress bars.
        model: A finished model to measure; by default a fresh one is built.
        tables: Its train, val and test; by default they are read.

    Attributes:
        samples: Some answers of the last validation, as plain data.

    Raises:
        EdgeGlassError: Data, weights or configuration are wrong; nothing has been trained then.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        progress: bool = True,
        model: DetectionModel | None = None,
        tables: Mapping[str, DetectionTable] | None = None,
    ) -> None:
        self.config, self.progress = config, progress
        self.primary_metric = config.evaluation.primary_metric
        tables = tables or load_scenes(config)
        self.model = (model or self.fresh_model()).to(training_device(config))
        self.processor = self.model.processor
        self.codec: BoxCodec = box_codec(config.vlm.family, config.detection.box_format)
        self.datasets = {name: self._dataset(tables[name]) for name in SPLITS}
        self.settings = generation_settings(config, end_of_turn(self.processor))
        self.collator = build_collator(config, self.processor, self.codec)
        self.samples: list[dict[str, Any]] = []
        self.keep_canary(self.batch("test", [0]))

    def fresh_model(self) -> DetectionModel:
        """The model that training starts from."""
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

    def evaluate(self, model: DetectionModel, split: str) -> dict[str, float]:
        """Loss and token accuracy, and the metrics of the boxes that the model writes."""
        rows = self.measured_rows(split)
        found = self.detect(model, split, rows)
        self.samples = self._samples(split, found)
        return self.validation_loss(model, split, rows) | detection_values(self.detection_set(split, found))

    # Measuring

    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Rows of a split with their labels."""
        return self.collator([self.datasets[split][row] for row in rows])

    def iou_within(self, model: DetectionModel, seconds: float) -> dict[str, float]:
        """Metrics of as many validation rows as fit into a time budget, at most `detection.iou_rows`."""
        rows = self._spread("val", self.config.detection.iou_rows)
        found = self.detect(model, "val", rows, seconds=seconds)
        return {**detection_values(self.detection_set("val", found)), "rows": float(len(found.rows))}

    def _spread(self, split: str, most: int) -> list[int]:
        total = len(self.splits[split])
        return [total * number // min(most, total) for number in range(min(most, total))]

    def detect(
        self,
        model: DetectionModel,
        split: str,
        rows: Sequence[int],
        progress: bool = False,
        seconds: float | None = None,
    ) -> Detections:
        """Write answers to these rows and read the boxes; each rank its share, and all get all of them.

        Args:
            model: Of this task.
            split: Of the rows.
            rows: To be answered, in any order.
            progress: Show a progress bar.
            seconds: After them no further rows are begun, on any rank; the first batch always is.
        """
        own = distributed.own_share(rows)
        batches: Iterable[Sequence[int]] = parts(own, self.config.generation.batch_size)
        if seconds is not None:
            batches = within(batches, seconds)
        found: list[Detections] = []
        with self.precision(), progress_bar(f"looking at {split} pictures", len(own), progress) as advance:
            for part in batches:
                found.append(self._detect(model, split, part))
                advance(len(part))
        gathered = list(chain(*distributed.from_all(found)))
        names = [field.name for field in fields(Detections)]
        return Detections(**{name: list(chain(*(getattr(one, name) for one in gathered))) for name in names})

    def _detect(self, model: DetectionModel, split: str, rows: Sequence[int]) -> Detections:
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

    def _samples(self, split: str, found: Detections) -> list[dict[str, Any]]:
        table = self.splits[split]
        return [
            {
                "id": table.ids[found.rows[at]],
                "reference": self._right_answer(table, found.rows[at]),
                "answer": found.texts[at],
                "ended": found.ended[at],
            }
            for at in evenly_spread(found.rows)
        ]

    def _right_answer(self, table: DetectionTable, row: int) -> str:
        size = table.sizes[row]
        seen = planned_size(self.processor, *size)
        return self.codec.write(table.boxes[row], table.labels[row], size, seen)


def build_collator(
    config: ExperimentConfig, processor: Any, codec: BoxCodec
) -> Qwen2VLCollatorV1 | Qwen2VLCollatorV2 | Qwen2VLCollatorV3:
    """The collator that an experiment names."""
    detection = config.detection
    if detection.collator == "v1":
        return Qwen2VLCollatorV1(processor, codec, detection.mask)
    if detection.collator == "v2":
        return Qwen2VLCollatorV2(processor, codec, detection.mask)
    return Qwen2VLCollatorV3(processor, codec, detection.mask, detection.max_tokens)
