"""Emoji on backgrounds, with their boxes: a detection data set that is drawn here, in OpenFoodFacts' form.

Drawings come from the asset `twemoji`. Every drawing is on one side of the split only, so the numbers on the
test rows are about drawings that were never seen.
"""

from __future__ import annotations

import hashlib
import io
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edge_glass import assets
from edge_glass.core.errors import ConfigError
from edge_glass.core.files import write_whole
from edge_glass_scenes.emoji_drawings import (
    CLASSES,
    DEFAULT_CLASSES,
    VISIBLE,
    Drawing,
    read_drawings,
    split_drawings,
)
from edge_glass_scenes.scene_parquet import Scene, write_scenes

logger = logging.getLogger(__name__)

Background = Literal["plain", "textured"]

HELD_OUT_ROWS: Final = 500
"""Rows of val.parquet and of test.parquet, each."""

# Sides of an emoji, as shares of the scene's side, when it is alone.
_SMALLEST: Final = 0.3
_LARGEST: Final = 0.7

_CONTRAST: Final = 60.0  # least distance, in RGB, of a background's colours from the drawing's mean colour
_TRIES: Final = 50


@dataclass(frozen=True)
class SceneOptions:
    """What is drawn.

    Attributes:
        side: Width and height of a scene, in pixels.
        most_objects: Each scene has one to so many emoji, as far as they find room; none covers another.
        background: plain is one colour; textured is a gradient, stripes, checks or noise of two colours.
        classes: Keys of `CLASSES`; a scene's emoji are drawn from all of them alike.
    """

    side: int = 168
    most_objects: int = 1
    background: Background = "plain"
    classes: tuple[str, ...] = DEFAULT_CLASSES


