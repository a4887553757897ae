"""Take the picture: the package before its background, then light, reflections, blur, noise and JPEG."""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edge_glass_scenes.packages.arranging import Panel
from edge_glass_scenes.packages.backdrop import draw_backdrop, noise
from edge_glass_scenes.packages.camera import View, outline_of
from edge_glass_scenes.packages.drawing import BLACK, Colour, blend, choose
from edge_glass_scenes.packages.hand import hold

_MESH: Final = 24
_NOISE_TILE: Final = 160


def photograph(rng: np.random.Generator, panel: Panel, view: View, side: Colour) -> bytes:
    """Return JPEG bytes of the panel as seen; `side` is the colour of the package's other faces."""
    size = view.width, view.height
    edge = view.to_picture(outline_of((0, 0, *panel.image.size)))
    covers = _covers(edge, size)
    image = project(panel, view, covers)
    if not covers:
        behind = draw_backdrop(rng, *size)
        _shadow_and_side(rng, behind, edge, side if view.surface.flat else None)
        behind.paste(image, mask=image.getchannel("A"))
        image = behind
        if rng.random() < 0.22:
            hold(rng, image, edge, [view.truth(box) for box in panel.tables])
    image = _light(rng, image)
    if rng.random() < 0.4:
        image = _glare(rng, image)
    if rng.random() < 0.5:
        image = _blur(rng, image)
    if rng.random() < 0.6:
        image = _grain(rng, image)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=int(rng.integers(55, 94)))
    return buffer.getvalue()


def _covers(edge: np.ndarray, size: tuple[int, int]) -> bool:
    """Say whether a convex outline [n, 2] contains the whole picture."""
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size], dtype=np.float64)
    along = np.roll(edge, -1, axis=0) - edge
    to = corners[:, None] - edge[None]
    turn = along[None, :, 0] * to[..., 1] - along[None, :, 1] * to[..., 0]
    return bool(np.all(turn > 0) or np.all(turn < 0))


