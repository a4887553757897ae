"""The look of one product: languages, fonts and colours, shared by everything that is printed on it."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import ImageFont

from edge_glass_scenes.packages.drawing import (
    BLACK,
    ENGLISH_FAMILY,
    FAMILIES,
    FAMILY_SHARES,
    WHITE,
    Colour,
    Family,
    blend,
    choose,
    load_font,
    luminance,
)
from edge_glass_scenes.words import LANGUAGES, SHARES, Language
from edge_glass_scenes.words.language import KINDS

_START: Final = (
    "Bel",
    "Mar",
    "Ver",
    "Cam",
    "Dol",
    "Lin",
    "Or",
    "Pa",
    "Sol",
    "Tal",
    "Fen",
    "Gri",
    "Nor",
    "Ha",
)
_END: Final = (
    "anza",
    "etta",
    "ina",
    "ovia",
    "umo",
    "elle",
    "arco",
    "ido",
    "wold",
    "berg",
    "osa",
    "ente",
    "ika",
)


@dataclass(frozen=True)
class Theme:
    """Attributes: `languages` holds one to three, the first is the main one; `squeeze` narrows all print;
    `top` and `bottom` are the package's colours, `ink` reads well on both; `paper` and `paper_ink` are those
    of boxes on it; `size` is the height of small print in pixels.
    """

    kind: str
    brand: str
    name: str
    languages: tuple[Language, ...]
    family: Family
    squeeze: float
    size: int
    top: Colour
    bottom: Colour
    ink: Colour
    accent: Colour
    accent_ink: Colour
    paper: Colour
    paper_ink: Colour

    @property
    def language(self) -> Language:
        """The main language."""
        return self.languages[0]

    def font(self, scale: float = 1.0, bold: bool = False, italic: bool = False) -> ImageFont.FreeTypeFont:
        """Return the product's font at `scale` times the small print."""
        file = self.family.bold if bold else self.family.italic if italic else self.family.regular
        return load_font(file, max(8, round(self.size * scale)))


def draw_theme(rng: np.random.Generator) -> Theme:
    """Return a product's look."""
    languages = _languages(rng)
    english = languages[0].code == "en" and len(languages) == 1
    family = ENGLISH_FAMILY if english and rng.random() < 0.3 else choose(rng, FAMILIES, FAMILY_SHARES)
    top, bottom = _package_colours(rng)
    ink = _readable(rng, top, bottom)
    accent = _vivid(rng)
    kind = choose(rng, KINDS)
    paper, paper_ink = _paper(rng, top, accent)
    return Theme(
        kind=kind,
        brand=choose(rng, _START) + choose(rng, _END),
        name=choose(rng, languages[0].product_names(kind)),
        languages=languages,
        family=family,
        squeeze=1.0 if rng.random() < 0.3 else float(rng.uniform(0.72, 0.95)),
        size=int(rng.integers(13, 21)),
        top=top,
        bottom=bottom,
        ink=ink,
        accent=accent,
        accent_ink=WHITE if luminance(accent) < 150 else BLACK,
        paper=paper,
        paper_ink=paper_ink,
    )


def _languages(rng: np.random.Generator) -> tuple[Language, ...]:
    count = choose(rng, (1, 2, 3), (0.68, 0.2, 0.12))
    found: list[Language] = []
    while len(found) < count:
        language = choose(rng, LANGUAGES, SHARES)
        if language not in found:
            found.append(language)
    return tuple(found)


def _from_hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue


def _vivid(rng: np.random.Generator) -> Colour:
    return _from_hsv(float(rng.random()), float(rng.uniform(0.55, 0.95)), float(rng.uniform(0.35, 0.85)))


def _package_colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Choose white, vivid, dark, pastel, board or metal; the second is the first or a little off it."""
    hue = float(rng.random())
    look = choose(rng, ("white", "vivid", "dark", "pastel", "board", "metal"), (30, 28, 14, 14, 8, 6))
    if look == "white":
        top = _from_hsv(hue, float(rng.uniform(0, 0.08)), float(rng.uniform(0.88, 1.0)))
    elif look == "vivid":
        top = _vivid(rng)
    elif look == "dark":
        top = _from_hsv(hue, float(rng.uniform(0.1, 0.8)), float(rng.uniform(0.06, 0.3)))
    elif look == "pastel":
        top = _from_hsv(hue, float(rng.uniform(0.12, 0.35)), float(rng.uniform(0.85, 0.98)))
    elif look == "board":
        top = _from_hsv(0.08, float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.55, 0.78)))
    else:
        top = _from_hsv(0.58, float(rng.uniform(0.0, 0.08)), float(rng.uniform(0.6, 0.8)))
    if rng.random() < 0.55:
        return top, top
    toward = choose(rng, (BLACK, WHITE, _vivid(rng)))
    return top, blend(top, toward, float(rng.uniform(0.08, 0.3)))


def _readable(rng: np.random.Generator, *grounds: Colour) -> Colour:
    """Choose ink that stands out from the grounds: nearly black, nearly white, or a deep colour."""
    bright = float(np.mean([luminance(ground) for ground in grounds]))
    if bright < 125:
        return blend(WHITE, grounds[0], float(rng.uniform(0, 0.12)))
    if bright > 190 and rng.random() < 0.45:
        return _from_hsv(float(rng.random()), float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.2, 0.45)))
    return BLACK


def _paper(rng: np.random.Generator, ground: Colour, accent: Colour) -> tuple[Colour, Colour]:
    """Fill and ink of boxes: mostly white with dark print, sometimes dark with light print."""
    draw = rng.random()
    if draw < 0.6:
        return blend(WHITE, ground, float(rng.uniform(0, 0.1))), BLACK
    if draw < 0.8:
        fill = blend(accent, WHITE, float(rng.uniform(0.7, 0.9)))
        return fill, _readable(rng, fill)
    fill = blend(accent, BLACK, float(rng.uniform(0.3, 0.8)))
    return fill, WHITE
