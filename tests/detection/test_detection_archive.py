"""What was found, kept beside the run: whole, safe, and with the pictures that a report shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_glass.core.errors import DataError
from edge_glass.detection.measure.archive import (
    DetectionRecord,
    load_detections,
    picture_of,
    save_detections,
    shown_rows,
    worst_first,
)

RECORD = DetectionRecord(
    id="a",
    picture="00ff",
    width=640,
    height=480,
    true_boxes=[[1.0, 2.0, 30.25, 40.0]],
    true_labels=["face"],
    boxes=[[1.5, 2.0, 30.0, 41.0]],
    labels=["face"],
    scores=[0.75],
    text='[{"bbox_2d": [1, 2, 3, 4]}]\u2028 犬 \ud83d',
    problem=None,
    ended=True,
    iou=0.9,
    untouched_boxes=[],
    untouched_iou=0.0,
)


def picture(name: str) -> Image.Image:
    return Image.new("RGB", (1600, 400), f"#{int(name, 16) % 0xFFFFFF:06x}")


def records(ious: list[float], empty: tuple[int, ...] = ()) -> list[DetectionRecord]:
    return [
        replace(
            RECORD,
            id=f"row {row}",
            picture=f"{row:08x}",
            iou=iou,
            true_boxes=[] if row in empty else RECORD.true_boxes,
            true_labels=[] if row in empty else ["face"],
        )
        for row, iou in enumerate(ious)
    ]


def test_records_come_back_as_they_were(tmp_path: Path):
    other = replace(RECORD, picture=None, scores=None, problem="no box in it", boxes=[], labels=[], iou=0.0)
    path = save_detections(tmp_path, "test", [RECORD, other], picture)
    assert path == tmp_path / "evaluation" / "test_detections.jsonl"
    assert load_detections(tmp_path, "test") == [replace(RECORD, text=RECORD.text[:-1] + "?"), replace(
        other, text=RECORD.text[:-1] + "?")]  # fmt: skip
    assert other.unparsable and not RECORD.unparsable
    assert not replace(RECORD, problem="cut off, after one box").unparsable


def test_arrays_are_welcome_and_pixels_are_rounded(tmp_path: Path):
    given = replace(RECORD, boxes=np.array([[1 / 3, 0, 2.004, 3]]), scores=np.array([0.5], dtype=np.float32))
    save_detections(tmp_path, "test", [given], picture)
    found = load_detections(tmp_path, "test")[0]
    assert found.boxes == [[0.33, 0.0, 2.0, 3.0]] and found.scores == [0.5]


def test_pictures_are_small_and_of_this_evaluation_only(tmp_path: Path):
    save_detections(tmp_path, "test", records([0.1, 0.9]), picture)
    assert picture_of(tmp_path, "test", "00000001") is not None
    asked: list[str] = []
    save_detections(tmp_path, "test", records([0.5]), lambda name: asked.append(name) or picture(name))
    kept = sorted(path.name for path in (tmp_path / "evaluation" / "test_pictures").iterdir())
    assert kept == ["00000000.jpg"] and asked == ["00000000"]
    data = (tmp_path / "evaluation" / "test_pictures" / kept[0]).read_bytes()
    assert picture_of(tmp_path, "test", "00000000") == data and data.startswith(b"\xff\xd8")
    assert Image.open(tmp_path / "evaluation" / "test_pictures" / kept[0]).size == (480, 120)
    assert picture_of(tmp_path, "test", None) is None and picture_of(tmp_path, "test", "../x") is None


def test_only_shown_pictures_are_opened(tmp_path: Path):
    asked: set[str] = set()
    many = records([row / 200 for row in range(200)])
    save_detections(tmp_path, "test", many, lambda name: asked.add(name) or picture(name))
    assert asked == {many[row].picture for row in shown_rows(many).every} and len(asked) == 60


def test_the_worst_stand_first():
    shown = shown_rows(records([row / 100 for row in range(100)]))
    assert shown.worst == list(range(36)) and shown.best == list(range(99, 87, -1))
    assert len(shown.drawn) == 12 and set(shown.drawn) < set(range(36, 88))
    assert shown.drawn != sorted(shown.drawn) and len(set(shown.every)) == 60


def test_few_rows_are_all_shown_and_each_once():
    for count in range(6):
        shown = shown_rows(records([row / 10 for row in range(count)]))
        assert sorted(shown.every) == list(range(count)) and len(shown.best) == count // 2


def test_equal_rows_stand_in_a_drawn_order_that_is_always_the_same():
    same = records([0.0] * 50)
    assert worst_first(same) == worst_first(same) != list(range(50))


def test_nothing_on_an_empty_picture_is_not_among_the_best():
    shown = shown_rows(records([1.0] * 10 + [0.8] * 10, empty=tuple(range(10))))
    assert set(shown.best) <= set(range(10, 20)) and len(shown.best) == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"iou": "x"}, "iou is 'x'"),
        ({"boxes": [[1, 2, 3]]}, r"boxes: expected four numbers a box, got \[1, 2, 3\]"),
        ({"true_boxes": [[1, 2, 3, None]]}, "true_boxes: expected four numbers"),
        ({"labels": []}, "boxes has 1, labels 0"),
        ({"scores": [0.1, 0.2]}, "boxes has 1, scores 2"),
        ({"more": 1}, "more is unknown"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, change: dict, says: str):
    path = save_detections(tmp_path, "test", [RECORD], picture)
    content = json.loads(path.read_text()) | change
    path.write_text(f"{path.read_text()}{json.dumps(content)}\n")
    with pytest.raises(DataError, match=f"test_detections.jsonl:2: no detection: {says}"):
        load_detections(tmp_path, "test")


def test_missing_and_torn_files(tmp_path: Path):
    with pytest.raises(DataError, match="no such file; was the run evaluated"):
        load_detections(tmp_path, "test")
    path = save_detections(tmp_path, "test", [RECORD], picture)
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match=":1: not JSON"):
        load_detections(tmp_path, "test")
    path.write_text("{}\n")
    with pytest.raises(DataError, match="id is missing"):
        load_detections(tmp_path, "test")


def test_what_cannot_be_kept(tmp_path: Path):
    with pytest.raises(ValueError, match="no content hash"):
        save_detections(tmp_path, "test", [replace(RECORD, picture="../a")], picture)
    with pytest.raises(ValueError):
        save_detections(tmp_path, "test", [replace(RECORD, iou=float("nan"))], picture)
    assert not (tmp_path / "evaluation" / "test_detections.jsonl").exists()
