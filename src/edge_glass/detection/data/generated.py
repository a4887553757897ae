"""Generated pictures with boxes for `--tiny`: coloured rectangles and ellipses on grey; made in code."""

from __future__ import annotations

import io
from itertools import product
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from edge_glass.data.pictures import decode_image, picture_hash
from edge_glass.detection.data.table import DetectionTable

CATEGORIES: Final = ("rectangle", "ellipse")
COLOURS: Final = ("red", "green", "blue", "orange", "purple")
SIZES: Final = ((112, 112), (140, 112), (112, 140), (140, 84))
ROWS: Final = {"train": 24, "val": 8, "test": 8}

Box = tuple[int, int, int, int]


def generated_scenes() -> dict[str, DetectionTable]:
    """Pictures of about 112 pixels a side with one or two shapes: 24 to train on, 8 and 8 to measure on."""
    return {split: _table(split, count) for split, count in ROWS.items()}


def draw_scene(size: tuple[int, int], shapes: list[tuple[str, str, Box]], grey: int = 200) -> bytes:
    """PNG bytes of some shapes on grey.

    Args:
        size: (width, height) of the picture.
        shapes: Category, colour and box of each: xyxy, the pixels from x1 up to but without x2 are covered.
        grey: Of the background, 0 to 255.
    """
    image = Image.new("RGB", size, (grey, grey, grey))
    draw = ImageDraw.Draw(image)
    for category, colour, (left, top, right, bottom) in shapes:
        paint = draw.rectangle if category == "rectangle" else draw.ellipse
        paint((left, top, right - 1, bottom - 1), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _table(split: str, count: int) -> DetectionTable:
    generator = np.random.default_rng([list(ROWS).index(split), 5])
    looks = list(product(CATEGORIES, COLOURS))
    scenes = []
    for row in range(count):
        size = SIZES[row % len(SIZES)]
        shapes = []
        for box in _boxes(generator, size, 1 + row % 2):
            shapes.append((*looks[int(generator.integers(len(looks)))], box))
        scenes.append((size, shapes, int(generator.integers(160, 240))))
    pictures = [draw_scene(*scene) for scene in scenes]
    return DetectionTable(
        source=f"generated {split} scenes",
        ids=[f"{split}-{row}" for row in range(count)],
        captions=[[] for _ in range(count)],
        picture_hashes=[picture_hash(decode_image(picture)) for picture in pictures],
        positions=list(range(count)),
        pictures=pictures,
        text_column="",
        boxes=[np.array([box for _, _, box in shapes], dtype=np.float64) for _, shapes, _ in scenes],
        labels=[tuple(category for category, _, _ in shapes) for _, shapes, _ in scenes],
        sizes=[size for size, _, _ in scenes],
        categories=CATEGORIES,
    )


def _boxes(generator: np.random.Generator, size: tuple[int, int], count: int) -> list[Box]:
    """Boxes side by side, each in its own share of the width."""
    boxes = []
    for place in range(count):
        share = size[0] // count
        width = int(generator.integers(share // 3, share - 4))
        height = int(generator.integers(size[1] // 4, 3 * size[1] // 4))
        left = place * share + int(generator.integers(2, share - width - 1))
        top = int(generator.integers(2, size[1] - height - 1))
        boxes.append((left, top, left + width, top + height))
    return boxes
