"""Where pictures with boxes come from: splits without leaks, categories, and boxes that fit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_glass.config import ExperimentConfig
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.data.splits import load_scenes
from scene_rows import noise, row, shape_rows, turned, write_coco, write_rows, write_voc, write_yolo


@pytest.fixture(autouse=True)
def own_home(home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "edge-glass-home"))


def config(tiny: bool = False, **dataset: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {"name": "x", "task": "detection", "tiny": tiny, "dataset": dataset}
    )


def load(**dataset: Any) -> dict[str, Any]:
    return load_scenes(config(**dataset))


def groups_of(tables: dict[str, Any]) -> dict[str, set[str]]:
    return {name: set(table.groups) for name, table in tables.items()}


def sides_are_apart(tables: dict[str, Any]) -> bool:
    """No picture and no barcode is in two splits."""
    for modality in ("vision", "group"):
        seen = [{key for keys in table.keys(modality) for key in keys} for table in tables.values()]
        if len(set.union(*seen)) != sum(map(len, seen)):
            return False
    return True


def test_tiny_needs_nothing() -> None:
    tables = load_scenes(config(tiny=True, train="nowhere.parquet"))
    assert {name: len(table) for name, table in tables.items()} == {"train": 24, "val": 8, "test": 8}
    assert sides_are_apart(tables)
    assert len({table.categories for table in tables.values()}) == 1


def test_a_training_source_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.train is not set"):
        load()


def test_products_stay_on_one_side(tmp_path: Path) -> None:
    rows = shape_rows(60, each=3)
    file = str(write_rows(tmp_path / "rows.parquet", rows))
    tables = load(train=file, val_fraction=0.2, test_fraction=0.2)
    assert list(tables) == ["train", "val", "test"] or set(tables) == {"train", "val", "test"}
    assert sum(map(len, tables.values())) == 60 and sides_are_apart(tables)
    assert all(len(table) % 3 == 0 and len(table) for table in tables.values())
    again = load(train=file, val_fraction=0.2, test_fraction=0.2)
    assert {name: table.ids for name, table in again.items()} == {n: t.ids for n, t in tables.items()}
    for table in tables.values():  # each row still has its own boxes
        for index, name in enumerate(table.ids):
            there = rows[int(name.split("_")[1])]
            height, width = there["height"], there["width"]
            written = np.array(there["objects"]["bbox"]) * [height, width, height, width]
            np.testing.assert_allclose(table.boxes[index], written[:, [1, 0, 3, 2]], atol=1e-3)


def test_the_same_picture_under_two_barcodes_stays_on_one_side(tmp_path: Path) -> None:
    rows = shape_rows(40)
    again = [{**one, "image_id": f"again {n}", "meta": {"barcode": f"b{n}"}} for n, one in enumerate(rows)]
    file = str(write_rows(tmp_path / "rows.parquet", [*rows, *again]))
    tables = load(train=file, val_fraction=0.2, test_fraction=0.2)
    assert sum(map(len, tables.values())) == 80 and sides_are_apart(tables)


def test_a_barcode_of_the_validation_file_is_not_learned_from(tmp_path: Path) -> None:
    rows = shape_rows(40, each=2)
    files = {
        "train": str(write_rows(tmp_path / "train.parquet", rows[:30] + shape_rows(10, 100))),
        "val": str(write_rows(tmp_path / "val.parquet", rows[29:])),  # its first shares a barcode with row 28
        "test": str(write_rows(tmp_path / "test.parquet", shape_rows(5, 200))),
    }
    with pytest.raises(DataError, match=r"1 rows share their picture.*\n.*shared_pictures=leave_out"):
        load(**files)
    files["train"] = str(write_rows(tmp_path / "apart.parquet", rows[:29] + shape_rows(10, 100)))
    with pytest.raises(DataError, match=r"1 rows share their barcode with another split \(first: 14_28"):
        load(**files)
    tables = load(**files, shared_pictures="leave_out")
    assert sides_are_apart(tables) and len(tables["val"]) == 11
    assert [bad.reason for bad in tables["train"].rejected] == ["its barcode is also in a later split"]


def test_categories_are_those_of_the_training_rows(tmp_path: Path) -> None:
    def rows(first: int, names: list[tuple[int, str]]) -> list[dict[str, Any]]:
        box = [0.2, 0.2, 0.8, 0.7]
        return [
            row(noise(first + n), [box], f"{first + n}", str(first + n), categories=[name])
            for n, name in enumerate(names)
        ]

    cat, dog, elk = (0, "cat"), (1, "dog"), (2, "elk")
    train = str(write_rows(tmp_path / "train.parquet", rows(0, [dog, cat] * 10)))
    val = str(write_rows(tmp_path / "val.parquet", rows(50, [cat, dog, dog, elk])))
    test = str(write_rows(tmp_path / "test.parquet", rows(80, [cat, dog])))
    with pytest.raises(DataError, match=r"val\.parquet: 1 of 4 rows .*'elk' is none of those .*\(cat, dog\)"):
        load(train=train, val=val, test=test)
    tables = load(train=train, val=val, test=test, max_bad_fraction=0.3)
    assert {table.categories for table in tables.values()} == {("cat", "dog")}
    assert len(tables["val"]) == 3
    tables = load(train=train, val=val, test=test, bad_boxes="skip_box")
    assert len(tables["val"]) == 4 and tables["val"].labels[3] == ()
    named = load(train=train, val=val, test=test, categories=["elk", "dog", "cat"])
    assert {table.categories for table in named.values()} == {("elk", "dog", "cat")}
    assert len(named["val"]) == 4


def test_a_category_without_a_box_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = str(write_rows(tmp_path / "rows.parquet", shape_rows(40)))
    load(train=file, categories=["rectangle", "ellipse", "moon"])
    assert "no box is of the categories moon" in caplog.text


def test_bad_rows_are_named_and_too_many_are_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        row(noise(1, (1, 5000)), [[0, 0, 1, 1]], "narrow", size=(1, 5000)),
        row(turned(2, (40, 30)), [[0, 0, 1, 1]], "turned", size=(40, 30)),
    ]
    file = str(write_rows(tmp_path / "rows.parquet", [*shape_rows(48), *bad]))
    with caplog.at_level(logging.WARNING):
        tables = load(train=file, max_bad_fraction=0.04)
    assert sum(map(len, tables.values())) == 48
    assert "row 48 (narrow) is skipped: the picture is 1x5000" in caplog.text
    assert "row 49 (turned) is skipped: the annotation says 40x30" in caplog.text
    with pytest.raises(DataError) as caught:
        load(train=file, max_bad_fraction=0.03)
    assert "2 of 50 rows cannot be used (first: row 48 (narrow): the picture is 1x5000" in str(caught.value)
    assert "data check" not in str(caught.value)  # which reads captions


def test_too_many_skipped_boxes_are_an_error(tmp_path: Path) -> None:
    rows = shape_rows(60)
    for one in rows[:4]:
        one["objects"]["bbox"].append([0.9, 0.9, 0.1, 0.1])
        one["objects"]["category_id"].append(0)
        one["objects"]["category_name"].append("rectangle")
    file = str(write_rows(tmp_path / "rows.parquet", rows))
    with pytest.raises(DataError, match=r"4 of 64 boxes cannot be used"):
        load(train=file, bad_boxes="skip_box")
    tables = load(train=file, bad_boxes="skip_box", max_bad_fraction=0.2, val_fraction=0.2, test_fraction=0.2)
    assert sum(map(len, tables.values())) == 60
    assert [len(tables[name].skipped_boxes) for name in ("train", "val", "test")] == [4, 0, 0]


def test_boxes_in_the_wrong_order_are_found_out(tmp_path: Path) -> None:
    """The fault of the story: OpenFoodFacts' y, x, y, x read as x, y, x, y."""
    file = str(write_rows(tmp_path / "rows.parquet", shape_rows(60)))
    assert load(train=file)
    with pytest.raises(DataError) as caught:
        load(train=file, box_spec="xyxy_relative")
    assert "x and y of the boxes seem to be swapped" in str(caught.value)
    assert "dataset.box_spec is xyxy_relative; yxyx_relative or" in str(caught.value)
    swapped = str(write_rows(tmp_path / "swapped.parquet", shape_rows(60, spec="xyxy_relative")))
    with pytest.raises(DataError, match=r"swapped\.parquet.*\n.*box_spec is yxyx_relative; xyxy_relative"):
        load(train=file, val=swapped)


