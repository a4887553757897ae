"""Where the camera stands: which part of a package is seen, how large, and from which side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_glass_scenes.packages.arranging import Box, Panel
from edge_glass_scenes.packages.drawing import choose
from edge_glass_scenes.packages.surface import Flat, Points

LEAST_VISIBLE: Final = 0.6
"""A table is seen to at least this share, or the picture is taken again."""

_SHAPES: Final = (0.75, 0.5625, 1.0, 4 / 3, 16 / 9)
_SHAPE_SHARES: Final = (0.56, 0.16, 0.06, 0.17, 0.05)


@dataclass(frozen=True)
class View:
    """A picture of `width` x `height` pixels of a surface; `matrix` [3, 3] takes its plane to the picture."""

    width: int
    height: int
    matrix: np.ndarray
    surface: Flat

    def to_picture(self, points: Points) -> Points:
        """Return pixels of the picture where points of the print are seen; [n, 2]."""
        return apply(self.matrix, self.surface.forward(np.asarray(points, dtype=np.float64)))

    def to_print(self, points: Points) -> Points:
        """Return points of the print that are seen at pixels of the picture; [n, 2]."""
        return self.surface.inverse(apply(np.linalg.inv(self.matrix), points))

    def truth(self, box: Box) -> tuple[float, float, float, float]:
        """Return the box around a rectangle of the print: its seen hull, clipped to the picture, xyxy."""
        outline = self.to_picture(outline_of(box))
        low = np.clip(outline.min(axis=0), 0, (self.width, self.height))
        high = np.clip(outline.max(axis=0), 0, (self.width, self.height))
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def visible(self, box: Box) -> float:
        """Return which share of a rectangle of the print is within the picture."""
        x, y = np.meshgrid(np.linspace(box[0], box[2], 24), np.linspace(box[1], box[3], 24))
        seen = self.to_picture(np.stack([x.ravel(), y.ravel()], axis=1))
        return float(np.mean(np.all((seen >= 0) & (seen <= (self.width, self.height)), axis=1)))


def apply(matrix: np.ndarray, points: Points) -> Points:
    """Return a projective map [3, 3] of points [n, 2]."""
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def outline_of(box: Box | tuple[float, float, float, float], steps: int = 16) -> Points:
    """Return points around a rectangle, corners among them; [4 steps, 2]."""
    left, top, right, bottom = box
    along = np.arange(steps) / steps
    x = np.concatenate([left + (right - left) * along, np.full(steps, right)])
    y = np.concatenate([np.full(steps, top), top + (bottom - top) * along])
    back_x = np.concatenate([right - (right - left) * along, np.full(steps, left)])
    back_y = np.concatenate([np.full(steps, bottom), bottom - (bottom - top) * along])
    return np.stack([np.concatenate([x, back_x]), np.concatenate([y, back_y])], axis=1)


def aim(rng: np.random.Generator, panel: Panel, surface: Flat) -> View:
    """Return a view of the panel that shows each table to `LEAST_VISIBLE` at least, and not too small."""
    for attempt in range(40):
        view = _try(rng, panel, surface, calm=attempt >= 20)
        if all(_shown(view, box) for box in panel.tables):
            return view
    return _try(rng, panel, surface, calm=True, whole=True)


def _shown(view: View, box: Box) -> bool:
    left, top, right, bottom = view.truth(box)
    small = (
        min(right - left, bottom - top) < 32
        or (right - left) * (bottom - top) < 0.015 * view.width * view.height
    )
    return not small and view.visible(box) >= LEAST_VISIBLE


def _try(rng: np.random.Generator, panel: Panel, surface: Flat, calm: bool, whole: bool = False) -> View:
    plane = _turned(rng, surface, 0.4 if calm else 1.0)
    framing = "whole" if whole else choose(rng, ("whole", "part", "close"), (0.3, 0.4, 0.3))
    region = _region(rng, panel, framing)
    seen = apply(plane, surface.forward(outline_of(region)))
    low, high = seen.min(axis=0), seen.max(axis=0)
    wide, tall = high - low
    cropped = framing == "close" and rng.random() < 0.6
    shape = float(wide / tall) if cropped else choose(rng, _SHAPES, _SHAPE_SHARES)
    if not cropped and wide > 1.25 * tall and rng.random() < 0.3:
        shape = max(shape, 1 / shape)
    long = math.exp(rng.uniform(math.log(400), math.log(1600)))
    shape = min(max(shape, 0.4), 2.5)
    width, height = (long, long / shape) if shape > 1 else (long * shape, long)
    width, height = round(width), round(height)
    fill = float(rng.uniform(0.95, 1.12) if framing == "close" else rng.uniform(0.72, 1.06))
    scale = fill * min(width / wide, height / tall)
    spare = np.array([width, height]) - scale * (high - low)
    shift = spare * (rng.random(2) if rng.random() < 0.4 else rng.normal(0.5, 0.12, 2)) - scale * low
    if not calm and rng.random() < 0.07:  # aimed badly: a part of the table may be cut off
        shift += rng.uniform(-0.4, 0.4, 2) * np.minimum(scale * (high - low), (width, height))
    fit = np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1.0]])
    return View(width, height, fit @ plane, surface)


def _region(rng: np.random.Generator, panel: Panel, framing: str) -> tuple[float, float, float, float]:
    """Choose the part of the print that is wanted: all, the tables and more, or little but the tables."""
    width, height = panel.image.size
    boxes = np.array(panel.tables, dtype=np.float64)
    left, top = boxes[:, :2].min(axis=0).tolist()
    right, bottom = boxes[:, 2:].max(axis=0).tolist()
    if framing == "whole":
        return 0.0, 0.0, float(width), float(height)
    sides = np.array([right - left, bottom - top, right - left, bottom - top])
    if framing == "close":
        grow = rng.uniform(0.0, 0.18, 4) * sides
    else:
        # Uneven on the four sides, or every table would stand in the middle of its picture.
        grow = 0.05 * sides + rng.random(4) ** 2 * 0.7 * max(width, height)
        edge = 0.04 * max(width, height)
        return (
            max(left - grow[0], -edge),
            max(top - grow[1], -edge),
            min(right + grow[2], width + edge),
            min(bottom + grow[3], height + edge),
        )
    return left - grow[0], top - grow[1], right + grow[2], bottom + grow[3]


def _turned(rng: np.random.Generator, surface: Flat, wildness: float) -> np.ndarray:
    """Return a projective map of the panel, seen from a little to the side; scale and place are free."""
    roll = math.radians(float(rng.normal(0, 4)))
    draw = rng.random()
    if draw < 0.08:
        roll += math.radians(float(choose(rng, (90, -90, 180), (0.45, 0.45, 0.1))))
    elif draw < 0.2:
        roll += math.radians(float(rng.uniform(-28, 28))) * wildness
    yaw, pitch = np.radians(np.clip(rng.normal(0, 11, 2), -32, 32)) * wildness
    distance = float(rng.uniform(1.3, 3.5))
    long = max(surface.width, surface.height)
    centre = np.array(
        [[1 / long, 0, -surface.width / 2 / long], [0, 1 / long, -surface.height / 2 / long], [0, 0, 1]]
    )
    around_z = np.array(
        [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    )
    around_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    around_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )
    turn = around_z @ around_x @ around_y
    # A point (x, y, 0) of the panel, turned and moved away from the camera, divided by its depth.
    flat = np.stack([turn[:, 0], turn[:, 1], np.array([0, 0, distance])], axis=1)
    return flat @ centre
