"""What lies behind a package: tables, tiles, cloth, shelves; drawn small and stretched, as out of focus."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edge_glass_scenes.packages.drawing import BLACK, Colour, blend, choose


def draw_backdrop(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return a background of the size of the picture."""
    kind = choose(rng, ("plain", "wood", "tiles", "cloth", "shelf"), (0.26, 0.26, 0.14, 0.14, 0.2))
    small = max(24, width // 4), max(24, height // 4)
    image = _PAINTERS[kind](rng, small)
    if kind in ("shelf", "plain") or rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 2.5))))
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _tone(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    parts = colorsys.hsv_to_rgb(
        float(rng.random()), float(rng.uniform(*saturation)), float(rng.uniform(*value))
    )
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def noise(
    rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int], low: int = 0
) -> Image.Image:
    """Return smooth noise, "L", from `low` to 255: values on a grid of `cells`, stretched to `size`."""
    grid = rng.integers(low, 256, size=(cells[1], cells[0]), dtype=np.uint8)
    image = Image.fromarray(grid)
    if 8 * max(cells) < max(size):
        image = image.resize((8 * cells[0], 8 * cells[1]), Image.Resampling.BICUBIC)
    return image.resize(size, Image.Resampling.BILINEAR)


def _plain(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    one, other = _tone(rng, (0, 0.35), (0.3, 0.97)), _tone(rng, (0, 0.35), (0.3, 0.97))
    other = blend(one, other, 0.4)
    return Image.composite(
        Image.new("RGB", size, one), Image.new("RGB", size, other), noise(rng, size, (3, 3))
    )


def _wood(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    base = choose(rng, ((196, 150, 100), (120, 78, 46), (222, 196, 160), (92, 66, 50), (168, 120, 84)))
    dark = blend(base, BLACK, float(rng.uniform(0.15, 0.4)))
    grain = noise(rng, size, (3, max(4, size[1] // 3)))
    grain = ImageChops.multiply(grain, noise(rng, size, (max(3, size[0] // 40), 6), 150))
    image = Image.composite(Image.new("RGB", size, base), Image.new("RGB", size, dark), grain)
    draw = ImageDraw.Draw(image)
    board = max(12, round(size[1] * float(rng.uniform(0.15, 0.5))))
    for y in range(int(rng.integers(0, board)), size[1], board):
        draw.line((0, y, size[0], y), blend(dark, BLACK, 0.4), 1)
    return image.transpose(Image.Transpose.ROTATE_90).resize(size) if rng.random() < 0.4 else image


def _tiles(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    tile, joint = _tone(rng, (0, 0.3), (0.5, 0.97)), _tone(rng, (0, 0.15), (0.4, 0.85))
    image = Image.new("RGB", size, tile)
    draw = ImageDraw.Draw(image)
    step = max(10, round(max(size) * float(rng.uniform(0.08, 0.3))))
    lean = float(rng.uniform(-0.3, 0.3)) * size[1]
    for x in range(-size[0], 2 * size[0], step):
        draw.line((x, 0, x + lean, size[1]), joint, 2)
    for y in range(int(rng.integers(0, step)), size[1], step):
        draw.line((0, y, size[0], y), joint, 2)
    return image


def _cloth(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    base = _tone(rng, (0.05, 0.7), (0.25, 0.9))
    other = blend(base, _tone(rng, (0, 0.8), (0.2, 1.0)), 0.5)
    image = Image.new("RGB", size, base)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        step = max(6, round(max(size) * float(rng.uniform(0.03, 0.12))))
        for x in range(0, size[0], step):
            draw.rectangle((x, 0, x + step // 3, size[1]), other)
        if rng.random() < 0.6:
            for y in range(0, size[1], step):
                draw.rectangle((0, y, size[0], y + step // 3), blend(other, base, 0.4))
    folds = noise(rng, size, (5, 7), 150)
    return ImageChops.multiply(image, Image.merge("RGB", (folds, folds, folds)))


def _shelf(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw other packages, side by side, with bright labels and lines that could be text."""
    width, height = size
    image = Image.new("RGB", size, _tone(rng, (0, 0.3), (0.15, 0.6)))
    draw = ImageDraw.Draw(image)
    board = max(20, round(height * float(rng.uniform(0.25, 0.6))))
    for bottom in range(board, height + board, board):
        x = 0
        while x < width:
            wide = max(8, round(width * float(rng.uniform(0.08, 0.28))))
            top = bottom - round(board * float(rng.uniform(0.5, 0.92)))
            colour = _tone(rng, (0.2, 0.95), (0.3, 0.98))
            draw.rectangle((x, top, x + wide - 2, bottom), colour)
            label = blend(colour, _tone(rng, (0, 0.2), (0.8, 1.0)), 0.85)
            draw.rectangle((x + wide * 0.15, top + wide * 0.2, x + wide * 0.8, top + wide * 0.6), label)
            for y in range(round(top + wide * 0.7), bottom - 3, 4):
                draw.line((x + wide * 0.15, y, x + wide * float(rng.uniform(0.4, 0.85)), y), label, 1)
            x += wide
        draw.rectangle((0, bottom, width, bottom + 3), _tone(rng, (0, 0.3), (0.4, 0.9)))
    return image


_PAINTERS = {"plain": _plain, "wood": _wood, "tiles": _tiles, "cloth": _cloth, "shelf": _shelf}
