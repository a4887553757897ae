from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.pictures import decode_image, picture_hash
from edge_glass.detection.boxes.codec import SeenSize, box_codec
from edge_glass.detection.data.generated import CATEGORIES, generated_scenes
from edge_glass.detection.data.parquet import read_detection_parquet
from edge_glass.detection.data.table import (
    DetectionDataset,
    DetectionTable,
    SkippedBox,
    asked,
    check_skipped_boxes,
    join_detections,
)
from scene_rows import encoded, noise, row, shape_rows, write_rows

QWEN2, QWEN25 = box_codec("qwen2_vl"), box_codec("qwen2_5_vl")


@pytest.fixture(scope="module")
def scenes() -> DetectionTable:
    return generated_scenes()["train"]


def test_selected_rows_keep_their_boxes(scenes: DetectionTable) -> None:
    chosen = scenes.select([5, 0, 3])
    assert isinstance(chosen, DetectionTable)
    assert chosen.ids == ["train-5", "train-0", "train-3"]
    for place, index in enumerate((5, 0, 3)):
        np.testing.assert_array_equal(chosen.boxes[place], scenes.boxes[index])
        assert chosen.labels[place] == scenes.labels[index]
        assert chosen.sizes[place] == scenes.sizes[index] == chosen.image(place).size


def test_rows_that_are_left_out_are_named(scenes: DetectionTable) -> None:
    left = scenes.leave_out({1, 2}, "for a test")
    assert len(left) == len(left.boxes) == len(left.labels) == len(left.sizes) == len(scenes) - 2
    assert [(bad.identifier, bad.reason) for bad in left.rejected] == [
        ("train-1", "for a test"),
        ("train-2", "for a test"),
    ]
    assert left.labels[1] == scenes.labels[3]


def test_groups_are_keys_of_their_own(tmp_path: Path) -> None:
    table = read_detection_parquet(write_rows(tmp_path / "a.parquet", shape_rows(4, each=2)))
    assert table.keys("group") == [("40000000",), ("40000000",), ("40000001",), ("40000001",)]
    assert table.keys("vision") == [(digest,) for digest in table.picture_hashes]
    none = replace(table, groups=())
    assert none.keys("group") == [()] * 4


def test_used_categories_keep_their_order(scenes: DetectionTable) -> None:
    more = replace(scenes, categories=("zebra", *reversed(CATEGORIES)))
    assert more.used_categories() == tuple(reversed(CATEGORIES))


def test_joined_tables_are_read_from_both(tmp_path: Path) -> None:
    first = read_detection_parquet(write_rows(tmp_path / "a.parquet", shape_rows(3)))
    second = read_detection_parquet(write_rows(tmp_path / "b.parquet", [*shape_rows(3, 3), row(b"x", [])]))
    joined = join_detections([first, second])
    assert len(joined) == 6 and len(joined.rejected) == 1
    assert joined.groups == [*first.groups, *second.groups]
    assert joined.categories == ("rectangle", "ellipse")
    for index, table in enumerate([first] * 3 + [second] * 3):
        assert picture_hash(joined.image(index)) == table.picture_hashes[index % 3]
        np.testing.assert_array_equal(joined.boxes[index], table.boxes[index % 3])
    assert joined.select([4]).labels == [second.labels[1]]
    assert join_detections([first]) is first


# The data set


def test_an_item_is_a_conversation_row(scenes: DetectionTable) -> None:
    dataset = DetectionDataset(scenes, QWEN2, "Find {categories}.", "Be brief.")
    assert len(dataset) == 24
    item = dataset[3, 1]
    assert set(item) == {"id", "messages", "images", "boxes", "labels", "width", "height"}
    assert item["id"] == "train-1" and (item["width"], item["height"]) == scenes.sizes[1]
    assert [turn["role"] for turn in item["messages"]] == ["system", "user", "assistant"]
    assert item["messages"][1]["content"] == [
        {"type": "image"},
        {"type": "text", "text": "Find rectangle, ellipse."},
    ]
    (picture,) = item["images"]
    assert picture.mode == "RGB" and picture.size == (item["width"], item["height"])
    assert item["boxes"].dtype == np.float64 and item["boxes"].shape == (len(item["labels"]), 4)
    written = item["messages"][2]["content"][0]["text"]
    seen = SeenSize(112, 112)
    read = QWEN2.read(written, scenes.sizes[1], seen)
    assert sorted(read.labels) == sorted(item["labels"]) and read.problem is None
    order = np.lexsort((item["boxes"][:, 0], item["boxes"][:, 1]))
    np.testing.assert_allclose(read.boxes, item["boxes"][order], atol=0.3)
    again = dataset[0, 1]
    assert again["messages"] == item["messages"]
    assert list(again["images"][0].getdata()) == list(picture.getdata())


def test_a_prompt_row_lacks_the_answer_only(scenes: DetectionTable) -> None:
    dataset = DetectionDataset(scenes, QWEN2, "Find {categories}.")
    prompt, item = dataset.prompt_row(2), dataset[2]
    assert prompt["messages"] == item["messages"][:1]
    np.testing.assert_array_equal(prompt["boxes"], item["boxes"])


