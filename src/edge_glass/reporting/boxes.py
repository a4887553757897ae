"""Boxes on a picture: what is predicted beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_glass.core.errors import DataError
from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.encoders.image_transform import to_rgb
from edge_glass.reporting.box_labels import DrawnBox, Rectangle, outside, write_labels

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PREDICTED: Final = "#F76707"
TRUTH: Final = "#1C7ED6"
"""Orange and blue: people with the common colour-vision deficiencies can tell them apart."""
CASING: Final = "#FFFFFF"


def visualize_bbox_on_image(
    image: Image.Image,
    boxes: Any,
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
    truth: Any = None,
    truth_labels: Sequence[str] | None = None,
    *,
    show_labels: bool = True,
    line_width: int | None = None,
    smallest_side: int | None = None,
) -> Image.Image:
    """Draw boxes on a copy of a picture: predicted ones orange, true ones blue.

    Lines run around their box, so that even a small object stays in sight, and are as wide as suits the
    picture. Beside true boxes the predicted ones are broken, so that both are seen where they agree. Labels
    stand where they cover nothing; one that would cover a small object is left out.

    Args:
        image: Of any mode; turned upright.
        boxes: Predicted boxes `[n, 4]`, x1, y1, x2, y2 in pixels of the upright picture; None for none.
        labels: `n` names.
        scores: `n` numbers, written behind the names.
        truth: True boxes `[m, 4]`, likewise.
        truth_labels: `m` names.
        show_labels: Whether names and scores are written at all.
        line_width: In pixels; by default by the size of the picture.
        smallest_side: Enlarge a picture whose shorter side has fewer pixels, so that labels can be read.

    Returns:
        An RGB picture, of the size of `image` unless it was enlarged.

    Raises:
        DataError: Boxes are not `[n, 4]`, or their count is not that of the labels or scores.
    """
    from PIL import Image, ImageDraw

    picture = to_rgb(image).copy()
    factor = max(1.0, (smallest_side or 0) / min(picture.size))
    if factor > 1.0:
        size = (round(picture.width * factor), round(picture.height * factor))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    true = _checked("truth", truth, truth_labels, None)
    found = _checked("boxes", boxes, labels, scores)
    drawn = [DrawnBox(_scaled(corners, factor), words, TRUTH, False) for corners, words in true]
    drawn += [DrawnBox(_scaled(corners, factor), words, PREDICTED, bool(true)) for corners, words in found]
    width = line_width or _line_width(picture.size)
    draw = ImageDraw.Draw(picture)
    for box in drawn:
        _outline(draw, box, width, picture.size)
    if show_labels and any(box.words for box in drawn):
        write_labels(draw, drawn, width, picture.size)
    return picture


def save_drawn(files: Sequence[str | Path], found: Sequence[Any], where: str | Path) -> list[Path]:
    """Write pictures with what was found on them.

    Args:
        files: The pictures.
        found: For each of them, something with `boxes`, `labels` and `scores`, as `DetectModel` gives it.
        where: The file to write, for one picture; for several, or without an ending, a folder of PNGs.

    Returns:
        The files that were written, in the order of the pictures.

    Raises:
        DataError: A picture cannot be read, or `where` is a file name for several pictures.
    """
    where = Path(where)
    alone = len(files) == 1 and where.suffix != "" and not where.is_dir()
    if not alone and where.suffix and not where.is_dir():
        raise DataError(f"{where}: {len(files)} pictures do not fit into one file; a folder would be right")
    paths = [where] if alone else _free_names(files, where)
    for file, one, path in zip(files, found, paths, strict=True):
        drawn = visualize_bbox_on_image(_opened(Path(file)), one.boxes, one.labels, one.scores)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            drawn.save(path)
        except (ValueError, OSError) as error:  # ValueError: no such picture format
            raise DataError(f"{path}: cannot be written: {error}; NAME.png would be right") from error
    return paths


def box_array(boxes: Any, what: str = "boxes") -> np.ndarray:
    """Boxes as float64 `[n, 4]`; None and nothing give `[0, 4]`.

    Raises:
        DataError: They have another shape.
    """
    found = np.asarray([] if boxes is None else boxes, dtype=np.float64)
    if not found.size:
        return np.zeros((0, 4))
    if found.ndim != 2 or found.shape[1] != 4:
        raise DataError(f"{what}: their shape is {list(found.shape)}; [n, 4] would be right")
    return found


def _free_names(files: Sequence[str | Path], folder: Path) -> list[Path]:
    """`folder/NAME.png` for each, numbered where pictures of several folders have the same name."""
    paths: dict[Path, None] = {}
    for file in files:
        path, number = folder / f"{Path(file).stem}.png", 1
        while path in paths:
            number += 1
            path = folder / f"{Path(file).stem}-{number}.png"
        paths[path] = None
    return list(paths)


def _opened(file: Path) -> Image.Image:
    try:
        return decode_image(file.read_bytes())
    except BadPicture as error:
        raise DataError(f"{file}: {error.reason}.") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error


def _checked(
    what: str, boxes: Any, labels: Sequence[str] | None, scores: Sequence[float] | None
) -> list[tuple[np.ndarray, str]]:
    """Boxes with what is written at them; one with a number that is not finite cannot be drawn."""
    found = box_array(boxes, what)
    for name, values in (("labels", labels), ("scores", scores)):
        if values is not None and len(values) != len(found):
            raise DataError(f"{what}: {len(found)} boxes, {len(values)} {name}; as many would be right")
    words = [str(label) for label in labels] if labels is not None else [""] * len(found)
    if scores is not None:
        words = [f"{word} {score:.2f}".strip() for word, score in zip(words, scores, strict=True)]
    return [(box, word) for box, word in zip(found, words, strict=True) if np.isfinite(box).all()]


def _scaled(corners: np.ndarray, factor: float) -> Rectangle:
    """In pixels of the picture that is drawn on, corners in order."""
    x1, y1, x2, y2 = (float(number) * factor for number in corners)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _line_width(size: tuple[int, int]) -> int:
    """1 pixel up to 300 of the shorter side, then one more for every 200."""
    return max(1, round(min(size) / 200))


def _outline(draw: ImageDraw.ImageDraw, box: DrawnBox, width: int, size: tuple[int, int]) -> None:
    """A line around the box, with a thin light casing where there is room; along the rim, inside of it."""
    if outside(box.corners, size):
        return
    if width > 1 and not box.broken:
        for strip in _strips(box.corners, width + 1, width + 1, size):
            draw.rectangle(strip, fill=CASING)
    for strip in _strips(box.corners, width, width, size):
        for piece in _broken(strip, width) if box.broken else [strip]:
            draw.rectangle(piece, fill=box.color)


def _strips(
    corners: Rectangle, reach: int, width: int, size: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """The four sides as rectangles of pixels, both ends counted: `reach` pixels out of the box at most."""
    x1, y1, x2, y2 = (round(number) for number in corners)
    left, top = max(0, x1 - reach), max(0, y1 - reach)
    right, bottom = min(size[0], max(x2, x1 + 1) + reach) - 1, min(size[1], max(y2, y1 + 1) + reach) - 1
    return [
        (left, top, right, min(top + width - 1, bottom)),
        (left, max(bottom - width + 1, top), right, bottom),
        (left, top, min(left + width - 1, right), bottom),
        (max(right - width + 1, left), top, right, bottom),
    ]


def _broken(strip: tuple[int, int, int, int], width: int) -> list[tuple[int, int, int, int]]:
    """A side in dashes; it begins and ends with one, so that corners are closed."""
    left, top, right, bottom = strip
    across = right - left >= bottom - top
    first, last = (left, right) if across else (top, bottom)
    length = last - first + 1
    count = max(1, round(length / max(9, 9 * width)))
    unit = length / (3 * count - 1)  # of which a dash has two, and a gap one
    starts = [first + round(3 * unit * number) for number in range(count)]
    dashes = [(start, min(last, start + max(1, round(2 * unit)) - 1)) for start in starts]
    return [(a, top, b, bottom) if across else (left, a, right, b) for a, b in dashes]
