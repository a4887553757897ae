from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_glass.core.errors import DataError
from edge_glass.detection.data.readers import read_detection
from scene_rows import noise, turned, write_coco


def reasons(table: Any) -> dict[str, str]:
    return {bad.identifier: bad.reason for bad in table.rejected}


def coco_picture(folder: Path, number: int, data: bytes | None = None, **more: Any) -> dict[str, Any]:
    """A picture file of 40 x 30 and its record."""
    (folder / f"{number}.png").write_bytes(noise(number, (40, 30)) if data is None else data)
    return {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30, **more}


def coco_box(number: int, picture: Any, box: Any, category: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": picture, "bbox": box, "category_id": category, **more}


def test_coco_boxes_are_corner_and_size(tmp_path: Path) -> None:
    images = [coco_picture(tmp_path, 7), coco_picture(tmp_path, 9), coco_picture(tmp_path, 8)]
    boxes = [
        coco_box(1, 9, [1, 2, 30, 20.5], 3),
        coco_box(2, 7, [0, 0, 40, 30]),
        coco_box(3, 9, [5, 5, 2, 2]),
    ]
    table = read_detection(f"coco:{write_coco(tmp_path, images, boxes)}")
    assert table.ids == ["7.png", "9.png", "8.png"] and table.categories == ("cat", "dog")
    np.testing.assert_array_equal(table.boxes[0], [[0, 0, 40, 30]])
    np.testing.assert_array_equal(table.boxes[1], [[1, 2, 31, 22.5], [5, 5, 7, 7]])
    assert table.boxes[2].shape == (0, 4)
    assert table.labels == [("cat",), ("dog", "cat"), ()] and not table.relative
    assert table.image(1).size == (40, 30) and table.picture(1) == noise(9, (40, 30))


def test_coco_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    images = [coco_picture(tmp_path / "pictures", 1)]
    file = write_coco(tmp_path, images, [])
    assert len(read_detection(f"coco:{file}", image_root=tmp_path / "pictures")) == 1
    assert "does not exist" in reasons(read_detection(f"coco:{file}"))["1.png"]
    with pytest.raises(DataError, match="no such folder"):
        read_detection(f"coco:{file}", image_root=tmp_path / "nowhere")


def test_every_bad_row_of_a_coco_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    folder = tmp_path / "in"
    (tmp_path / "secret.png").write_bytes(noise(99))
    images = [
        coco_picture(folder, 0),
        coco_picture(folder, 1, width=30, height=40),
        {"id": 2, "file_name": "missing.png", "width": 40, "height": 30},
        coco_picture(folder, 3, noise(3, (40, 30))[:-500]),
        coco_picture(folder, 4, turned(4, (30, 40))),
        {"id": 5, "file_name": "../secret.png", "width": 32, "height": 24},
        {"id": 6, "width": 40, "height": 30},
        "no object",
        *(coco_picture(folder, number) for number in range(8, 14)),
        coco_picture(folder, 14, turned(14, (40, 30)), height=30, width=40),
        coco_picture(folder, 15, width="40", height=30.0),
    ]
    boxes = [
        coco_box(1, 0, [1, 2, 3, 4]),
        coco_box(2, 8, [1, 2, -3, 4]),
        coco_box(3, 9, [1, 2, 0, 4]),
        coco_box(4, 10, [1, 2, 300, 4]),
        coco_box(5, 11, None),
        coco_box(6, 12, [1, 2, 3, 4], 2),
        {"id": 7, "image_id": 13, "bbox": [1, 2, "x", 4], "category_id": 1},
        coco_box(8, 77, [1, 2, 3, 4]),
        coco_box(9, None, [1, 2, 3, 4]),
        ["no object"],
        coco_box(11, 14, [1, 2, 3, 4]),
    ]
    table = read_detection(f"coco:{write_coco(folder, images, boxes)}")
    assert table.ids == ["0.png", "4.png", "15.png"]
    found = reasons(table)
    expected = {
        "1.png": "says 30x40, but the picture is 40x30",
        "missing.png": "does not exist",
        "3.png": "truncated",
        "../secret.png": "lies outside",
        "images[6]": "no id or no file_name",
        "images[7]": "no id or no file_name",
        "8.png": "is inverted",
        "9.png": "has no area",
        "10.png": "outside of its picture",
        "11.png": "the box None is not four numbers",
        "12.png": "annotation 6: the category 2 is not in the file's categories",
        "13.png": "is not four numbers",
        "14.png": "before its EXIF rotation",
        "annotation 8": "belongs to the picture 77, which the file does not list",
        "annotation 9": "belongs to the picture None",
        "annotations[9]": "no object",
    }
    assert set(found) == set(expected)
    for name, says in expected.items():
        assert says in found[name], (name, found[name])


def test_crowds_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = [coco_box(1, 1, [1, 2, 3, 4], iscrowd=1), coco_box(2, 1, [5, 5, 5, 5], iscrowd=0)]
    with caplog.at_level(logging.INFO):
        table = read_detection(f"coco:{write_coco(tmp_path, [coco_picture(tmp_path, 1)], boxes)}")
    np.testing.assert_array_equal(table.boxes[0], [[5, 5, 10, 10]])
    assert "1 boxes of crowds" in caplog.text


def test_reading_coco_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_detection(f"coco:{write_coco(tmp_path, [coco_picture(tmp_path, 1)], [])}")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "no COCO annotations"),
        ('{"images": [], "categories": []}', "no list annotations"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images' is dict, expected a list"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            r"categories\[0\] has no id or no name",
        ),
        (
            '{"images": [], "annotations": [], '
            '"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "two categories have the id 1",
        ),
        ("{", "cannot be read as JSON"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_coco_files(tmp_path: Path, text: str | bytes, says: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=says):
        read_detection(f"coco:{file}")
    with pytest.raises(DataError, match="no such file"):
        read_detection(f"coco:{tmp_path / 'none.json'}")


def test_a_json_line_file_is_no_coco_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"images": []}) + "\n" + json.dumps({"images": []}))
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_detection(f"coco:{file}")