def test_families_of_absolute_pixels_are_told_what_is_seen(scenes: DetectionTable) -> None:
    with pytest.raises(ConfigError, match="seen"):
        DetectionDataset(scenes, QWEN25, "Find.")[0]
    asked_for = []

    def seen(width: int, height: int) -> SeenSize:
        asked_for.append((width, height))
        return SeenSize(2 * width, 3 * height)

    item = DetectionDataset(scenes, QWEN25, "Find.", seen=seen)[1]
    assert asked_for == [scenes.sizes[1]]
    read = QWEN25.read(
        item["messages"][-1]["content"][0]["text"],
        scenes.sizes[1],
        SeenSize(*np.multiply(asked_for[0], (2, 3))),
    )
    order = np.lexsort((item["boxes"][:, 0], item["boxes"][:, 1]))
    np.testing.assert_allclose(read.boxes, item["boxes"][order], atol=1)


def test_workers_can_receive_it(tmp_path: Path) -> None:
    table = read_detection_parquet(write_rows(tmp_path / "a.parquet", shape_rows(3)))
    dataset = pickle.loads(pickle.dumps(DetectionDataset(table, QWEN2, "Find {categories}.")))
    assert dataset[2]["images"][0].size == table.sizes[2]


def test_braces_in_prompts_are_left_alone() -> None:
    assert asked('Find {categories} as {"bbox_2d": []}.', ["a", "b"]) == 'Find a, b as {"bbox_2d": []}.'


CHANNELS = {
    "1": lambda: Image.new("1", (32, 24), 1),
    "grey": lambda: Image.new("L", (32, 24), 90),
    "grey and alpha": lambda: Image.new("LA", (32, 24), (90, 100)),
    "palette": lambda: Image.new("P", (32, 24), 3),
    "RGBA": lambda: Image.new("RGBA", (32, 24), (250, 0, 0, 0)),
    "16 bits": lambda: Image.fromarray(np.full((24, 32), 40_000, dtype=np.uint16)),
}


@pytest.mark.parametrize("kind", [*CHANNELS, "CMYK"])
def test_any_number_of_channels_becomes_three(tmp_path: Path, kind: str) -> None:
    picture = (
        encoded(Image.new("CMYK", (32, 24), (0, 90, 0, 0)), "JPEG")
        if kind == "CMYK"
        else encoded(CHANNELS[kind]())
    )
    table = read_detection_parquet(write_rows(tmp_path / "a.parquet", [row(picture, [[0.1, 0.1, 0.5, 0.5]])]))
    shown = DetectionDataset(table, QWEN2, "Find.")[0]["images"][0]
    assert shown.mode == "RGB" and shown.size == (32, 24)
    assert np.asarray(shown).shape == (24, 32, 3)
    if kind == "RGBA":  # what is transparent is white, not the hidden red
        assert shown.getpixel((3, 3)) == (255, 255, 255)
    if kind == "16 bits":
        assert abs(shown.getpixel((3, 3))[0] - 156) <= 1


# Boxes that are skipped


def skipping(count: int, wrong: int, others: int, scenes: DetectionTable) -> DetectionTable:
    few = scenes.select(range(count))
    skipped = [SkippedBox(n, f"row {n}", "it is inverted") for n in range(wrong)]
    skipped += [SkippedBox(n, f"row {n}", "another category", False) for n in range(others)]
    return replace(few, skipped_boxes=tuple(skipped))


def test_skipped_boxes_are_named_and_counted(
    scenes: DetectionTable, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        check_skipped_boxes(skipping(20, 7, 3, scenes), 0.5)
    assert "a box of row 0 (row 0) is skipped: it is inverted" in caplog.text
    assert "7 boxes are skipped in all" in caplog.text
    assert "3 boxes are of categories that are not looked for" in caplog.text


def test_too_many_wrong_boxes_are_an_error(scenes: DetectionTable) -> None:
    boxes = sum(map(len, scenes.select(range(20)).boxes))
    table = skipping(20, 3, 50, scenes)
    check_skipped_boxes(table, 3 / (boxes + 3))
    with pytest.raises(DataError, match=rf"3 of {boxes + 3} boxes cannot be used .*\n.*max_bad_fraction"):
        check_skipped_boxes(table, 3 / (boxes + 3) - 1e-6)


# Generated scenes


def test_generated_scenes_are_what_their_boxes_say() -> None:
    tables = generated_scenes()
    assert {name: len(table) for name, table in tables.items()} == {"train": 24, "val": 8, "test": 8}
    digests = [digest for table in tables.values() for digest in table.picture_hashes]
    assert len(set(digests)) == 40
    for table in tables.values():
        assert {len(boxes) for boxes in table.boxes} == {1, 2}
        for index, boxes in enumerate(table.boxes):
            assert picture_hash(decode_image(table.picture(index))) == table.picture_hashes[index]
            pixels = np.asarray(table.rgb(index)).astype(int)
            painted = np.abs(pixels - pixels[0, 0]).max(axis=2) > 0
            assert painted.shape == table.sizes[index][::-1]
            covered = np.zeros_like(painted)
            for left, top, right, bottom in boxes.astype(int):
                inside = painted[top:bottom, left:right]
                assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
                covered[top:bottom, left:right] = True
            assert not (painted & ~covered).any()


def test_generated_scenes_are_the_same_every_time() -> None:
    first, second = generated_scenes()["val"], generated_scenes()["val"]
    assert list(first.pictures) == list(second.pictures)
    assert noise(1) != noise(2)
