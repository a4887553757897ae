"""Seeded choices, fonts, and blocks: pieces of print that know their size before they are painted."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
T = TypeVar("T")

WHITE: Final[Colour] = (255, 255, 255)
BLACK: Final[Colour] = (20, 20, 22)


def choose(rng: np.random.Generator, options: Sequence[T], shares: Sequence[float] | None = None) -> T:
    """Return one of `options`, all alike or with the given shares (of their sum)."""
    if shares is None:
        return options[int(rng.integers(len(options)))]
    edges = np.cumsum(shares)
    return options[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def luminance(colour: Colour) -> float:
    """Return how bright a colour looks, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """Mix `share` of `other` into `one`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Family(NamedTuple):
    """Font files of matplotlib; None is the font inside Pillow, which lacks accents."""

    regular: str | None
    bold: str | None
    italic: str | None


FAMILIES: Final = (
    Family("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf"),
    Family("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSerif-Italic.ttf"),
    Family("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf"),
    Family("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSansMono-Oblique.ttf"),
)
ENGLISH_FAMILY: Final = Family(None, "DejaVuSans-Bold.ttf", None)
FAMILY_SHARES: Final = (0.58, 0.14, 0.22, 0.06)


@lru_cache(maxsize=1)
def _font_folder() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@lru_cache(maxsize=16)
def _font_bytes(file: str | None) -> bytes:
    if file is None:
        inside = ImageFont.load_default(10)
        assert isinstance(inside, ImageFont.FreeTypeFont)  # Pillow 10.1 and later, with FreeType
        return inside.font_bytes
    return (_font_folder() / file).read_bytes()


@lru_cache(maxsize=512)
def load_font(file: str | None, size: int) -> ImageFont.FreeTypeFont:
    """Return a font by its size in pixels, with the layout engine that every Pillow has."""
    return ImageFont.truetype(io.BytesIO(_font_bytes(file)), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1 << 15)
def length(font: ImageFont.FreeTypeFont, text: str) -> float:
    """Return the width of a text in pixels."""
    return font.getlength(text)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a text at its spaces into lines of at most `width` pixels; a longer word has its own line."""
    lines: list[str] = []
    line, long = "", 0.0
    space = length(font, " ")
    for word in text.split():
        wide = length(font, word)
        if line and long + space + wide > width:
            lines.append(line)
            line, long = word, wide
        else:
            long = long + space + wide if line else wide
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


class Block(NamedTuple):
    """A piece of print: `paint` draws it into a picture of (width, height) that shows what is below."""

    kind: str
    width: int
    height: int
    paint: Callable[[ImageDraw.ImageDraw], None]

    def place(
        self, panel: Image.Image, left: int, top: int, squeeze: float = 1.0
    ) -> tuple[int, int, int, int]:
        """Paint onto `panel`, narrowed to `squeeze` of the width; returns the rectangle it takes, xyxy."""
        wide = max(1, round(self.width * squeeze))
        box = (left, top, left + wide, top + self.height)
        patch = panel.crop(box)
        if wide != self.width:
            patch = patch.resize((self.width, self.height), Image.Resampling.BILINEAR)
        self.paint(ImageDraw.Draw(patch))
        if wide != self.width:
            patch = patch.resize((wide, self.height), Image.Resampling.BILINEAR)
        panel.paste(patch, box[:2])
        return box
