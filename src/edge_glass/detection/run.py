"""A detection run: what it measures beside its task, and what it leaves behind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_glass.config.detection import DetectionConfig
from edge_glass.data.samples import digests
from edge_glass.detection.iou_callback import IoUEvalCallback
from edge_glass.detection.measure.archive import DetectionRecord, save_detections
from edge_glass.detection.measure.baselines import average_box
from edge_glass.detection.measure.metrics import estimate_detections, picture_scores
from edge_glass.detection.task import Detections, DetectionTask
from edge_glass.evaluation.intervals import Estimate
from edge_glass.tasks.text_generation_run import TextGenerationRun
from edge_glass.training.gradients import GradientCheck, GradNormCallback
from edge_glass.vlm.folder import save_detection_model


class DetectionExperiment(DetectionTask, TextGenerationRun):
    """A detection task as a run sees it; see `edge_glass.tasks.experiment.Experiment`."""

    guess = "average_box"
    guess_metrics = (
        "mean_iou",
        *("f1_50", "precision_50", "recall_50"),
        *("f1_75", "precision_75", "recall_75"),
    )

    def estimates(
        self, measured: Detections, split: str = "test", metrics: Sequence[str] | None = None
    ) -> dict[str, Estimate]:
        """Return metrics of boxes with their bootstrap draws."""
        evaluation, found = self.config.evaluation, self.detection_set(split, measured)
        return estimate_detections(found, metrics, evaluation.bootstrap_samples, self.config.seed)

    def callbacks(self, folder: Path) -> list[Any]:
        """Return what logs gradients by component, sample answers, and IoU between validations."""
        detection = self.config.detection
        callbacks: list[Any] = [
            GradNormCallback(self.model.family.component_of),
            GradientCheck(),
            *super().callbacks(folder),
        ]
        if detection.iou_steps is not None:
            callbacks.append(IoUEvalCallback(self.iou_within, detection.iou_steps, detection.iou_seconds))
        return callbacks

    def guesses(self, rows: Sequence[int]) -> Detections:
        """Return always the same box, the one in the middle of the training boxes."""
        train, test = self.splits["train"], self.splits["test"]
        middle, label = average_box(train.boxes, train.labels, train.sizes)
        count = len(rows)
        return Detections(
            rows=list(rows),
            texts=[""] * count,
            ended=[True] * count,
            boxes=[[(middle * np.tile(test.sizes[row], 2)).tolist()] for row in rows],
            labels=[[label]] * count,
            scores=[[1.0]] * count,
            problems=[None] * count,
            dropped=[0] * count,
        )

    def save_model(self, folder: Path) -> None:
        """Write the finished model."""
        save_detection_model(self.model, self._described(), folder, self.canary(self.model))

    def _described(self) -> DetectionConfig:
        """The experiment with what was looked for written down, so that the model can be asked for it."""
        looked_for = {"categories": list(self.splits["train"].categories)}
        dataset = self.config.dataset.model_copy(update=looked_for)
        return self.config.model_copy(update={"dataset": dataset})

    def save_archive(self, folder: Path, trained: Detections, untouched: Detections) -> None:
        """Write the boxes that the report shows, beside those of the untouched model."""
        table = self.splits["test"]
        scores = picture_scores(self.detection_set("test", trained))
        before = picture_scores(self.detection_set("test", untouched))
        places = {row: place for place, row in enumerate(untouched.rows)}
        records = []
        for at, row in enumerate(trained.rows):
            width, height = table.sizes[row]
            earlier = places[row]
            records.append(
                DetectionRecord(
                    id=table.ids[row],
                    picture=str(table.picture_hashes[row]),
                    width=width,
                    height=height,
                    true_boxes=table.boxes[row].tolist(),
                    true_labels=list(table.labels[row]),
                    boxes=trained.boxes[at],
                    labels=trained.labels[at],
                    scores=trained.scores[at],
                    text=trained.texts[at],
                    problem=trained.problems[at],
                    ended=trained.ended[at],
                    iou=float(scores[at]),
                    untouched_boxes=untouched.boxes[earlier],
                    untouched_labels=untouched.labels[earlier],
                    untouched_text=untouched.texts[earlier],
                    untouched_iou=float(before[earlier]),
                )
            )
        rows = {str(table.picture_hashes[row]): row for row in trained.rows}
        save_detections(folder, "test", records, lambda name: table.rgb(rows[name]))

    def fingerprints(self) -> dict[str, Any]:
        """Return fingerprints of the untouched answers, and of the rows of each split."""
        logits = hashlib.sha256(self._untouched.numpy().tobytes()).hexdigest()
        return {"weights": {"logits of the canary": logits}, "data": digests(self.tables)}
