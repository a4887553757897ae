from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.data.readers import own_splits, read_detection
from scene_rows import noise, turned, write_coco, write_voc, write_yolo


def reasons(table: Any) -> dict[str, str]:
    return {bad.identifier: bad.reason for bad in table.rejected}


# YOLO


def yolo(folder: Path, text: str = "train: images/train\nval: images/val\nnames: [cat, dog]\n") -> str:
    (folder / "data.yaml").write_text(text)
    return f"yolo:{folder / 'data.yaml'}"


def test_yolo_boxes_are_centre_and_size_in_shares(tmp_path: Path) -> None:
    write_yolo(
        tmp_path,
        "train",
        [
            ("a", noise(1, (40, 30)), "1 0.5 0.5 0.5 0.2\n\n0 0.25 0.5 0.5 1.0\n"),
            ("b", noise(2, (80, 20)), ""),
            ("c", noise(3, (80, 20)), None),
        ],
    )
    table = read_detection(yolo(tmp_path))
    assert table.ids == ["a.png", "b.png", "c.png"] and table.relative
    np.testing.assert_allclose(table.boxes[0], [[10, 12, 30, 18], [0, 0, 20, 30]], atol=1e-4)
    assert table.labels == [("dog", "cat"), (), ()] and table.categories == ("cat", "dog")
    assert table.sizes == [(40, 30), (80, 20), (80, 20)]


def test_yolo_polygons_key_points_and_confidences(tmp_path: Path) -> None:
    lines = "0 0.1 0.2 0.5 0.2 0.5 0.8 0.3 0.9\n0 0.5 0.5 0.2 0.2 0.77\n"
    write_yolo(tmp_path, "train", [("a", noise(1, (100, 100)), lines)])
    table = read_detection(yolo(tmp_path))
    np.testing.assert_allclose(table.boxes[0], [[10, 20, 50, 90], [40, 40, 60, 60]], atol=1e-3)
    pose = "train: images/train\nnames: {0: cat}\nkpt_shape: [2, 3]\n"
    write_yolo(tmp_path, "train", [("a", noise(1, (100, 100)), "0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.9 0.9 2")])
    np.testing.assert_allclose(read_detection(yolo(tmp_path, pose)).boxes[0], [[40, 40, 60, 60]], atol=1e-3)


def test_every_bad_row_of_a_yolo_folder_is_named(tmp_path: Path) -> None:
    good = "0 0.5 0.5 0.2 0.2"
    picture = noise(1, (40, 30))
    rows = [
        ("good", picture, good),
        ("nan", picture, f"{good}\n0 nan 0.5 0.2 0.2"),
        ("inverted", picture, f"{good}\n{good}\n0 0.5 0.5 -0.2 0.2"),
        ("flat", picture, "0 0.5 0.5 0.2 0"),
        ("outside", picture, "0 0.9 0.5 0.4 0.2"),
        ("pixels", picture, "0 20 15 10 10"),
        ("category", picture, "2 0.5 0.5 0.2 0.2"),
        ("short", picture, "0 0.5 0.5 0.2"),
        ("words", picture, "cat 0.5 0.5 0.2 0.2"),
        ("truncated", picture[:-900], good),
        ("narrow", noise(2, (1, 5000)), good),
    ]
    write_yolo(tmp_path, "train", rows)
    (tmp_path / "labels" / "train" / "bytes.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "images" / "train" / "bytes.png").write_bytes(picture)
    table = read_detection(yolo(tmp_path))
    assert table.ids == ["good.png"]
    found = reasons(table)
    expected = {
        "nan.png": "line 2 of its labels: Invalid box ('nan'",
        "inverted.png": "line 3 of its labels: Invalid box extent",
        "flat.png": "has no area",
        "outside.png": "outside of its picture",
        "pixels.png": "outside of its picture",
        "category.png": "the category 2 is not among the 2 names",
        "short.png": "line 1 of its labels: Invalid YOLO annotation line",
        "words.png": "Invalid class id 'cat'",
        "truncated.png": "truncated",
        "narrow.png": "at most 200 times",
        "bytes.png": "not UTF-8",
    }
    assert set(found) == set(expected)
    for name, says in expected.items():
        assert says in found[name], (name, found[name])
    kept = read_detection(yolo(tmp_path), bad_boxes="skip_box")
    assert kept.ids == ["good.png", "inverted.png", "nan.png"]
    assert [len(boxes) for boxes in kept.boxes] == [1, 1, 1]  # the same box twice is one


def test_yolo_splits_and_the_ways_paths_are_written(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.2 0.2"
    write_yolo(tmp_path / "set", "train", [("a", noise(1), line), ("b", noise(2), line)])
    write_yolo(tmp_path / "set", "valid", [("c", noise(3), line)])
    write_yolo(tmp_path / "set", "more", [("d", noise(4), line)])
    (tmp_path / "set" / "test.txt").write_text("./images/valid/c.png\n\nimages/more/d.png\n")
    text = (
        "path: set\ntrain: [images/train, images/more]\nval: ../images/valid\ntest: test.txt\nnames: [cat]\n"
    )
    source = yolo(tmp_path, text)
    assert own_splits(source) == {name: f"{source}#{name}" for name in ("train", "val", "test")}
    assert read_detection(source).ids == ["a.png", "b.png", "d.png"]
    assert read_detection(f"{source}#validation").ids == ["c.png"]
    assert read_detection(f"{source}#test").ids == ["c.png", "d.png"]
    only = yolo(tmp_path / "set", "train: images/train\nnames: [cat]\n")
    assert own_splits(only) == {"train": f"{only}#train"}
    with pytest.raises(DataError, match="no split 'val'; it has train"):
        read_detection(f"{only}#val")
    elsewhere = yolo(tmp_path, "train: images/train\nnames: [cat]\n")
    assert len(read_detection(elsewhere, image_root=tmp_path / "set")) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "no YOLO data file"),
        ("train: images/train\n", "it has no 'names'"),
        ("train: images/train\nnames: cat\n", "neither a list of names nor a map"),
        ("train: images/train\nnames: {cat: 0}\n", "neither a list of names nor a map"),
        ("train: nowhere\nnames: [cat]\n", "'nowhere' is neither a folder nor a list"),
        ("path: nowhere\ntrain: images\nnames: [cat]\n", "nowhere: no such folder"),
        ("train: images/train\nnames: [cat]\nkpt_shape: 3\n", "kpt_shape"),
        ("train: [unclosed\n", "cannot be read as YAML"),
    ],
)
def test_data_files_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    write_yolo(tmp_path, "train", [("a", noise(1), "")])
    with pytest.raises(DataError, match=says):
        read_detection(yolo(tmp_path, text))


