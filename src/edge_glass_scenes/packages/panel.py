"""One printed face of a package: colours, a header, columns, and what is arranged in them."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from edge_glass_scenes.packages.arranging import Panel, Span, arrange
from edge_glass_scenes.packages.drawing import BLACK, WHITE, Colour, blend, choose, length
from edge_glass_scenes.packages.theme import Theme

FORMS: Final = ("flat", "bag", "round")
"""Board, soft bags, and cans, jars and bottles."""


def draw_panel(rng: np.random.Generator, theme: Theme, code: str, tables: int, form: str) -> Panel:
    """Return a face with `tables` nutrition tables (one or two) among other print, none over another.

    Args:
        code: the barcode's 13 digits.
        form: one of `FORMS`.
    """
    width, height = _size(rng, form)
    panel = Panel(_ground(rng, theme, width, height))
    edge = 0 if form == "flat" or rng.random() < 0.3 else round(height * float(rng.uniform(0.02, 0.06)))
    margin = round(min(width, height) * float(rng.uniform(0.03, 0.08)))
    top = edge + margin
    if rng.random() < 0.45:
        top = _header(rng, panel, theme, margin, edge) + margin // 2
    if edge:
        _seams(rng, panel, theme, form, edge)
    bottom = height - edge - margin
    if rng.random() < 0.1:  # less print, as on bags with a window
        bottom -= round(0.2 * height)
    arrange(rng, panel, theme, code, tables, _columns(rng, theme, width, margin, top, bottom))
    return panel


def _size(rng: np.random.Generator, form: str) -> tuple[int, int]:
    long = int(rng.integers(1050, 1500))
    if form == "round":
        return round(long * float(rng.uniform(0.6, 0.95))), long
    shape = choose(rng, ("side", "back", "wide"), (0.2, 0.52, 0.28))
    if shape == "side":
        return round(long * float(rng.uniform(0.32, 0.5))), long
    ratio = float(rng.uniform(0.58, 0.92))
    return (long, round(long * ratio)) if shape == "wide" else (round(long * ratio), long)


def _ground(rng: np.random.Generator, theme: Theme, width: int, height: int) -> Image.Image:
    """Paint the package colour, from top to bottom, at times with a shape in another colour."""
    image = Image.new("RGB", (width, height), theme.top)
    if theme.bottom != theme.top:
        ends = np.array([[theme.top], [theme.bottom]], dtype=np.uint8)
        image = Image.fromarray(ends).resize((8, height), Image.Resampling.BILINEAR)
        image = image.resize((width, height), Image.Resampling.NEAREST)
    if rng.random() < 0.4:
        draw = ImageDraw.Draw(image)
        colour = blend(theme.top, theme.bottom if rng.random() < 0.5 else theme.accent, 0.16)
        x, y, size = (float(rng.uniform(*ends)) for ends in ((-0.2, 1.0), (-0.2, 1.0), (0.5, 1.4)))
        left, upper, right, lower = x * width, y * height, (x + size) * width, (y + size) * height
        if rng.random() < 0.5:
            draw.ellipse((left, upper, right, lower), colour)
        else:
            lean = width * float(rng.uniform(-0.3, 0.3))
            draw.polygon([(left, upper), (right, upper + lean), (right, lower), (left, lower - lean)], colour)
    return image


def _header(rng: np.random.Generator, panel: Panel, theme: Theme, margin: int, top: int) -> int:
    """Draw a band with brand and name; return its lower edge."""
    width, height = panel.image.size
    high = round(height * float(rng.uniform(0.09, 0.2)))
    draw = ImageDraw.Draw(panel.image)
    draw.rectangle((0, 0, width, top + high), theme.accent)
    brand = theme.font(min(high * 0.45, (width - 2 * margin) / 5) / theme.size, bold=True)
    name = theme.font(min(high * 0.22, (width - 2 * margin) / 14) / theme.size)
    colour = theme.accent_ink
    if rng.random() < 0.5:
        around = (
            margin * 0.5,
            top + high * 0.08,
            margin * 1.5 + length(brand, theme.brand),
            top + high * 0.66,
        )
        draw.ellipse(around, blend(theme.accent, theme.accent_ink, 0.85))
        colour = theme.accent
    draw.text((margin, top + high * 0.1), theme.brand, colour, brand)
    draw.text((margin, top + high * 0.68), theme.name, theme.accent_ink, name)
    panel.others.append(("header", (0, 0, width, top + high)))
    return top + high


def _seams(rng: np.random.Generator, panel: Panel, theme: Theme, form: str, high: int) -> None:
    """Draw upper and lower edges: the pressed seams of a bag, or the lid and rim of a can or jar."""
    width, height = panel.image.size
    draw = ImageDraw.Draw(panel.image)
    metal = choose(rng, ((176, 178, 182), (206, 170, 90), (60, 60, 64), theme.accent))
    for top in (0, height - high):
        if form == "round":
            for y in range(top, top + high):
                draw.line(
                    (0, y, width, y),
                    blend(metal, WHITE if (y - top) * 2 < high else BLACK, _rim(y - top, high)),
                )
            continue
        step = int(rng.integers(5, 12))
        base: Colour = blend(theme.top, BLACK, 0.06)
        draw.rectangle((0, top, width, top + high), base)
        for x in range(0, width, step):
            draw.line((x, top, x, top + high), blend(base, BLACK, 0.22), 2)
            draw.line((x + 2, top, x + 2, top + high), blend(base, WHITE, 0.25), 1)
    panel.others += [("seam", (0, 0, width, high)), ("seam", (0, height - high, width, height))]


def _rim(y: int, high: int) -> float:
    """Return how bright or dark a turned rim is at height `y` of `high`."""
    return 0.45 * abs(2 * y / high - 1) * (1.0 if (y // max(2, high // 6)) % 2 else 0.5)


def _columns(
    rng: np.random.Generator, theme: Theme, width: int, margin: int, top: int, bottom: int
) -> list[Span]:
    """Make one to three columns, as many as the print has room for."""
    most = max(1, min(3, (width - 2 * margin) // (theme.size * 17)))
    count = int(rng.integers(1, most + 1))
    gap = round(theme.size * float(rng.uniform(1.2, 2.4)))
    inner = width - 2 * margin - gap * (count - 1)
    shares = np.ones(count) if rng.random() < 0.6 else rng.uniform(0.75, 1.25, count)
    spans, left = [], margin
    for share in shares / shares.sum():
        wide = round(inner * float(share))
        spans.append(Span(left, wide, top, bottom))
        left += wide + gap
    return spans
