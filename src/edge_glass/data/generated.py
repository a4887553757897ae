"""Generated rows for `--tiny`: coloured shapes with their names and, where wanted, sounds; made in code."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from itertools import product

import numpy as np
from PIL import Image, ImageDraw

from edge_glass.data.samples import SampleTable
from edge_glass.data.sounds import Sound, decode_sound, encode_flac, sound_hash

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "brown")
SHAPES = ("circle", "square", "triangle", "cross", "bar", "ring")
SIDE = 40
RATE = 16_000
TAKES = 2


def generated_splits(sounds: bool = False) -> dict[str, SampleTable]:
    """Draw 48 pictures: 32 to train on, 8 to validate, 8 to test.

    With sounds, of every eight training rows one lacks its sound and one its picture.
    """
    names = list(product(COLOURS, SHAPES))
    names = [names[(position * 7) % len(names)] for position in range(len(names))]
    parts = {"train": names[:32], "val": names[32:40], "test": names[40:]}
    tables = {split: _table(split, part) for split, part in parts.items()}
    if sounds:
        tables = {
            split: _with_sounds(table, parts[split], split == "train") for split, table in tables.items()
        }
    return tables


def draw_shape(colour: str, shape: str) -> bytes:
    """Draw one shape on white, as PNG bytes."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    low, middle, high = SIDE // 5, SIDE // 2, SIDE - SIDE // 5
    if shape == "circle":
        draw.ellipse((low, low, high, high), fill=colour)
    elif shape == "square":
        draw.rectangle((low, low, high, high), fill=colour)
    elif shape == "triangle":
        draw.polygon([(middle, low), (high, high), (low, high)], fill=colour)
    elif shape == "cross":
        draw.line((low, low, high, high), fill=colour, width=6)
        draw.line((low, high, high, low), fill=colour, width=6)
    elif shape == "bar":
        draw.rectangle((low, middle - 4, high, middle + 4), fill=colour)
    else:
        draw.ellipse((low, low, high, high), outline=colour, width=5)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _table(split: str, names: list[tuple[str, str]]) -> SampleTable:
    pictures = [draw_shape(colour, shape) for colour, shape in names]
    return SampleTable(
        source=f"generated {split} rows",
        ids=[f"{colour}-{shape}" for colour, shape in names],
        captions=[[f"a {colour} {shape}", f"{shape} in {colour}"] for colour, shape in names],
        picture_hashes=[hashlib.sha256(picture).hexdigest() for picture in pictures],
        positions=list(range(len(names))),
        pictures=pictures,
    )


def play_shape(colour: str, shape: str, take: int) -> Sound:
    """Play two tones of 0.15 s: one for the colour, one for the shape; each take is at another loudness."""
    time = np.arange(int(0.15 * RATE)) / RATE
    tones = [300 + 90 * COLOURS.index(colour), 1500 + 250 * SHAPES.index(shape)]
    samples = np.concatenate([np.sin(2 * np.pi * tone * time) for tone in tones])
    return Sound((samples * 0.8 / (take + 1)).astype(np.float32), RATE)


def _with_sounds(table: SampleTable, names: list[tuple[str, str]], some_missing: bool) -> SampleTable:
    takes = [[play_shape(*name, take) for take in range(TAKES)] for name in names]
    encoded = [[encode_flac(sound) for sound in row] for row in takes]
    hashes = [[sound_hash(decode_sound(take)) for take in row] for row in encoded]
    pictures = list(table.picture_hashes)
    for row in range(len(names) if some_missing else 0):
        if row % 8 == 6:
            hashes[row] = []
        elif row % 8 == 7:
            pictures[row] = None
    return replace(table, picture_hashes=pictures, sound_hashes=hashes, sounds=encoded)
