"""The guess of somebody who knows the training boxes and sees no picture: the box in the middle of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def average_box(
    boxes: Sequence[np.ndarray], labels: Sequence[Sequence[str]], sizes: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, str]:
    """The median box of a set, relative to the picture, and its most frequent label.

    Args:
        boxes: Of each picture float `[n, 4]` xyxy pixels.
        labels: Of each picture, n labels.
        sizes: (width, height) of each picture.

    Returns:
        Float64 `[4]`, xyxy as shares of the sides (all of the picture without boxes), and the label.
    """
    sides = [np.tile(size, 2) for size in sizes]
    shares = [found / side for found, side in zip(boxes, sides, strict=True) if len(found)]
    counted = Counter(label for row in labels for label in row).most_common(1)
    middle = np.median(np.concatenate(shares), axis=0) if shares else np.array([0.0, 0.0, 1.0, 1.0])
    return middle.astype(np.float64), counted[0][0] if counted else ""
