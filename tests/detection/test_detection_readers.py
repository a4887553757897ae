from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.pictures import decode_image
from edge_glass.detection.data import hub as detection_hub
from edge_glass.detection.data import picture_sizes
from edge_glass.detection.data.hub import is_hub_id, split_of
from edge_glass.detection.data.parquet import read_detection_parquet
from edge_glass.detection.data.picture_sizes import upright_size
from edge_glass.detection.data.readers import own_splits, parse_source, read_detection
from scene_rows import noise, row, shape_rows, turned, write_rows

INSIDE = [0.25, 0.125, 0.75, 0.5]  # y_min, x_min, y_max, x_max


def read(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> Any:
    return read_detection_parquet(write_rows(tmp_path / "rows.parquet", rows), **options)


def reasons(table: Any) -> dict[str, str]:
    return {bad.identifier: bad.reason for bad in table.rejected}


# What is right


def test_openfoodfacts_boxes_are_y_first_and_relative(tmp_path: Path) -> None:
    picture = noise(1, (320, 200))
    table = read(tmp_path, [row(picture, [INSIDE], "123_4", "123", (320, 200))])
    assert table.ids == ["123_4"] and table.groups == ["123"] and table.sizes == [(320, 200)]
    np.testing.assert_allclose(table.boxes[0], [[0.125 * 320, 0.25 * 200, 0.5 * 320, 0.75 * 200]])
    assert table.boxes[0].dtype == np.float64
    assert table.labels == [("table",)] and table.categories == ("table",)
    assert table.captions == [[]] and table.picture(0) == picture and not table.rejected


@pytest.mark.parametrize("spec", ["xyxy_relative", "xywh_relative", "cxcywh_relative", "xyxy", "xywh"])
def test_other_specs_read_the_same_boxes(tmp_path: Path, spec: str) -> None:
    expected = read(tmp_path, shape_rows(4))
    table = read_detection_parquet(write_rows(tmp_path / "other.parquet", shape_rows(4, spec=spec)), spec)
    assert len(table) == 4 and table.relative == spec.endswith("relative")
    for found, wanted in zip(table.boxes, expected.boxes, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_rows_without_a_thing_are_rows_too(tmp_path: Path) -> None:
    table = read(tmp_path, [row(noise(1), []), row(noise(2), [INSIDE])])
    assert len(table) == 2 and table.boxes[0].shape == (0, 4) and table.labels[0] == ()


def test_categories_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = [
        row(noise(1), [INSIDE, INSIDE], categories=[(2, "zebra"), (0, "pear")]),
        row(noise(2), [INSIDE], categories=[(1, " apple ")]),
    ]
    table = read(tmp_path, rows)
    assert table.categories == ("pear", "apple", "zebra")
    assert table.labels == [("zebra", "pear"), ("apple",)]


def test_only_picture_and_objects_are_needed(tmp_path: Path) -> None:
    full = write_rows(tmp_path / "full.parquet", shape_rows(3))
    pq.write_table(pq.read_table(full).select(["objects", "image"]), tmp_path / "bare.parquet")
    table = read_detection_parquet(tmp_path / "bare.parquet")
    assert table.ids == ["0", "1", "2"] and table.groups == () and len(table.boxes[0]) == 1


def test_slight_overshoot_is_clipped(tmp_path: Path) -> None:
    table = read(tmp_path, [row(noise(1, (400, 300)), [[-0.005, 0.2, 1.004, 1.009]], size=(400, 300))])
    np.testing.assert_allclose(table.boxes[0], [[80, 0, 400, 300]], atol=1e-3)


# Bad input: every row is named


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nan": (row(noise(1), [[float("nan"), 0, 1, 1]], "nan"), "not four finite numbers"),
    "null": (row(noise(2), [[None, 0, 1, 1]], "null"), "not four finite numbers"),
    "inverted": (row(noise(3), [[0.8, 0.1, 0.2, 0.5]], "inverted"), "is inverted"),
    "flat": (row(noise(4), [[0.2, 0.3, 0.2, 0.5]], "flat"), "has no area"),
    "outside": (row(noise(5), [[0.2, 0.3, 0.6, 1.5]], "outside"), "outside of its picture of 32x24"),
    "three": (row(noise(6), [[0.1, 0.2, 0.3]], "three"), "is not four numbers"),
    "empty": (row(noise(7), [[]], "empty"), "no numbers"),
    "nameless": (row(noise(8), [INSIDE], "nameless", categories=[(3, None)]), "its category 3 has no name"),
    "uneven": (row(noise(9), [INSIDE], "uneven", categories=[]), "1 boxes but 0 category names"),
    "marker": (row(noise(10), [INSIDE], "marker", categories=[(0, "<|im_end|>")]), "'<|'"),
    "no objects": (row(noise(11), None, "no objects"), "its objects are missing"),
    "no picture": (row(None, [INSIDE], "no picture"), "no picture"),
    "no bytes": (row(b"", [INSIDE], "no bytes"), "no bytes"),
    "truncated": (row(noise(12, (64, 64))[:-900], [INSIDE], "truncated"), "truncated"),
    "html": (row(b"<html>sorry</html>", [INSIDE], "html"), "HTML page"),
    "1x5000": (row(noise(13, (1, 5000)), [INSIDE], "1x5000", size=(1, 5000)), "the picture is 1x5000"),
    "aspect": (row(noise(14, (804, 4)), [INSIDE], "aspect", size=(804, 4)), "at most 200 times"),
    "size": (row(noise(15), [INSIDE], "size", size=(320, 240)), "says 320x240, but the picture is 32x24"),
    "swapped": (row(noise(16), [INSIDE], "swapped", size=(24, 32)), "says 24x32, but the picture is 32x24"),
    "half a size": (row(noise(17), [INSIDE], "half a size", size=(32, None)), "says 32x?"),
    "exif": (
        row(turned(18, (40, 30)), [INSIDE], "exif", size=(40, 30)),
        "before its EXIF rotation; upright it",
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_row_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    bad, says = BAD[name]
    table = read(tmp_path, [row(noise(100), [INSIDE], "before"), bad, row(noise(101), [INSIDE], "after")])
    assert table.ids == ["before", "after"] and table.positions == [0, 2]
    (rejected,) = table.rejected
    assert (rejected.row, rejected.identifier) == (1, name)
    assert says in rejected.reason, rejected.reason


def test_all_of_them_at_once(tmp_path: Path) -> None:
    rows = [bad for bad, _ in BAD.values()]
    good = row(noise(100), [INSIDE], "good")
    table = read(tmp_path, [*rows[:9], good, *rows[9:]])
    assert table.ids == ["good"] and set(reasons(table)) == set(BAD)
    assert table.image(0).size == (32, 24)


def test_an_aspect_of_exactly_200_is_taken(tmp_path: Path) -> None:
    assert len(read(tmp_path, [row(noise(1, (800, 4)), [INSIDE], size=(800, 4))])) == 1


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_sizes_are_those_of_the_upright_picture(orientation: int, kind: str) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = noise(1, (40, 30), kind, exif=exif)
    size = upright_size(data)
    assert size[:2] == decode_image(data).size
    assert size.turned == (orientation > 4)


def test_turned_pictures_with_upright_annotations_are_good(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        table = read(tmp_path, [row(turned(1, (40, 30)), [INSIDE], size=(30, 40))])
    assert table.sizes == [(30, 40)] == [table.image(0).size]
    np.testing.assert_allclose(table.boxes[0], [[0.125 * 30, 10, 15, 30]])
    assert "1 of 1 pictures lie on their side" in caplog.text


# What becomes of bad boxes


MIXED = [
    row(noise(1), [INSIDE, [0.5, 0.5, 0.1, 0.6]], "mixed"),
    row(noise(2), [[0.5, 0.5, 0.1, 0.6], [0.2, 0.2, 0.2, 0.6]], "wrong"),
    row(noise(3), [INSIDE, INSIDE], "dogs", categories=[(0, "table"), (1, "dog")]),
    row(noise(4), [INSIDE], "dog", categories=[(1, "dog")]),
    row(noise(5), [INSIDE], "good"),
]


def test_skip_row(tmp_path: Path) -> None:
    table = read(tmp_path, MIXED, categories=["table"])
    assert table.ids == ["good"] and table.categories == ("table",) and not table.skipped_boxes
    found = reasons(table)
    assert set(found) == {"mixed", "wrong", "dogs", "dog"}
    assert "is inverted (and 1 more)" in found["wrong"]
    assert found["dog"] == "the category 'dog' is none of those that are looked for (table)"


def test_skip_box(tmp_path: Path) -> None:
    table = read(tmp_path, MIXED, categories=["table"], bad_boxes="skip_box")
    assert table.ids == ["mixed", "dogs", "dog", "good"]
    assert [len(boxes) for boxes in table.boxes] == [1, 1, 0, 1]
    # With nothing but wrong boxes nobody knows what there is to find.
    assert "none of its boxes can be used" in reasons(table)["wrong"]
    assert [(one.identifier, one.wrong) for one in table.skipped_boxes] == [
        ("mixed", True),
        ("dogs", False),
        ("dog", False),
    ]


def test_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"5 boxes cannot be used \(first: row 0 \(mixed\): .* is inverted"):
        read(tmp_path, MIXED, categories=["table"], bad_boxes="error")
    assert len(read(tmp_path, MIXED[2:], bad_boxes="error")) == 3


def test_an_unknown_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="skip_row, skip_box, error"):
        read(tmp_path, MIXED, bad_boxes="repair")


def test_a_file_without_the_columns_says_what_is_expected(tmp_path: Path) -> None:
    file = tmp_path / "other.parquet"
    pq.write_table(pa.table({"image": [b"x"], "caption": ["a"]}), file)
    with pytest.raises(DataError, match=r"no column 'objects'; it has image, caption.*\n.*nutrition-table"):
        read_detection_parquet(file)
    pq.write_table(pa.table({"image": [b"x"], "objects": [[1.0]]}), file)
    with pytest.raises(DataError, match=r"column 'objects' holds .*, expected structs of the lists bbox"):
        read_detection_parquet(file)
    with pytest.raises(DataError, match="no such file"):
        read_detection(str(tmp_path / "none.parquet"))


def test_sizes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_rows(tmp_path / "rows.parquet", shape_rows(3))
    first = read_detection_parquet(file)
    monkeypatch.setattr(picture_sizes, "upright_size", lambda data: pytest.fail("read again"))
    assert read_detection_parquet(file).sizes == first.sizes


# Sources


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a/b.parquet", ("parquet", "a/b.parquet", None)),
        ("coco:x/y.json", ("coco", "x/y.json", None)),
        ("yolo:data.yaml", ("yolo", "data.yaml", None)),
        ("yolo:data.yaml#valid", ("yolo", "data.yaml", "val")),
        ("voc:folder#test", ("voc", "folder", "test")),
        ("openfoodfacts/nutrition-table-detection", ("hub", "openfoodfacts/nutrition-table-detection", None)),
        ("a/b#validation", ("hub", "a/b", "val")),
    ],
)
def test_sources_are_told_apart(source: str, parts: tuple) -> None:
    assert parse_source(source) == parts


