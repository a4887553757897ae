"""The emoji drawings behind `emoji-scenes`: their classes, and which of them are held out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_glass.data.pictures import decode_image, picture_hash


class EmojiClass(NamedTuple):
    """Which emoji are of a class: those of `codes` code points, all in one of `ranges` (ends included)."""

    ranges: tuple[tuple[int, int], ...]
    codes: int = 1

    def has(self, stem: str) -> bool:
        """Return whether a file name without suffix, such as 1f600 or 1f1e6-1f1e8, is of this class."""
        codes = [int(code, 16) for code in stem.split("-")]
        return len(codes) == self.codes and all(
            any(first <= code <= last for first, last in self.ranges) for code in codes
        )


CLASSES: Final[Mapping[str, EmojiClass]] = {
    "face": EmojiClass(
        ((0x1F600, 0x1F637), (0x1F641, 0x1F644), (0x1F910, 0x1F917), (0x1F920, 0x1F92F), (0x1F970, 0x1F976))
    ),
    "animal": EmojiClass(((0x1F400, 0x1F43B), (0x1F980, 0x1F9AE), (0x1FAB0, 0x1FAB3), (0x1FABF, 0x1FABF))),
    "flag": EmojiClass(((0x1F1E6, 0x1F1FF),), codes=2),
    "clock": EmojiClass(((0x1F550, 0x1F567),)),
    "heart": EmojiClass(((0x1F493, 0x1F494), (0x1F496, 0x1F49C), (0x1F5A4, 0x1F5A4), (0x1F9E1, 0x1F9E1))),
    "food": EmojiClass(((0x1F32D, 0x1F32F), (0x1F345, 0x1F373), (0x1F950, 0x1F96F), (0x1FAD0, 0x1FAD6))),
    "vehicle": EmojiClass(
        ((0x1F681, 0x1F684), (0x1F686, 0x1F686), (0x1F688, 0x1F68E), (0x1F690, 0x1F69E), (0x1F6F4, 0x1F6FC))
    ),
}
DEFAULT_CLASSES: Final = ("face", "animal", "flag", "clock")
"""Told apart by form and colour. Food and vehicles, named rightly when new, take more to learn."""

# Shares of the drawings of a class.
_TEST_SHARE: Final = 0.2
_VAL_SHARE: Final = 0.1

VISIBLE: Final = 64
"""Alpha from which a pixel belongs to the drawing."""


@dataclass(frozen=True)
class Drawing:
    """One emoji: `stem` is its code point in hex, `picture` its 72x72 RGBA picture, `colour` its mean RGB."""

    stem: str
    category: int
    picture: Any
    colour: tuple[float, float, float]


def read_drawings(folder: Path, classes: Sequence[str] = DEFAULT_CLASSES) -> list[Drawing]:
    """Read the drawings of the classes from a folder of PNG files; of those that look alike, the first."""
    drawings: dict[str, Drawing] = {}
    files = sorted(folder.glob("*.png"))
    for category, name in enumerate(classes):
        for file in files:
            if CLASSES[name].has(file.stem):
                picture = decode_image(file.read_bytes()).convert("RGBA")
                drawing = Drawing(file.stem, category, picture, _mean_colour(picture))
                drawings.setdefault(picture_hash(picture), drawing)
    return list(drawings.values())


def _mean_colour(picture: Any) -> tuple[float, float, float]:
    import numpy as np

    pixels = np.asarray(picture, dtype=np.float64)
    red, green, blue = pixels[pixels[..., 3] >= VISIBLE][:, :3].mean(axis=0).tolist()
    return red, green, blue


def split_drawings(drawings: Sequence[Drawing]) -> dict[str, list[Drawing]]:
    """Return the fixed split: of each class, shuffled with seed 0, a fifth is test and a tenth val."""
    pools: dict[str, list[Drawing]] = {"train": [], "val": [], "test": []}
    for category in sorted({drawing.category for drawing in drawings}):
        members = sorted((d for d in drawings if d.category == category), key=lambda d: d.stem)
        random.Random(0).shuffle(members)
        test = max(1, round(len(members) * _TEST_SHARE))
        val = max(1, round(len(members) * _VAL_SHARE))
        pools["test"] += members[:test]
        pools["val"] += members[test : test + val]
        pools["train"] += members[test + val :]
    return pools
