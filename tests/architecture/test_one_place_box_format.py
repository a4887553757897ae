"""One place: a box format is one new file, chosen by `detection.box_format` of an experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge_glass.detection.boxes.formats as formats
from detection_runs import FULL, scene_config
from edge_glass.core.errors import ConfigError
from edge_glass.detection.task import DetectionTask

FILE = '''
"""A box a line, as YOLO's label files have it: `dog 1 2 3 4`."""

import re

from edge_glass.detection.boxes.formats import BoxFormat, Reading, WrittenBox

LINE = re.compile(r"^(.*?) (\\d+) (\\d+) (\\d+) (\\d+)$", re.MULTILINE)


class Lines(BoxFormat):
    prompt = "One line for each of: {categories}."
    example = "dog 1 2 3 4"

    def write(self, boxes, grammar):
        lines = (f"{box.label} {' '.join(map(str, box.numbers))}" for box in boxes)
        return "\\n".join(lines) or grammar.nothing

    def read(self, text, grammar):
        found = LINE.finditer(text)
        boxes = [WrittenBox([float(n) for n in one.groups()[1:]], one[1], one.span()) for one in found]
        return Reading(boxes, says_nothing=text.strip() == grammar.nothing)


FORMAT = Lines()
'''


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.py").write_text(FILE)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])


@pytest.mark.usefixtures("lines")
def test_an_experiment_names_it_and_its_boxes_come_back() -> None:
    config = scene_config("qwen2_vl", "detection.box_format=lines", *FULL)
    assert config.detection.prompt == "One line for each of: {categories}."
    task = DetectionTask(config, progress=False)
    table, codec = task.splits["train"], task.codec
    rows = [row for row in range(len(table)) if len(table.boxes[row]) > 1]
    for row in rows[:4]:
        text = codec.write(table.boxes[row], table.labels[row], table.sizes[row])
        assert len(text.splitlines()) == len(table.boxes[row]) and "[" not in text
        read = codec.read(text, table.sizes[row])
        order = codec.order(table.boxes[row], table.sizes[row])
        assert read.problem is None and read.labels == [table.labels[row][at] for at in order]
        error = np.abs(read.boxes - np.asarray(table.boxes[row])[order]).reshape(-1, 2)
        assert (error <= codec.worst_error(table.sizes[row])).all()
    assert codec.read(codec.write([], [], (10, 10)), (10, 10)).problem is None
    batch = task.batch("train", rows[:2])
    assert (batch["labels"] != -100).any()


def test_without_the_file_the_experiment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"detection\.box_format: .*json.*tokens"):
        scene_config("qwen2_vl", "detection.box_format=lines", *FULL)
