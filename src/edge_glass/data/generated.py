"""Generated rows for `--tiny`: coloured shapes with their names, made in code."""

from __future__ import annotations

import hashlib
import io
from itertools import product

from PIL import Image, ImageDraw

from edge_glass.data.pairs import PairTable

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "brown")
SHAPES = ("circle", "square", "triangle", "cross", "bar", "ring")
SIDE = 40


def generated_splits() -> dict[str, PairTable]:
    """48 pictures: 32 to train on, 8 to validate, 8 to test."""
    names = list(product(COLOURS, SHAPES))
    names = [names[(position * 7) % len(names)] for position in range(len(names))]
    parts = {"train": names[:32], "val": names[32:40], "test": names[40:]}
    return {split: _table(split, part) for split, part in parts.items()}


def draw_shape(colour: str, shape: str) -> bytes:
    """PNG bytes of one shape on white."""
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


def _table(split: str, names: list[tuple[str, str]]) -> PairTable:
    pictures = [draw_shape(colour, shape) for colour, shape in names]
    return PairTable(
        source=f"generated {split} rows",
        ids=[f"{colour}-{shape}" for colour, shape in names],
        captions=[[f"a {colour} {shape}", f"{shape} in {colour}"] for colour, shape in names],
        picture_hashes=[hashlib.sha256(picture).hexdigest() for picture in pictures],
        positions=list(range(len(names))),
        pictures=pictures,
    )
