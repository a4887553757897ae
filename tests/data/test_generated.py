from __future__ import annotations

import numpy as np
from PIL import ImageColor

from edge_glass.data.generated import COLOURS, RATE, SHAPES, TAKES, draw_shape, generated_splits, play_shape
from edge_glass.data.samples import row_kinds
from edge_glass.data.splits import connected_groups, separate_pictures


def test_sizes_and_distinct_rows():
    splits = generated_splits()
    assert {name: len(table) for name, table in splits.items()} == {"train": 32, "val": 8, "test": 8}
    for what in ("ids", "picture_hashes"):
        values = [value for table in splits.values() for value in getattr(table, what)]
        assert len(set(values)) == len(COLOURS) * len(SHAPES) == 48
    captions = [text for table in splits.values() for row in table.captions for text in row]
    assert len(set(captions)) == 96
    assert all(len(set(connected_groups(table))) == len(table) for table in splits.values())
    assert separate_pictures(splits, "error") == splits


def test_every_colour_and_shape_can_be_learned():
    names = generated_splits()["train"].ids
    assert {name.split("-")[0] for name in names} == set(COLOURS)
    assert {name.split("-")[1] for name in names} == set(SHAPES)


def test_the_same_every_time():
    first, second = generated_splits(), generated_splits()
    assert first == second
    assert draw_shape("red", "ring") == draw_shape("red", "ring")


def test_pictures_show_their_colour():
    for table in generated_splits().values():
        for row in range(len(table)):
            image = table.image(row)
            assert image.mode == "RGB" and image.size == (40, 40)
            colour = ImageColor.getrgb(table.ids[row].split("-")[0])
            assert {shown for _, shown in image.getcolors()} == {(255, 255, 255), colour}


def test_sounds_belong_to_their_names_and_some_training_rows_lack_something():
    splits = generated_splits(sounds=True)
    assert {name: len(table) for name, table in splits.items()} == {"train": 32, "val": 8, "test": 8}
    kinds = {name: row_kinds(table, ("vision", "audio", "text")).tolist() for name, table in splits.items()}
    assert kinds["val"] == kinds["test"] == [7] * 8
    assert (kinds["train"].count(5), kinds["train"].count(6), kinds["train"].count(7)) == (4, 4, 24)
    takes = [take for table in splits.values() for row in table.keys("audio") for take in row]
    assert len(takes) == len(set(takes)) == TAKES * (28 + 8 + 8)
    heard = splits["test"].sound(3, take=1)
    colour, shape = splits["test"].ids[3].split("-")
    assert heard.rate == RATE and np.abs(heard.samples - play_shape(colour, shape, 1).samples).max() < 1e-4
    assert all(len(set(connected_groups(table))) == len(table) for table in splits.values())
    assert generated_splits(sounds=True) == splits
    assert splits["train"].captions == generated_splits()["train"].captions
