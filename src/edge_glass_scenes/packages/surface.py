"""The shape of a face: board, can, bag. Maps print to its place on a plane, and shades it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

Points = np.ndarray
"""float64 [n, 2]: x to the right, y downward, in pixels; pixel (0, 0) reaches from 0 to 1."""

_SHADE: Final = 48


@dataclass(frozen=True)
class Flat:
    """A flat face; also the base of the others. `width` and `height` are those of the panel."""

    width: int
    height: int

    @property
    def flat(self) -> bool:
        """Whether print and plane are the same."""
        return type(self) is Flat

    def forward(self, points: Points) -> Points:
        """Return where points of the print are seen."""
        return points

    def inverse(self, points: Points) -> Points:
        """Return which point of the print is seen at points of the plane."""
        return points

    def shade(self) -> Image.Image | None:
        """Return light on the print, "L", to be stretched over it: 255 changes nothing. None: even light."""
        return None


@dataclass(frozen=True)
class Round(Flat):
    """An upright cylinder: the print reaches `angle` (radians) to both sides; `sag` bends its lines."""

    angle: float
    sag: float
    light: float

    @property
    def _radius(self) -> float:
        return self.width / (2 * self.angle)

    def forward(self, points: Points) -> Points:
        """See `Flat`."""
        turn = (points[:, 0] - self.width / 2) / self._radius
        x = self.width / 2 + self._radius * np.sin(turn)
        return np.stack([x, points[:, 1] + self._drop(turn)], axis=1)

    def inverse(self, points: Points) -> Points:
        """See `Flat`. Beyond the visible part the print goes on in a straight line, out of the panel."""
        sine = (points[:, 0] - self.width / 2) / self._radius
        edge = np.sin(self.angle)
        turn = np.arcsin(np.clip(sine, -edge, edge))
        beyond = sine - np.clip(sine, -edge, edge)
        y = points[:, 1] - self._drop(turn)
        return np.stack([self.width / 2 + self._radius * (turn + beyond / np.cos(self.angle)), y], axis=1)

    def _drop(self, turn: np.ndarray) -> np.ndarray:
        return self.sag * self._radius * (1 - np.cos(turn))

    def shade(self) -> Image.Image:
        """See `Flat`."""
        turn = np.linspace(-self.angle, self.angle, _SHADE)
        gain = 0.3 + 0.7 * np.clip(np.cos(turn - self.light), 0, 1) ** 0.8
        row = np.clip(255 * gain / gain.max(), 0, 255).astype(np.uint8)
        return Image.fromarray(np.broadcast_to(row, (4, _SHADE)).copy())


@dataclass(frozen=True)
class Bag(Flat):
    """A soft face with small waves. `waves` is [n, 5]: x and y frequency, phase, x and y push."""

    waves: np.ndarray

    def _push(self, points: Points) -> Points:
        unit = points / max(self.width, self.height)
        heights = np.sin(2 * np.pi * unit @ self.waves[:, :2].T + self.waves[:, 2])
        return heights @ self.waves[:, 3:] * max(self.width, self.height)

    def inverse(self, points: Points) -> Points:
        """See `Flat`."""
        return points + self._push(points)

    def forward(self, points: Points) -> Points:
        """See `Flat`. The push is small and smooth, so a few rounds are exact to far below a pixel."""
        found = points
        for _ in range(12):
            found = points - self._push(found)
        return found

    def shade(self) -> Image.Image:
        """See `Flat`."""
        long = max(self.width, self.height)
        x, y = np.meshgrid(np.linspace(0, self.width, _SHADE), np.linspace(0, self.height, _SHADE))
        unit = np.stack([x.ravel(), y.ravel()], axis=1) / long
        slopes = np.cos(2 * np.pi * unit @ self.waves[:, :2].T + self.waves[:, 2]) * np.sign(self.waves[:, 3])
        gain = 0.86 + 0.14 * slopes.mean(axis=1) * 1.6
        return Image.fromarray(np.clip(255 * gain, 60, 255).astype(np.uint8).reshape(_SHADE, _SHADE))


def draw_surface(rng: np.random.Generator, form: str, width: int, height: int) -> Flat:
    """Return a surface of one of the forms "flat", "round" and "bag"."""
    if form == "round":
        sag = float(rng.uniform(0.0, 0.16)) * (1 if rng.random() < 0.7 else -1)
        return Round(width, height, float(rng.uniform(0.6, 1.15)), sag, float(rng.uniform(-0.6, 0.6)))
    if form == "bag":
        count = int(rng.integers(2, 4))
        waves = np.empty((count, 5))
        waves[:, :2] = rng.uniform(-1.7, 1.7, (count, 2))
        waves[:, 2] = rng.uniform(0, 2 * np.pi, count)
        waves[:, 3:] = rng.uniform(-0.007, 0.007, (count, 2))
        return Bag(width, height, waves)
    return Flat(width, height)