@pytest.mark.parametrize(
    "source", ["", "rows.csv", "a/b/c", "coco:", "json:x", "coco:a.json#val", "./folder"]
)
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(ConfigError, match=r"coco:FILE\.json"):
        read_detection(source)


def test_a_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my" / "rows").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("your/rows") and not is_hub_id("my/rows")


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/val-00000-of-00001.parquet", "val"),
        ("validation.parquet", "val"),
        ("default/test/0000.parquet", "test"),
        ("training_notes.parquet", None),
        ("rows.parquet", None),
    ],
)
def test_files_of_a_hub_belong_to_splits(file: str, split: str | None) -> None:
    assert split_of(Path(file)) == split


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """A data set in two training files and one of validation; gives the calls."""
    data = tmp_path / "snapshot" / "data"
    data.mkdir(parents=True)
    write_rows(data / "train-00000-of-00002.parquet", shape_rows(3))
    write_rows(data / "train-00001-of-00002.parquet", shape_rows(2, 3))
    write_rows(data / "val-00000-of-00001.parquet", shape_rows(2, 10))
    calls: list[tuple[Any, Any]] = []

    def download(name: str, **options: Any) -> str:
        calls.append((name, options))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(detection_hub, "require_hub", lambda source: None)
    return calls


def test_hub_data_sets_are_read_by_split(hub: list[tuple[Any, Any]]) -> None:
    table = read_detection("some/tables")
    assert len(table) == 5 and table.ids == [f"{number}_{number}" for number in range(5)]
    assert table.image(4).size == table.sizes[4]
    assert len(read_detection("some/tables#validation")) == 2
    assert hub[0] == ("some/tables", {"repo_type": "dataset", "allow_patterns": ["*.parquet"]})
    assert own_splits("some/tables") == {"train": "some/tables#train", "val": "some/tables#val"}
    assert own_splits("some/tables#train") == {"train": "some/tables#train"}
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        read_detection("some/tables#test")


def test_a_hub_out_of_reach_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"nobody/nothing: the data set cannot be fetched .*\n.*parquet file"):
        read_detection("nobody/nothing")
