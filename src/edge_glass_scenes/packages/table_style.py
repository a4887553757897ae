"""How tables look: frames, rules, stripes, bands, and colours, dark on light or the reverse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_glass_scenes.packages.drawing import BLACK, WHITE, Colour, blend, choose, luminance
from edge_glass_scenes.packages.theme import Theme


@dataclass(frozen=True)
class TableStyle:
    """How a table looks. `size` is the height of its print, lengths are pixels; `fill` None: what is below.

    `frame` is the width of the border (0: none), `rules` are "none", "rows", "major" (above rows that are
    no part of another) or "grid"; `stripes` colours every second row, `band` the rows of title and head.
    """

    size: int
    ink: Colour
    fill: Colour | None
    frame: int
    rules: str
    line: int
    stripes: Colour | None
    band: tuple[Colour, Colour] | None
    pad_x: int
    pad_y: int
    align: str
    bold: str
    indent: str
    corner: int
    dots: bool
    wide: bool

    def smaller(self) -> TableStyle:
        """Return the same with print that is a step smaller."""
        size = self.size - 1 - self.size // 12
        return replace(self, size=size, pad_x=max(3, self.pad_x - 1), pad_y=round(self.pad_y * 0.85))


def draw_style(rng: np.random.Generator, theme: Theme, scale: float) -> TableStyle:
    """Draw a style in the product's colours; `scale` is the print's height over that of the small print."""
    size = max(9, round(theme.size * scale))
    fill, ink = choose(
        rng,
        ((None, theme.ink), (theme.paper, theme.paper_ink), (WHITE, BLACK), (theme.ink, theme.top)),
        (0.45, 0.27, 0.2, 0.08),
    )
    if fill is not None and abs(luminance(fill) - luminance(ink)) < 90:
        ink = BLACK if luminance(fill) > 128 else WHITE
    ground = fill or blend(theme.top, theme.bottom, 0.5)
    rules = choose(rng, ("none", "rows", "major", "grid"), (0.25, 0.4, 0.13, 0.22))
    framed = 0.9 if rules == "grid" else 0.8 if rules == "none" and fill is None else 0.4
    striped = rng.random() < (0.25 if rules == "none" else 0.08)
    band = None
    if rng.random() < 0.3:
        colour = choose(rng, (ink, theme.accent, blend(ground, ink, 0.3)))
        band = (colour, WHITE if luminance(colour) < 140 else BLACK)
    thin = max(1, size // 14)
    return TableStyle(
        size=size,
        ink=ink,
        fill=fill,
        frame=choose(rng, (thin, 2 * thin, 3 * thin)) if rng.random() < framed else 0,
        rules=rules,
        line=choose(rng, (1, thin, thin + 1), (0.4, 0.4, 0.2)),
        stripes=blend(ground, ink, float(rng.uniform(0.08, 0.2))) if striped else None,
        band=band,
        pad_x=max(3, round(size * float(rng.uniform(0.25, 0.7)))),
        pad_y=round(size * float(rng.uniform(0.0, 0.38))),
        align=choose(rng, ("right", "centre", "left"), (0.55, 0.3, 0.15)),
        bold=choose(rng, ("none", "major", "values"), (0.5, 0.38, 0.12)),
        indent=choose(rng, ("- ", "  ", "", "– "), (0.35, 0.25, 0.25, 0.15)),
        corner=round(size * float(rng.uniform(0.3, 0.8))) if rng.random() < 0.15 else 0,
        dots=rules == "none" and rng.random() < 0.3,
        wide=rng.random() < 0.7,
    )