def build_emoji_scenes(
    folder: Path,
    rows: int = 20_000,
    seed: int = 0,
    options: SceneOptions | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Write train.parquet, val.parquet, test.parquet and a data set card; the same bytes every time.

    Columns as in OpenFoodFacts (see `scene_parquet`). `meta.barcode` names the drawings of a scene.

    Args:
        folder: Where the files go; it is made if need be.
        rows: Of train.parquet; the others have 500 each.
        seed: Of positions, sizes and colours. Which drawing is on which side of the split never changes.
        options: What is drawn.
        progress: Show the download of the drawings, if they must be fetched.

    Returns:
        Split name → file, in the order train, val, test.

    Raises:
        AssetError: The drawings cannot be fetched.
        ConfigError: No such class, no rows, a side below 32 pixels or no objects.
    """
    options = options or SceneOptions()
    _check(rows, options)
    pools = split_drawings(read_drawings(assets.fetch("twemoji", progress) / "72x72", options.classes))
    counts = {"train": rows, "val": HELD_OUT_ROWS, "test": HELD_OUT_ROWS}
    files = {
        split: write_scenes(
            folder / f"{split}.parquet", draw_scenes(pools[split], count, split, seed, options)
        )
        for split, count in counts.items()
    }
    write_whole(folder / "README.md", _card(pools, counts, seed, options))
    logger.info("wrote %d emoji scenes to %s", sum(counts.values()), folder)
    return files


def _check(rows: int, options: SceneOptions) -> None:
    if unknown := [name for name in options.classes if name not in CLASSES]:
        raise ConfigError(f"emoji-scenes: no class {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    if rows < 1 or options.side < 32 or options.most_objects < 1 or not options.classes:
        raise ConfigError(
            "emoji-scenes: expected at least 1 row, side 32, 1 object and 1 class; got "
            f"{rows} rows, side {options.side}, {options.most_objects} objects, "
            f"{len(options.classes)} classes"
        )


def draw_scenes(
    pool: Sequence[Drawing], count: int, split: str, seed: int, options: SceneOptions
) -> Iterator[Scene]:
    """Draw scene by scene; each is a function of (seed, split, row, options) and the pool."""
    for row in range(count):
        name = f"{seed}:{split}:{row}"
        rng = random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
        yield draw_scene(pool, rng, f"{split}_{row}", options)


def draw_scene(pool: Sequence[Drawing], rng: random.Random, image_id: str, options: SceneOptions) -> Scene:
    """Return one scene of one or more emoji from a pool."""
    chosen = _choose(pool, rng, rng.randint(1, options.most_objects))
    scene = draw_background(rng, options, [drawing.colour for drawing in chosen])
    placed: list[tuple[Drawing, tuple[int, int, int, int]]] = []
    for drawing in chosen:
        for _ in range(_TRIES):
            picture, box = _placed(drawing, rng, options.side, len(chosen))
            if not any(_overlap(box, other) for _, other in placed):
                visible = picture.getchannel("A").point(lambda alpha: 255 * (alpha >= VISIBLE)).getbbox()
                scene.paste(picture, box[:2], picture)
                left, top = box[:2]
                x_min, y_min, x_max, y_max = visible
                placed.append((drawing, (left + x_min, top + y_min, left + x_max, top + y_max)))
                break
    stream = io.BytesIO()
    scene.save(stream, format="PNG")
    return Scene(
        image_id=image_id,
        image=stream.getvalue(),
        suffix=".png",
        width=options.side,
        height=options.side,
        barcode="+".join(drawing.stem for drawing, _ in placed),
        boxes=tuple(box for _, box in placed),
        category_ids=tuple(drawing.category for drawing, _ in placed),
        category_names=tuple(options.classes[drawing.category] for drawing, _ in placed),
    )


def _choose(pool: Sequence[Drawing], rng: random.Random, count: int) -> list[Drawing]:
    """Choose classes alike, whatever the number of their drawings."""
    classes = sorted({drawing.category for drawing in pool})
    chosen = (rng.choice(classes) for _ in range(count))
    return [rng.choice([d for d in pool if d.category == category]) for category in chosen]


def _placed(
    drawing: Drawing, rng: random.Random, side: int, count: int
) -> tuple[Any, tuple[int, int, int, int]]:
    """Return the drawing at a random size, and the box of its whole square in the scene, xyxy pixels."""
    from PIL import Image

    share = rng.uniform(_SMALLEST, _LARGEST) / count**0.5
    size = max(8, round(share * side))
    left, top = rng.randint(0, side - size), rng.randint(0, side - size)
    picture = drawing.picture.resize((size, size), Image.Resampling.BICUBIC)
    return picture, (left, top, left + size, top + size)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def draw_background(
    rng: random.Random, options: SceneOptions, colours: Sequence[tuple[float, float, float]]
) -> Any:
    """Return an RGB picture, side x side, whose colours stand out from those of the drawings."""
    import numpy as np
    from PIL import Image

    first = _colour(rng, colours)
    if options.background == "plain":
        return Image.new("RGB", (options.side, options.side), first)
    second = _colour(rng, colours)
    down, along = np.mgrid[0 : options.side, 0 : options.side] / options.side
    angle, number, kind = rng.uniform(0.0, 2 * np.pi), rng.randint(2, 8), rng.randrange(4)
    slope = along * np.cos(angle) + down * np.sin(angle)
    if kind == 0:  # gradient
        share = (slope - slope.min()) / (slope.max() - slope.min())
    elif kind == 1:  # stripes
        share = np.floor(slope * number * 2) % 2
    elif kind == 2:  # checks
        share = (np.floor(along * number) + np.floor(down * number)) % 2
    else:  # noise, one value for a square of 4 pixels
        coarse = np.random.default_rng(rng.randrange(2**32)).random((options.side // 4 + 1,) * 2)
        share = coarse.repeat(4, axis=0).repeat(4, axis=1)[: options.side, : options.side]
    pixels = np.asarray(first) * (1 - share[..., None]) + np.asarray(second) * share[..., None]
    return Image.fromarray(pixels.round().astype(np.uint8))


def _colour(rng: random.Random, others: Sequence[tuple[float, float, float]]) -> tuple[int, int, int]:
    for _ in range(_TRIES):
        colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        distances = [sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)) ** 0.5 for other in others]
        if min(distances) >= _CONTRAST:
            break
    return colour


def _card(
    pools: Mapping[str, Sequence[Drawing]], counts: Mapping[str, int], seed: int, options: SceneOptions
) -> str:
    lines = []
    for split, pool in pools.items():
        drawings = [sum(d.category == number for d in pool) for number in range(len(options.classes))]
        lines.append(f"| {split}.parquet | {counts[split]:,} | " + " | ".join(map(str, drawings)) + " |")
    return _CARD.format(
        side=options.side,
        objects="one emoji" if options.most_objects == 1 else f"one to {options.most_objects} emoji",
        background=options.background,
        seed=seed,
        classes=" | ".join(options.classes),
        rule="|---" * (len(options.classes) + 2) + "|",
        table="\n".join(lines),
    )


_CARD: Final = """\
# Emoji scenes

{side}x{side} PNG pictures of {objects} on a {background} background, with boxes. Seed {seed}.

| file | scenes | {classes} |
{rule}
{table}

The numbers by class are drawings. A drawing is in one file only, and drawings that look alike count as
one: in validation and test every drawing is new. Classes are drawn equally often, however many drawings they
have.

Columns and types are those of openfoodfacts/nutrition-table-detection. `objects.bbox` is
`[y_min, x_min, y_max, x_max]`, relative to height and width; the boxes are tight around the visible pixels.
`meta.barcode` holds the code points of the drawings, in hex.

## Licence and attribution

Graphics: Twemoji, copyright Twitter, Inc and other contributors, licensed under CC-BY 4.0
(https://creativecommons.org/licenses/by/4.0/); resized and placed on backgrounds.
"""
