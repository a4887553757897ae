"""A product and its pictures; all follows from (seed, number of the product, number of the picture)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_glass_scenes.packages.arranging import Panel
from edge_glass_scenes.packages.camera import View, aim
from edge_glass_scenes.packages.drawing import BLACK, Colour, blend, choose
from edge_glass_scenes.packages.marks import check_digit
from edge_glass_scenes.packages.panel import FORMS, draw_panel
from edge_glass_scenes.packages.photograph import photograph
from edge_glass_scenes.packages.surface import Flat, draw_surface
from edge_glass_scenes.packages.theme import Theme, draw_theme

TWO_TABLES: Final = 0.09
_FORM_SHARES: Final = (0.6, 0.22, 0.18)
_SPREAD: Final = 7919  # prime, so that products × it, modulo 10 ** 8, are all different


@dataclass(frozen=True)
class Picture:
    """One photograph: JPEG `data`, its size, and a box per table, xyxy in pixels."""

    data: bytes
    view: View
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Product:
    """A design: one panel, of which several pictures can be taken."""

    seed: int
    number: int
    barcode: str
    theme: Theme
    panel: Panel
    surface: Flat

    def picture(self, place: int) -> Picture:
        """Return the picture number `place` (0, 1, …) of this product; the same bytes every time."""
        rng = np.random.default_rng([self.seed, self.number, 1 + place])
        view = aim(rng, self.panel, self.surface)
        data = photograph(rng, self.panel, view, self._side)
        return Picture(data, view, tuple(view.truth(box) for box in self.panel.tables))

    @property
    def _side(self) -> Colour:
        return blend(self.theme.top, BLACK, 0.15)


def picture_count(seed: int, number: int) -> int:
    """Return how many pictures a product has, 1 to 3; known without drawing it."""
    return choose(np.random.default_rng([seed, number, 0, 1]), (1, 2, 3), (0.62, 0.27, 0.11))


def barcode_of(seed: int, number: int) -> str:
    """Return an EAN-13 code out of the range for use inside shops, so that no real product has it."""
    if not 0 <= number < 10**8:
        raise ValueError(f"product number {number} is not within 0 to 99,999,999")
    twelve = f"2{seed % 1000:03d}{number * _SPREAD % 10**8:08d}"
    return twelve + check_digit(twelve)


def draw_product(seed: int, number: int) -> Product:
    """Draw product `number` of the data set with this seed."""
    rng = np.random.default_rng([seed, number, 0])
    theme = draw_theme(rng)
    form = choose(rng, FORMS, _FORM_SHARES)
    code = barcode_of(seed, number)
    panel = draw_panel(rng, theme, code, 2 if rng.random() < TWO_TABLES else 1, form)
    return Product(seed, number, code, theme, panel, draw_surface(rng, form, *panel.image.size))