def _shadow_and_side(
    rng: np.random.Generator, image: Image.Image, edge: np.ndarray, side: Colour | None
) -> None:
    """Draw a soft shadow on what is behind; of a box (whose `side` has a colour), at times other faces."""
    small = max(1, image.width // 4), max(1, image.height // 4)
    shadow = Image.new("L", small, 255)
    reach = math.hypot(*image.size) / 4 * float(rng.uniform(0.01, 0.05))
    turn = float(rng.uniform(0, 2 * math.pi))
    moved = edge / 4 + reach * np.array([math.cos(turn), math.sin(turn)])
    ImageDraw.Draw(shadow).polygon(
        [tuple(point) for point in moved.tolist()], round(255 * float(rng.uniform(0.3, 0.7)))
    )
    shadow = shadow.filter(ImageFilter.GaussianBlur(1 + reach)).resize(image.size, Image.Resampling.BILINEAR)
    image.paste(ImageChops.multiply(image, Image.merge("RGB", (shadow, shadow, shadow))))
    if side is not None and rng.random() < 0.4:
        depth = math.hypot(*image.size) * float(rng.uniform(0.03, 0.15))
        push = depth * np.array([math.cos(turn + 2.5), math.sin(turn + 2.5)])
        draw = ImageDraw.Draw(image)
        corners = edge[:: len(edge) // 4]
        for place in range(4):
            one, other = corners[place], corners[(place + 1) % 4]
            face = np.stack([one, other, other + push, one + push])
            shade = blend(side, BLACK, 0.25 + 0.12 * (place % 2))
            draw.polygon([tuple(point) for point in face.tolist()], shade)


def project(panel: Panel, view: View, covers: bool) -> Image.Image:
    """Return the panel in the picture, RGBA with alpha 0 outside of it; RGB if it covers the picture."""
    width, height = panel.image.size
    corners = view.to_picture(np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64))
    around = np.roll(corners, -1, axis=0)
    area = abs(float(np.sum(corners[:, 0] * around[:, 1] - corners[:, 1] * around[:, 0]))) / 2
    shrink = min(1.0, 1.15 * math.sqrt(area / (width * height)))
    image = panel.image
    if shrink < 0.85:
        image = image.resize((round(width * shrink), round(height * shrink)), Image.Resampling.HAMMING)
    shade = view.surface.shade()
    if shade is not None:
        shade = shade.resize(image.size, Image.Resampling.BILINEAR)
        image = ImageChops.multiply(image, Image.merge("RGB", (shade, shade, shade)))
    scale = np.array([image.width / width, image.height / height])
    image = image if covers else image.convert("RGBA")
    size = view.width, view.height
    if view.surface.flat:
        back = np.diag([*scale, 1.0]) @ np.linalg.inv(view.matrix)
        numbers = (back / back[2, 2]).ravel()[:8].tolist()
        return image.transform(size, Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BILINEAR)
    return image.transform(
        size, Image.Transform.MESH, _mesh(view, scale, image.size), Image.Resampling.BILINEAR
    )


def _mesh(
    view: View, scale: np.ndarray, size: tuple[int, int]
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Return cells of the picture and the quadrilaterals of the panel seen there; without those outside."""
    xs = np.round(np.linspace(0, view.width, _MESH + 1)).astype(int)
    ys = np.round(np.linspace(0, view.height, _MESH + 1)).astype(int)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1)
    seen = (view.to_print(grid.reshape(-1, 2).astype(np.float64)) * scale).reshape(grid.shape)
    quads = np.stack([seen[:-1, :-1], seen[1:, :-1], seen[1:, 1:], seen[:-1, 1:]], axis=2).reshape(-1, 4, 2)
    boxes = np.concatenate([grid[:-1, :-1], grid[1:, 1:]], axis=2).reshape(-1, 4)
    inside = (quads.max(axis=1) > 0).all(axis=1) & (quads.min(axis=1) < size).all(axis=1)
    return [
        (tuple(box), tuple(quad))
        for box, quad in zip(boxes[inside].tolist(), quads[inside].reshape(-1, 8).tolist(), strict=True)
    ]


def _light(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Add uneven light, a colour cast, contrast."""
    field = noise(rng, image.size, (3, 3), int(rng.integers(120, 230)))
    image = ImageChops.multiply(image, Image.merge("RGB", (field, field, field)))
    gains = float(rng.uniform(0.95, 1.3)) * rng.uniform(0.92, 1.06, 3)
    gamma, lift = float(rng.uniform(0.8, 1.25)), float(rng.uniform(0, 22))
    levels = np.arange(256) / 255
    table: list[int] = []
    for gain in gains:
        curve = lift + (255 - lift) * np.clip(levels * gain, 0, 1) ** gamma
        table += np.clip(np.round(curve), 0, 255).astype(int).tolist()
    return image.point(table)


def _glare(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Add one to three bright spots or streaks, as of lamps and windows on gloss."""
    small = max(8, image.width // 8), max(8, image.height // 8)
    spots = Image.new("L", small, 0)
    draw = ImageDraw.Draw(spots)
    for _ in range(int(rng.integers(1, 4))):
        x, y = float(rng.uniform(0, small[0])), float(rng.uniform(0, small[1]))
        strength = int(rng.integers(70, 235))
        if rng.random() < 0.6:
            half = max(small) * float(rng.uniform(0.02, 0.12))
            flat = half * float(rng.uniform(0.3, 1.0))
            draw.ellipse((x - half, y - flat, x + half, y + flat), strength)
        else:
            turn = float(rng.uniform(0, math.pi))
            dx, dy = max(small) * math.cos(turn), max(small) * math.sin(turn)
            line = max(1, round(max(small) * float(rng.uniform(0.01, 0.06))))
            draw.line((x - dx, y - dy, x + dx, y + dy), strength, line)
    spots = spots.filter(ImageFilter.GaussianBlur(max(small) * float(rng.uniform(0.01, 0.05))))
    spots = spots.resize(image.size, Image.Resampling.BICUBIC)
    return ImageChops.screen(image, Image.merge("RGB", (spots, spots, spots)))


def _blur(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Make it out of focus, shaken, or of too few pixels; in proportion to the picture's size."""
    long = max(image.size)
    kind = choose(rng, ("focus", "shake", "coarse"), (0.55, 0.2, 0.25))
    if kind == "focus":
        return image.filter(ImageFilter.BoxBlur(long * float(rng.uniform(0.0004, 0.0024))))
    if kind == "coarse":
        part = float(rng.uniform(0.45, 0.8))
        small = image.resize(
            (round(image.width * part), round(image.height * part)), Image.Resampling.BILINEAR
        )
        return small.resize(image.size, Image.Resampling.BILINEAR)
    turn, far = float(rng.uniform(0, math.pi)), long * float(rng.uniform(0.001, 0.004))
    moved = ImageChops.offset(image, round(far * math.cos(turn)), round(far * math.sin(turn)))
    return Image.blend(image, moved, 0.5)


def _grain(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Add noise of the sensor: a tile of it, repeated."""
    spread = float(rng.uniform(2, 11))
    tile = np.clip(128 + rng.normal(0, spread, (_NOISE_TILE, _NOISE_TILE)), 0, 255).astype(np.uint8)
    rows, columns = -(-image.height // _NOISE_TILE), -(-image.width // _NOISE_TILE)
    field = Image.fromarray(np.tile(tile, (rows, columns))[: image.height, : image.width].copy())
    return ImageChops.add(image, Image.merge("RGB", (field, field, field)), 1.0, -128)
