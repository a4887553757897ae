"""One place: a family of vision-language models is one new file, and nothing else has to know of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import edge_glass.vlm.families
from detection_runs import FULL, scene_config
from edge_glass.core.errors import ConfigError
from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.task import DetectionTask

TOY = '''
"""A family built like Qwen2-VL that writes boxes as one of 999 bins, y before x, under another key."""

from dataclasses import dataclass

from edge_glass.vlm.families.qwen2_vl import Qwen2VL
from edge_glass.vlm.family import Convention, Grammar


@dataclass(frozen=True, kw_only=True)
class Toy(Qwen2VL):
    def build_model(self, *args, **options):
        model = super().build_model(*args, **options)
        model.config.model_type = self.model_type
        return model


FAMILY = Toy(
    model_type="toy_vl",
    config_class="Qwen2VLConfig",
    model_class="Qwen2VLForConditionalGeneration",
    processor_class="Qwen2VLProcessor",
    token_side=28,
    boxes=Convention(order="yxyx", range=999, rounding="floor", grammar=Grammar(key="box_2d")),
)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_vl.py").write_text(TOY)
    folders = [*edge_glass.vlm.families.__path__, str(tmp_path)]
    monkeypatch.setattr(edge_glass.vlm.families, "__path__", folders)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("box_format", ["json", "tokens"])
def test_its_boxes_come_back(box_format: str) -> None:
    codec, size = box_codec("toy_vl", box_format), (400, 300)
    boxes = np.array([[0.0, 0.0, 400.0, 300.0], [10.0, 20.0, 110.0, 220.0]])
    text = codec.write(boxes, ["whole", "part"], size)
    assert ("box_2d" in text) == (box_format == "json")
    numbers = [0, 0, 998, 998, 66, 24, 732, 274]  # y1 x1 y2 x2 of both
    assert [int(digits) for digits in re.findall(r"\d+", text.replace("box_2d", ""))] == numbers
    read = codec.read(text, size)
    assert read.labels == ["whole", "part"] and read.problem is None
    assert (np.abs(read.boxes - boxes).reshape(-1, 2) <= codec.worst_error(size)).all()


@pytest.mark.usefixtures("toy")
def test_an_experiment_names_it_and_its_model_learns() -> None:
    task = DetectionTask(scene_config("qwen2_vl", "vlm.family=toy_vl", *FULL), progress=False)
    assert task.model.family.model_type == "toy_vl"
    output = task.model(task.batch("train", [0, 1]))  # the collator read its boxes back
    output.loss_sum.backward()
    assert torch.isfinite(output.loss_sum)
    assert task.answer(task.model, "val", [0]).rows == [0]


def test_an_unknown_family_is_answered_with_those_there_are() -> None:
    known = "expected one of qwen2_5_vl, qwen2_vl, qwen3_vl, got the text 'toy_vl'"
    with pytest.raises(ConfigError, match=rf"vlm\.family: {known}"):
        scene_config("qwen2_vl", "vlm.family=toy_vl")