def test_missing_labels_are_said_and_none_at_all_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_yolo(tmp_path, "train", [("a", noise(1), "0 0.5 0.5 0.2 0.2"), ("b", noise(2), None)])
    assert len(read_detection(yolo(tmp_path))) == 2
    assert "1 of 2 pictures have no label file" in caplog.text
    (tmp_path / "labels" / "train" / "a.txt").unlink()
    with pytest.raises(DataError, match=r"no picture of 'train' has a label file; expected one at .*labels"):
        read_detection(yolo(tmp_path))


# Pascal VOC


def test_voc_pixels_count_from_one(tmp_path: Path) -> None:
    write_voc(tmp_path, "a", noise(1, (40, 30)), [("dog", (1, 1, 40, 30)), ("cat", (5, 6, 10, 20))], (40, 30))
    write_voc(tmp_path, "b", noise(2, (40, 30)), [], (40, 30))
    table = read_detection(f"voc:{tmp_path}")
    assert table.ids == ["a", "b"] and table.categories == ("cat", "dog")
    np.testing.assert_array_equal(table.boxes[0], [[0, 0, 40, 30], [4, 5, 10, 20]])
    assert table.labels == [("dog", "cat"), ()] and not table.relative


def test_every_bad_row_of_a_voc_folder_is_named(tmp_path: Path) -> None:
    picture, box = noise(1, (40, 30)), ("cat", (5, 6, 10, 20))

    def write(
        name: str, objects: Any = (box,), size: tuple[int, int] = (40, 30), data: bytes = picture
    ) -> Path:
        return write_voc(tmp_path, name, data, objects, size)

    write("good")
    write("inverted", [box, ("cat", (10, 6, 5, 20))])
    write("upside down", [("cat", (5, 20, 10, 6))])
    write("flat", [("cat", (5, 6, 4, 20))])  # xmax = xmin - 1: nothing lies between them
    write("outside", [("cat", (5, 6, 90, 20))])
    write("words", [("cat", ("five", 6, 90, 20))])
    write("nan", [("cat", ("nan", 6, 9, 20))])
    write("no corner", [("cat", (5, 6, 9))])
    write("no name", [("", (5, 6, 10, 20))])
    write("size", size=(41, 30))
    write("exif", data=turned(1, (40, 30)))
    write("truncated", data=picture[:-900])
    write("broken").write_text("<annotation>")
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><annotation><filename>&b;</filename></annotation>'
    write("bomb").write_text(bomb)
    write("no picture")
    (tmp_path / "JPEGImages" / "no picture.png").unlink()
    table = read_detection(f"voc:{tmp_path}")
    assert table.ids == ["good"]
    found = reasons(table)
    expected = {
        "inverted": "the box (10, 6, 5, 20), xmin ymin xmax ymax, is inverted",
        "upside down": "is inverted",
        "flat": "is inverted",
        "outside": "outside of its picture",
        "words": "Invalid 'xmin' value 'five'",
        "nan": "Invalid 'xmin' value 'nan'",
        "no corner": "Missing 'ymax'",
        "no name": "name",
        "size": "says 41x30, but the picture is 40x30",
        "exif": "before its EXIF rotation",
        "truncated": "truncated",
        "broken": "broken.xml cannot be read as XML",
        "bomb": "bomb.xml cannot be read as XML",
        "no picture": "does not exist",
    }
    assert set(found) == set(expected)
    for name, says in expected.items():
        assert says in found[name], (name, found[name])


