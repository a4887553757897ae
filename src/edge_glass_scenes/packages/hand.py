"""Fingers that hold a package at its edge, never over a nutrition table."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from edge_glass_scenes.packages.drawing import BLACK, WHITE, blend, choose

_SKINS = ((232, 190, 160), (214, 164, 128), (176, 124, 88), (122, 82, 58), (92, 60, 44))


def hold(
    rng: np.random.Generator,
    image: Image.Image,
    edge: np.ndarray,
    tables: list[tuple[float, float, float, float]],
) -> None:
    """Draw one to three fingers that come in from outside over the outline `edge` [n, 2] of the package.

    Fingers that would reach into one of the `tables` (xyxy) are left out.
    """
    centre = edge.mean(axis=0)
    long = max(image.size)
    thick = long * float(rng.uniform(0.045, 0.09))
    skin = choose(rng, _SKINS)
    inside = (edge > 0).all(axis=1) & (edge < image.size).all(axis=1)
    if not inside.any():
        return
    places = np.flatnonzero(inside)
    start = int(places[int(rng.integers(len(places)))])
    along = edge[(start + 1) % len(edge)] - edge[start - 1]
    along = along / max(1e-6, float(np.hypot(*along)))
    inward = np.array([-along[1], along[0]])
    inward *= 1.0 if float(inward @ (centre - edge[start])) > 0 else -1.0
    for number in range(int(rng.integers(1, 4))):
        tip = edge[start] + inward * thick * float(rng.uniform(0.6, 1.4)) + along * number * thick * 1.08
        lean = inward + along * float(rng.uniform(-0.15, 0.15))
        root = tip - lean * long
        reach = (*(tip - thick), *(tip + thick))
        if not any(_meet(reach, table) for table in tables):
            _finger(image, tip, root, thick, skin)


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _finger(
    image: Image.Image, tip: np.ndarray, root: np.ndarray, thick: float, skin: tuple[int, int, int]
) -> None:
    """Draw a capsule from `root` to `tip`, darker at its sides, with a nail."""
    small = max(1, image.width // 2), max(1, image.height // 2)
    layer, mask = image.resize(small, Image.Resampling.BILINEAR), Image.new("L", small, 0)
    paint, cut = ImageDraw.Draw(layer), ImageDraw.Draw(mask)
    for part in range(5):
        half = thick / 4 * (1 - 0.17 * part)
        colour = blend(blend(skin, BLACK, 0.4), skin, part / 4)
        _capsule(paint, root / 2, tip / 2, half, colour)
        if part == 0:
            _capsule(cut, root / 2, tip / 2, half, 255)
    back = (root - tip) / math.hypot(*(root - tip))
    nail = tip / 2 + back * thick * 0.06
    size = thick * 0.13
    paint.ellipse((nail[0] - size, nail[1] - size, nail[0] + size, nail[1] + size), blend(skin, WHITE, 0.3))
    layer = layer.filter(ImageFilter.GaussianBlur(max(1.0, thick / 26)))
    mask = mask.filter(ImageFilter.GaussianBlur(max(0.6, thick / 80)))
    image.paste(layer.resize(image.size, Image.Resampling.BILINEAR), mask=mask.resize(image.size))


def _capsule(
    draw: ImageDraw.ImageDraw,
    root: np.ndarray,
    tip: np.ndarray,
    half: float,
    fill: tuple[int, int, int] | int,
) -> None:
    draw.line((*root.tolist(), *tip.tolist()), fill, max(1, round(2 * half)))
    draw.ellipse((tip[0] - half, tip[1] - half, tip[0] + half, tip[1] + half), fill)
