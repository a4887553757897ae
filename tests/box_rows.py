"""Rows of pictures with boxes for tests: grey pictures with coloured rectangles where the boxes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from edge_glass.detection.boxes.codec import BoxCodec, SeenSize
from edge_glass.detection.data.conversations import convert_to_conversation_format

SIZES = ((112, 84), (60, 140), (112, 84), (201, 97))
LABELS = ("cat", "nutrition-table", "cat")
PROMPT = "Locate every instance: 'cat, nutrition-table'."


def box_example(number: int, size: tuple[int, int], boxes: int = 2) -> dict[str, Any]:
    """A picture and what is in it, as a function of its number."""
    generator = np.random.default_rng(number)
    width, height = size
    corners = generator.uniform(0.05, 0.45, (boxes, 2)) * size
    sides = generator.uniform(0.2, 0.5, (boxes, 2)) * size
    found = np.concatenate([corners, corners + sides], axis=1)
    picture = Image.new("RGB", size, (120, 120, 120))
    draw = ImageDraw.Draw(picture)
    for box in found:
        draw.rectangle(box.tolist(), fill=tuple(generator.integers(0, 255, 3).tolist()))
    labels = list(LABELS[:boxes])
    return {
        "id": f"row-{number}",
        "image": picture,
        "boxes": found,
        "labels": labels,
        "width": width,
        "height": height,
    }


def box_row(
    example: dict[str, Any],
    codec: BoxCodec,
    seen: Callable[[int, int], SeenSize] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The conversation row of an example, its picture with it."""
    size = seen(example["width"], example["height"]) if seen else None
    row = convert_to_conversation_format(example, codec, size, **{"prompt": PROMPT, **options})
    return {**row, "images": [example["image"]]}


def box_rows(
    codec: BoxCodec,
    seen: Callable[[int, int], SeenSize] | None = None,
    sizes: Sequence[tuple[int, int]] = SIZES,
    **options: Any,
) -> list[dict[str, Any]]:
    """A row of each size; they have one, two, three and no boxes in turn."""
    counts = (1, 2, 3, 0)
    return [
        box_row(box_example(number, size, counts[number % 4]), codec, seen, **options)
        for number, size in enumerate(sizes)
    ]