def test_voc_lists_are_splits(tmp_path: Path) -> None:
    for name in "abc":
        write_voc(tmp_path, name, noise(ord(name), (40, 30)), [("cat", (5, 6, 10, 20))], (40, 30))
    source = f"voc:{tmp_path}"
    assert own_splits(source) == {"train": source} and len(read_detection(source)) == 3
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\nmissing\n")
    (lists / "val.txt").write_text("c 1\n")
    (lists / "cat_train.txt").write_text("a 1\n")
    assert own_splits(source) == {"train": f"{source}#train", "val": f"{source}#val"}
    table = read_detection(f"{source}#train")
    assert table.ids == ["a", "b"] and "no annotation missing.xml" in reasons(table)["missing"]
    assert read_detection(f"{source}#val").ids == ["c"]
    with pytest.raises(DataError, match=r"no split 'test': there is no ImageSets/Main/test\.txt"):
        read_detection(f"{source}#test")


def test_voc_files_may_lie_side_by_side(tmp_path: Path) -> None:
    file = write_voc(tmp_path, "a", noise(1, (40, 30)), [("cat", (5, 6, 10, 20))], (40, 30))
    flat = tmp_path / "flat"
    flat.mkdir()
    file.rename(flat / "renamed.xml")
    (tmp_path / "JPEGImages" / "a.png").rename(flat / "renamed.png")  # <filename> says a.png
    assert read_detection(f"voc:{flat}").image(0).size == (40, 30)
    with pytest.raises(DataError, match="no annotations"):
        read_detection(f"voc:{tmp_path}")
    with pytest.raises(DataError, match="no such folder"):
        read_detection(f"voc:{tmp_path / 'nowhere'}")


# Beside the library's own loaders


def random_boxes(seed: int, size: tuple[int, int]) -> np.ndarray:
    generator = np.random.default_rng(seed)
    low = generator.integers(1, np.array(size) // 2, (3, 2))
    high = low + generator.integers(2, np.array(size) // 2 - 2, (3, 2))
    return np.concatenate([low, high], axis=1)


def test_good_folders_are_read_as_supervision_reads_them(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    for seed in range(4):
        size = (40 + 10 * seed, 30)
        boxes = random_boxes(seed, size)
        picture, name = noise(seed, size), f"p{seed}"
        write_voc(tmp_path / "voc", name, picture, [("cat", tuple(box)) for box in boxes], size)
        shares = boxes / [*size, *size]
        lines = [f"1 {(a + c) / 2:.6f} {(b + d) / 2:.6f} {c - a:.6f} {d - b:.6f}" for a, b, c, d in shares]
        write_yolo(tmp_path / "yolo", "train", [(name, picture, "\n".join(lines))])
    pictures, notes = tmp_path / "voc" / "JPEGImages", tmp_path / "voc" / "Annotations"
    theirs = supervision.DetectionDataset.from_pascal_voc(str(pictures), str(notes))
    ours = read_detection(f"voc:{tmp_path / 'voc'}")
    for index, name in enumerate(ours.ids):
        found = theirs.annotations[str(pictures / f"{name}.png")]
        np.testing.assert_allclose(ours.boxes[index], found.xyxy)
    yolo(tmp_path / "yolo")
    pictures, notes = (tmp_path / "yolo" / part / "train" for part in ("images", "labels"))
    theirs = supervision.DetectionDataset.from_yolo(
        str(pictures), str(notes), str(tmp_path / "yolo" / "data.yaml")
    )
    ours = read_detection(f"yolo:{tmp_path / 'yolo' / 'data.yaml'}")
    for index, name in enumerate(ours.ids):
        found = theirs.annotations[str(pictures / name)]
        np.testing.assert_allclose(ours.boxes[index], found.xyxy, atol=1e-3)
        assert [ours.categories[number] for number in found.class_id] == list(ours.labels[index])


@pytest.mark.parametrize(
    ("form", "package"),
    [
        ("coco", "pycocotools.coco"),
        ("yolo", "supervision.dataset.formats.yolo"),
        ("voc", "defusedxml.ElementTree"),
    ],
)
def test_a_missing_package_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, package: str
) -> None:
    write_yolo(tmp_path, "train", [("a", noise(1), "0 0.5 0.5 0.2 0.2")])
    write_voc(tmp_path, "a", noise(1), [], (32, 24))
    sources = {
        "coco": f"coco:{write_coco(tmp_path, [], [])}",
        "yolo": yolo(tmp_path),
        "voc": f"voc:{tmp_path}",
    }
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'edge-glass\[detection\]'"):
        read_detection(sources[form])
