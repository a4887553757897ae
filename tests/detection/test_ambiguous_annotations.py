"""Annotations that can be read in two ways are read as they were meant, or refused with a reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from edge_glass.detection.data.readers import read_detection
from scene_rows import noise

BOX = [10, 10, 20, 20]


def coco(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Any:
    for image in images:
        (folder / image["file_name"]).write_bytes(noise(len(image["file_name"]), (100, 80)))
    notes = [{"id": number, "category_id": 1, "image_id": 0} | one for number, one in enumerate(annotations)]
    categories = [{"id": 1, "name": "cat"}]
    (folder / "a.json").write_text(
        json.dumps({"images": images, "annotations": notes, "categories": categories})
    )
    return read_detection(f"coco:{folder}/a.json")


def test_two_pictures_with_one_id_are_bad_rows(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": name} for number, name in ((0, "a.png"), (0, "bb.png"), (1, "ccc.png"))
    ]
    table = coco(tmp_path, images, [{"bbox": BOX}, {"bbox": BOX, "image_id": 1}])
    assert table.ids == ["ccc.png"] and len(table.boxes[0]) == 1
    assert {bad.identifier: bad.reason for bad in table.rejected} == dict.fromkeys(
        ["a.png", "bb.png"], "2 pictures have the id 0"
    )


@pytest.mark.parametrize(("written", "boxes"), [("0", 1), (0, 1), (False, 1), ("1", 0), (1, 0), ("", 1)])
def test_a_crowd_written_as_text(tmp_path: Path, written: Any, boxes: int) -> None:
    table = coco(tmp_path, [{"id": 0, "file_name": "a.png"}], [{"bbox": BOX, "iscrowd": written}])
    assert len(table.boxes[0]) == boxes


def test_a_box_written_twice_is_one_box(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table = coco(tmp_path, [{"id": 0, "file_name": "a.png"}], [{"bbox": BOX}] * 3)
    assert table.boxes[0].tolist() == [[10, 10, 30, 30]]
    assert "2 boxes are written more than once" in caplog.text


def yolo(folder: Path, names: str) -> Any:
    (folder / "data.yaml").write_text(f"train: images/train\nnames: {names}\n")
    return read_detection(f"yolo:{folder}/data.yaml")


def test_names_are_the_text_that_is_written(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
    (tmp_path / "images/train/a.png").write_bytes(noise(1, (100, 80)))
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.2\n2 0.2 0.2 0.1 0.1\n")
    assert yolo(tmp_path, "[no, on, 0010]").categories == ("no", "on", "0010")
    assert yolo(tmp_path, "{0: no, 1: on, 2: 0010}").labels == [("no", "0010")]


def test_a_linked_picture_has_the_labels_beside_the_link(tmp_path: Path) -> None:
    for place in ("pool/images", "pool/labels", "set/images/train", "set/labels/train"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "pool/images/x.png").write_bytes(noise(1, (100, 80)))
    (tmp_path / "pool/labels/x.txt").write_text("1 0.2 0.2 0.1 0.1\n")
    (tmp_path / "set/images/train/x.png").symlink_to(tmp_path / "pool/images/x.png")
    (tmp_path / "set/labels/train/x.txt").write_text("0 0.5 0.5 0.6 0.6\n")
    assert yolo(tmp_path / "set", "[cat, dog]").labels == [("cat",)]


@pytest.mark.parametrize("opening", ['<annotation xmlns="http://example.org/voc">', "<annotation>"])
def test_voc_in_a_namespace_and_of_no_size(tmp_path: Path, opening: str) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind).mkdir()
    (tmp_path / "JPEGImages/a.jpg").write_bytes(noise(1, (100, 80)))
    (tmp_path / "Annotations/a.xml").write_text(
        f"{opening}<filename>a.jpg</filename><size><width>0</width><height>0</height></size><object>"
        "<name>cat</name><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>"
        "</annotation>"
    )
    table = read_detection(f"voc:{tmp_path}")
    assert table.labels == [("cat",)] and table.boxes[0].tolist() == [[10, 10, 20, 20]]