def test_a_coco_file_with_swapped_boxes_is_found_out(tmp_path: Path) -> None:
    images, boxes = [], []
    for number, one in enumerate(shape_rows(40, spec="xywh")):
        (tmp_path / f"{number}.png").write_bytes(one["image"]["bytes"])
        size = {"width": one["width"], "height": one["height"]}
        images.append({"id": number, "file_name": f"{number}.png", **size})
        (x, y, width, height) = one["objects"]["bbox"][0]
        boxes.append(
            {"id": number, "image_id": number, "bbox": [y, x, height, width], "category_id": 1, "iscrowd": 0}
        )
    wrong = write_coco(tmp_path, images, boxes)
    with pytest.raises(DataError, match=r"swapped(.|\n)*This form fixes the order"):
        load(train=f"coco:{wrong}", max_bad_fraction=0.9)
    for box in boxes:
        y, x, height, width = box["bbox"]
        box["bbox"] = [x, y, width, height]
    right = write_coco(tmp_path, images, boxes)
    assert sum(map(len, load(train=f"coco:{right}").values())) == 40


def test_a_source_brings_its_own_splits(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.4 0.4"
    for split, first, count in (("train", 0, 20), ("val", 30, 4), ("test", 40, 3)):
        rows = [(f"{split}{n}", noise(first + n), line) for n in range(count)]
        write_yolo(tmp_path, split, rows)
    text = "train: images/train\nval: images/val\n{}names: [cat]\n"
    file = tmp_path / "data.yaml"
    file.write_text(text.format("test: images/test\n"))
    tables = load(train=f"yolo:{file}")
    assert {name: len(table) for name, table in tables.items()} == {"train": 20, "val": 4, "test": 3}
    file.write_text(text.format(""))
    tables = load(train=f"yolo:{file}", test_fraction=0.3)
    assert len(tables["val"]) == 4 and len(tables["train"]) + len(tables["test"]) == 20
    tables = load(train=f"yolo:{file}#train", val_fraction=0.2, test_fraction=0.2)
    assert sum(map(len, tables.values())) == 20
    tables = load(train=f"yolo:{file}", val=f"yolo:{file}#val", test_fraction=0.3)
    assert len(tables["val"]) == 4


def test_voc_splits_and_a_split_of_one_row(tmp_path: Path) -> None:
    for number in range(20):
        write_voc(tmp_path, f"p{number}", noise(number, (40, 30)), [("cat", (5, 6, 30, 20))], (40, 30))
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(f"p{number}" for number in range(17)))
    (lists / "val.txt").write_text("p17\np18\n")
    assert len(load(train=f"voc:{tmp_path}", test_fraction=0.3)["val"]) == 2
    (lists / "test.txt").write_text("p19\n")
    with pytest.raises(DataError, match=r"the test split has 1 usable rows.*\n.*dataset\.test"):
        load(train=f"voc:{tmp_path}")
