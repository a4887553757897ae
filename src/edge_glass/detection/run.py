"""A detection run: what it measures beside its task, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import logging
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edge_glass.config.schema import ExperimentConfig
from edge_glass.detection.iou_callback import IoUEvalCallback
from edge_glass.detection.measure.archive import DetectionRecord, save_detections
from edge_glass.detection.measure.baselines import average_box
from edge_glass.detection.measure.metrics import estimate_detections, picture_scores
from edge_glass.detection.task import Detections, DetectionTask
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.results import assemble_results, metrics_dict
from edge_glass.tasks.experiment import Cost, split_counts
from edge_glass.tasks.sample_answers import SampleAnswers
from edge_glass.tasks.text_generation_run import TextGenerationRun
from edge_glass.training.gradients import GradientCheck, GradNormCallback
from edge_glass.vlm.folder import save_detection_model

logger = logging.getLogger(__name__)

GUESSED = ("mean_iou", "f1_50", "precision_50", "recall_50", "f1_75", "precision_75", "recall_75")


class DetectionExperiment(DetectionTask, TextGenerationRun):
    """A detection task as a run sees it; see `edge_glass.tasks.experiment.Experiment`."""

    written = Detections

    def measure(self, split: str) -> Detections:
        """Answers to the measured rows of a split."""
        return self.detect(self.model, split, self.measured_rows(split), self.progress)

    def estimates(self, measured: Detections, split: str = "test") -> dict[str, Estimate]:
        """All metrics of boxes."""
        found = self.detection_set(split, measured)
        return estimate_detections(found, None, self.config.evaluation.bootstrap_samples, self.config.seed)

    def callbacks(self, folder: Path) -> list[Any]:
        """Gradients by component, sample answers of every validation, and IoU between validations."""
        detection = self.config.detection
        callbacks: list[Any] = [
            GradNormCallback(self.model.family.component_of),
            GradientCheck(),
            SampleAnswers(self, folder / "samples.jsonl"),
        ]
        if detection.iou_steps is not None:
            callbacks.append(IoUEvalCallback(self.iou_within, detection.iou_steps, detection.iou_seconds))
        return callbacks

    def write_results(
        self, folder: Path, untouched: Detections, trained: Detections, cost: Cost
    ) -> dict[str, Any]:
        """Results, archive and artefact."""
        found = trained
        results = assemble_results(
            split="test",
            metric=self.primary_metric,
            trained=self.estimates(found),
            baseline=self.estimates(untouched),
            seconds=cost.seconds,
            samples=cost.samples,
            data=split_counts(self.splits),
        )
        results["average_box"] = {"metrics": metrics_dict(self._guessed(found))}
        results["task"] = "detection"
        self._save_archive(folder, found, untouched)
        save_detection_model(self.model, self._described(), folder / "model", self.canary(self.model))
        return results

    def _guessed(self, found: Detections) -> dict[str, Estimate]:
        """What always the same box, the one in the middle of the training boxes, reaches on these rows."""
        train, test = self.splits["train"], self.splits["test"]
        middle, label = average_box(train.boxes, train.labels, train.sizes)
        boxes = [[(middle * np.tile(test.sizes[row], 2)).tolist()] for row in found.rows]
        count = len(found.rows)
        guess = Detections(
            rows=found.rows,
            texts=[""] * count,
            ended=[True] * count,
            boxes=boxes,
            labels=[[label]] * count,
            scores=[[1.0]] * count,
            problems=[None] * count,
            dropped=[0] * count,
        )
        estimates = self.estimates(guess)
        return {name: one for name, one in estimates.items() if name in GUESSED}

    def _described(self) -> ExperimentConfig:
        """The experiment with what was looked for written down, so that the model can be asked for it."""
        looked_for = {"categories": list(self.splits["train"].categories)}
        dataset = self.config.dataset.model_copy(update=looked_for)
        return self.config.model_copy(update={"dataset": dataset})

    def _save_archive(self, folder: Path, found: Detections, untouched: Detections) -> None:
        table = self.splits["test"]
        scores = picture_scores(self.detection_set("test", found))
        before = picture_scores(self.detection_set("test", untouched))
        places = {row: place for place, row in enumerate(untouched.rows)}
        records = []
        for at, row in enumerate(found.rows):
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
                    boxes=found.boxes[at],
                    labels=found.labels[at],
                    scores=found.scores[at],
                    text=found.texts[at],
                    problem=found.problems[at],
                    ended=found.ended[at],
                    iou=float(scores[at]),
                    untouched_boxes=untouched.boxes[earlier],
                    untouched_labels=untouched.labels[earlier],
                    untouched_text=untouched.texts[earlier],
                    untouched_iou=float(before[earlier]),
                )
            )
        rows = {str(table.picture_hashes[row]): row for row in found.rows}
        save_detections(folder, "test", records, lambda name: table.rgb(rows[name]))

    def fingerprints(self) -> dict[str, Any]:
        """Of the untouched weights' answers, and of the pictures and boxes of each split."""
        digests = {}
        for name, table in self.splits.items():
            digest = hashlib.sha256("\n".join(chain(*table.keys("vision"))).encode())
            for boxes, labels in zip(table.boxes, table.labels, strict=True):
                digest.update(boxes.tobytes() + json.dumps(list(labels)).encode())
            digests[name] = digest.hexdigest()
        logits = hashlib.sha256(self._untouched.numpy().tobytes()).hexdigest()
        return {"weights": {"logits of the canary": logits}, "scenes": digests}
