"""How large the model sees a picture, known from the picture's header alone.

A Qwen-VL model sees a picture resized so that both sides are multiples of 28 (32 for Qwen3-VL) and its area
lies between the processor's two limits; every 28×28 pixels are one token. So the number of tokens, and for
Qwen2.5-VL the numbers in the answer, follow from width and height: nothing has to be decoded to plan a batch.
The plan uses the processor's own rule, and whoever uses it compares it with the `image_grid_thw` that comes
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_glass.core.errors import DataError
from edge_glass.vlm.family import SeenSize, family_of


def planned_size(
    processor: Any, width: int, height: int, max_pixels: int | None = None, name: str | None = None
) -> SeenSize:
    """Width and height at which the model will receive a picture.

    Args:
        processor: Of the model; its `image_processor.size` holds the limits, in pixels of area.
        width: Of the upright source picture.
        height: The same.
        max_pixels: A lower limit for this picture than the processor's.
        name: The row, for the message.

    Raises:
        DataError: The picture is more than 200 times as long as wide; these models refuse it.
    """
    images = processor.image_processor
    most = images.size["longest_edge"] if max_pixels is None else min(max_pixels, images.size["longest_edge"])
    try:
        return family_of(processor).resized(
            width, height, images.size["shortest_edge"], most, pixels_per_side(processor)
        )
    except ValueError as error:
        where = f"row {name}: " if name is not None else ""
        raise DataError(
            f"{where}a picture of {width}×{height} is more than 200 times as long as wide; "
            "crop it or leave it out"
        ) from error


def pixels_per_side(processor: Any) -> int:
    """Side, in pixels, of the square that is one token: 28, or 32 for Qwen3-VL."""
    return processor.image_processor.patch_size * processor.image_processor.merge_size


def tokens_of(processor: Any, seen: SeenSize) -> int:
    """Tokens of a picture of this seen size."""
    return seen.width * seen.height // pixels_per_side(processor) ** 2


def token_counts(sizes: Sequence[tuple[int, int]], processor: Any) -> np.ndarray:
    """Picture tokens of each row, int64 `[N]`, from the widths and heights of the source pictures alone."""
    distinct = {size: tokens_of(processor, planned_size(processor, *size)) for size in set(sizes)}
    return np.array([distinct[size] for size in sizes], dtype=np.int64)


def token_kinds(counts: np.ndarray, at_least: int, spread: float = 1.3) -> np.ndarray:
    """Which rows are about equally long: int64 `[N]`, for samplers that keep kinds of rows apart.

    Rows of one batch are padded to the longest of it. Kinds depend on the counts only, so an order made from
    them is as much a function of (seed, epoch) as one without.

    Args:
        counts: Tokens of each row, int `[N]`.
        at_least: Rows a kind must have, such as the batch size; smaller ones join the next shorter kind.
        spread: The longest row of a kind has at most so many times the tokens of the shortest, unless it
            joined.
    """
    order = np.argsort(counts, kind="stable")
    kinds = np.zeros(len(counts), dtype=np.int64)
    start = kind = 0
    for place, row in enumerate(order):
        full, rest = place - start >= at_least, len(order) - place >= at_least
        if full and rest and counts[row] > spread * counts[order[start]]:
            start, kind = place, kind + 1
        kinds[row] = kind
    return kinds
