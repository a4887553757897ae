"""Mistakes that raise no error by themselves and make a tuned model worse than the untouched one.

Each is put in on purpose, and a check or the verdict has to find it, before or by the end of the run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from detection_runs import FULL, scene_config
from edge_glass.core.errors import CheckpointError, DataError, TrainingError
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize
from edge_glass.detection.collators import Qwen2VLCollatorV3, efficient
from edge_glass.detection.data import splits as detection_sources
from edge_glass.detection.data import table as detection_data
from edge_glass.detection.data.generated import generated_scenes
from edge_glass.detection.run import DetectionExperiment
from edge_glass.detection.task import DetectionTask
from edge_glass.experiment import overfit, run
from edge_glass.tasks.registry import task_kind
from edge_glass.vlm.folder import load_detection_model, save_detection_model

torch.set_num_threads(1)

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def swapped(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes as they come out when y, x, y, x is read as x, y, x, y: relative numbers change their side."""
    sides = np.tile(np.array(size, dtype=np.float64), 2)
    return (boxes / sides)[:, [1, 0, 3, 2]] * sides


def test_a_data_set_read_in_the_wrong_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """All splits are wrong alike, so that no number would ever show it; the pictures do."""
    tables = {
        name: replace(
            table,
            boxes=[swapped(boxes, size) for boxes, size in zip(table.boxes, table.sizes, strict=True)],
        )
        for name, table in generated_scenes().items()
    }
    monkeypatch.setattr(detection_sources, "generated_scenes", lambda: tables)
    with pytest.raises(DataError, match="x and y swapped"):
        DetectionTask(scene_config(), progress=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_written_in_the_wrong_order(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = BoxCodec.encode

    def wrong(self: BoxCodec, boxes: Any, source: Any, seen: Any = None) -> np.ndarray:
        return usual(self, boxes, source, seen)[:, [1, 0, 3, 2]]

    monkeypatch.setattr(BoxCodec, "encode", wrong)
    with pytest.raises(DataError, match="x and y are swapped: correct the box order"):
        DetectionTask(scene_config(family), progress=False)


def test_boxes_scaled_to_another_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when labels were made with another pixel budget than the model is shown."""
    usual = detection_data.convert_to_conversation_format

    def elsewhere(example: Any, codec: BoxCodec, seen: SeenSize, *rest: Any) -> Any:
        return usual(example, codec, SeenSize(seen.width * 2, seen.height * 2), *rest)

    monkeypatch.setattr(detection_data, "convert_to_conversation_format", elsewhere)
    with pytest.raises(DataError, match="written for another size than the"):
        DetectionTask(scene_config("qwen2_5_vl"), progress=False)


def broken_words(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let the third collator make other words than it should."""
    usual = Qwen2VLCollatorV3._words
    monkeypatch.setattr(efficient.Qwen2VLCollatorV3, "_words", lambda self, plans: change(usual(self, plans)))


def test_a_prompt_that_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unmasked(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        ids = batch["input_ids"]
        words = (ids > 13) & batch["attention_mask"].bool()  # no special tokens
        return {**batch, "labels": ids.masked_fill(~words & (batch["labels"] == -100), -100)}

    broken_words(monkeypatch, unmasked)
    with pytest.raises(DataError, match=r"trains \d+ tokens before its answer .* mask these"):
        DetectionTask(scene_config(), progress=False)


def test_an_answer_that_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_words(monkeypatch, lambda batch: {name: values[:, :-8] for name, values in batch.items()})
    with pytest.raises(DataError, match="its answer is cut"):
        DetectionTask(scene_config(), progress=False)


def test_an_adapter_that_is_not_loaded(tmp_path: Path) -> None:
    """peft says nothing more than a warning when keys are missing, and zeros load without one."""
    task = DetectionTask(scene_config(), progress=False)
    with torch.no_grad():
        for parameter in task.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_detection_model(task.model, task.config, tmp_path / "model", task.canary(task.model))
    load_detection_model(tmp_path / "model")
    weights = next((tmp_path / "model").rglob("adapter_model.safetensors"))
    save_file({name: torch.zeros_like(value) for name, value in load_file(weights).items()}, weights)
    with pytest.raises(CheckpointError, match="untouched"):
        load_detection_model(tmp_path / "model")


@pytest.mark.slow
def test_a_learning_rate_a_thousand_times_too_high(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that finds its boxes is trained on; it ends worse than it began, and the run says so."""
    options = (*FULL, "generation.max_new_tokens=48", "training.epochs=4", "training.eval_epochs=4.0")
    good = scene_config("qwen2_vl", *options, "optimization.lr=3e-3", "evaluation.test_rows=6")
    scenes = generated_scenes()["train"]
    few = scenes.select([row for row, boxes in enumerate(scenes.boxes) if len(boxes) == 1][:6])
    task = DetectionExperiment(good, False, tables=dict.fromkeys(("train", "val", "test"), few))
    for _ in zip(range(110), overfit._training(task), strict=False):
        pass
    assert task.evaluate(task.model, "test")["mean_iou"] > 0.9
    wrong = good.optimization.model_copy(update={"lr": 3.0})
    task.config = good.model_copy(update={"optimization": wrong})
    task.keep_canary(task.batch("test", [0]))
    kind = type(task_kind("detection"))
    monkeypatch.setattr(kind, "experiment", lambda *arguments, **options: task)
    monkeypatch.setattr(run, "write_report", lambda folder: None)
    try:
        verdict = run.train(task.config, output=tmp_path / "run", progress=False).results["verdict"]
    except TrainingError as error:
        assert "optimization.lr" in str(error)
    else:
        assert verdict["status"] == "worse" and verdict["difference"] < -0.5
