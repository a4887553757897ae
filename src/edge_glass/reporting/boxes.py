"""Draw boxes: into the pixels of a picture, or over it on a page; what is predicted beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from edge_glass.core.errors import DataError
from edge_glass.data.pictures import BadPicture, decode_image
from edge_glass.encoders.image_transform import to_rgb

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

PREDICTED: Final = "#F76707"
TRUTH: Final = "#1C7ED6"
"""Orange and blue: people with the common colour-vision deficiencies can tell them apart."""
CASING: Final = "#FFFFFF"
LETTERS: Final = (11, 44)  # pixels; smaller letters cannot be read, larger ones say no more
COVERED: Final = 0.25  # a label that would cover more than this share of a box is left out

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom; the last two are beyond it."""
Kind = Literal["truth", "trained", "untouched"]


class DrawnBox(NamedTuple):
    """A box as it is drawn: where, what is written at it, in which colour, and whether its line is broken."""

    corners: Rectangle
    words: str
    color: str
    broken: bool


@dataclass(frozen=True)
class ShownBox:
    """A box in percent of its picture.

    Attributes:
        kind: `truth`, `trained` (what a model found, or what it is taught) or `untouched`.
        left: Of its left edge, 0 to 100.
        top: Of its top edge.
        width: Its width.
        height: Its height.
        words: What is written at it: a name, perhaps a score.
        hint: What is said when it is pointed at: name and pixels.
    """

    kind: Kind
    left: float
    top: float
    width: float
    height: float
    words: str
    hint: str

    @property
    def style(self) -> str:
        """Its place, as CSS."""
        sides = {"left": self.left, "top": self.top, "width": self.width, "height": self.height}
        return "; ".join(f"{name}: {value:.3f}%" for name, value in sides.items())

    @property
    def places(self) -> str:
        """Where words at it would leave the picture, as CSS classes: `high`, `low`, `right`."""
        found = {
            "high": self.top < 8,
            "low": self.top + self.height > 92,
            "right": self.left + self.width / 2 > 50,
        }
        return " ".join(name for name, here in found.items() if here)


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
        _write_labels(draw, drawn, width, picture.size)
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
        raise DataError(f"{where}: expected a folder for {len(files)} pictures, got the name of one file")
    paths = [where] if alone else _free_names(files, where)
    for file, one, path in zip(files, found, paths, strict=True):
        drawn = visualize_bbox_on_image(_opened(Path(file)), one.boxes, one.labels, one.scores)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            drawn.save(path)
        except (ValueError, OSError) as error:  # ValueError: no such picture format
            raise DataError(f"{path}: cannot be written: {error}; give it a name like NAME.png") from error
    return paths


def shown_boxes(
    kind: Kind,
    boxes: Any,
    size: tuple[float, float],
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
) -> tuple[ShownBox, ...]:
    """Return boxes to be laid over a picture; what lies outside of it is cut off.

    Args:
        kind: Of all of them.
        boxes: `[n, 4]`, x1, y1, x2, y2 in pixels.
        size: Width and height that they are pixels of.
        labels: `n` names.
        scores: `n` numbers.
    """
    scale = 100.0 / np.array([*size, *size], dtype=np.float64)
    return tuple(_laid(kind, box, scale, words) for box, words in _checked("boxes", boxes, labels, scores))


def _laid(kind: Kind, box: np.ndarray, scale: np.ndarray, words: str) -> ShownBox:
    corners = np.clip(box * scale, 0.0, 100.0)
    left, top = (float(min(corners[i], corners[i + 2])) for i in (0, 1))
    right, bottom = (float(max(corners[i], corners[i + 2])) for i in (0, 1))
    place = f"x {box[0]:.0f} to {box[2]:.0f}, y {box[1]:.0f} to {box[3]:.0f}"
    hint = f"{kind}: {words}, {place}" if words else f"{kind}: {place}"
    return ShownBox(kind, left, top, right - left, bottom - top, words, hint)


def _box_array(boxes: Any, what: str) -> np.ndarray:
    """Return boxes as float64 `[n, 4]`; None and nothing give `[0, 4]`.

    Raises:
        DataError: They have another shape.
    """
    found = np.asarray([] if boxes is None else boxes, dtype=np.float64)
    if not found.size:
        return np.zeros((0, 4))
    if found.ndim != 2 or found.shape[1] != 4:
        raise DataError(f"{what}: expected the shape [n, 4], got {list(found.shape)}")
    return found


def _free_names(files: Sequence[str | Path], folder: Path) -> list[Path]:
    """Name `folder/NAME.png` for each, numbered where pictures of several folders have the same name."""
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
    """Pair boxes with what is written at them; one with a number that is not finite is left out."""
    found = _box_array(boxes, what)
    for name, values in (("labels", labels), ("scores", scores)):
        if values is not None and len(values) != len(found):
            raise DataError(f"{what}: expected as many {name} as boxes, got {len(values)} for {len(found)}")
    words = [str(label) for label in labels] if labels is not None else [""] * len(found)
    if scores is not None:
        words = [f"{word} {score:.2f}".strip() for word, score in zip(words, scores, strict=True)]
    return [(box, word) for box, word in zip(found, words, strict=True) if np.isfinite(box).all()]


def _scaled(corners: np.ndarray, factor: float) -> Rectangle:
    """Return pixels of the picture that is drawn on, corners in order."""
    x1, y1, x2, y2 = (float(number) * factor for number in corners)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _line_width(size: tuple[int, int]) -> int:
    """Return 1 pixel up to 300 of the shorter side, then one more for every 200."""
    return max(1, round(min(size) / 200))


def _outline(draw: ImageDraw.ImageDraw, box: DrawnBox, width: int, size: tuple[int, int]) -> None:
    """Draw a line around the box, with a light casing where there is room; along the rim, inside of it."""
    if _outside(box.corners, size):
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
    """Return the four sides as rectangles of pixels, both ends counted, at most `reach` pixels out."""
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
    """Cut a side into dashes; it begins and ends with one, so that corners are closed."""
    left, top, right, bottom = strip
    across = right - left >= bottom - top
    first, last = (left, right) if across else (top, bottom)
    length = last - first + 1
    count = max(1, round(length / max(9, 9 * width)))
    unit = length / (3 * count - 1)  # of which a dash has two, and a gap one
    starts = [first + round(3 * unit * number) for number in range(count)]
    dashes = [(start, min(last, start + max(1, round(2 * unit)) - 1)) for start in starts]
    return [(a, top, b, bottom) if across else (left, a, right, b) for a, b in dashes]


def _outside(corners: Rectangle, size: tuple[int, int]) -> bool:
    """Say whether nothing of a box is on a picture of this size."""
    return corners[0] >= size[0] or corners[1] >= size[1] or corners[2] <= 0 or corners[3] <= 0


def _write_labels(
    draw: ImageDraw.ImageDraw, boxes: Sequence[DrawnBox], width: int, size: tuple[int, int]
) -> None:
    """Write names on a ground of the box's colour, each at its own place."""
    font = _label_font(min(max(min(size) / 26, LETTERS[0]), LETTERS[1]))
    pad = max(2, width)
    corners = np.array([box.corners for box in boxes])
    taken: list[Rectangle] = []
    for box in boxes:
        words = _fitting(draw, box.words, font, size[0] - 2 * pad)
        if not words or _outside(box.corners, size):
            continue
        x1, y1, x2, y2 = draw.textbbox((0, 0), words, font=font)
        place = _place(box.corners, (x2 - x1 + 2 * pad, y2 - y1 + 2 * pad), width, size, corners, taken)
        if place is None:
            continue
        taken.append(place)
        draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=box.color)
        draw.text((place[0] + pad - x1, place[1] + pad - y1), words, fill="#FFFFFF", font=font)


def _place(
    own: Rectangle,
    label: tuple[float, float],
    width: int,
    size: tuple[int, int],
    boxes: np.ndarray,
    taken: Sequence[Rectangle],
) -> Rectangle | None:
    """Find where a label covers least: above, below, beside or within its box; None where it may not."""
    x1, y1, x2, y2 = own[0] - width, own[1] - width, own[2] + width, own[3] + width
    across, high = label
    wanted = [
        *((x, y) for y in (y1 - high, y2) for x in (x1, x2 - across)),
        *((x, y) for x in (x2, x1 - across) for y in (y1, y2 - high)),
        *((x, y) for y in (own[1], own[3] - high) for x in (own[0], own[2] - across)),
    ]
    best: tuple[float, Rectangle] | None = None
    for x, y in wanted:
        left = round(min(max(x, 0), max(size[0] - across, 0)))
        top = round(min(max(y, 0), max(size[1] - high, 0)))
        place = (left, top, left + across, top + high)
        covered = _shared(place, boxes)
        cost = float(covered.sum()) + 2 * float(_shared(place, np.array(taken).reshape(-1, 4)).sum())
        if covered.max(initial=0.0) <= COVERED and (best is None or cost < best[0] - 1e-9):
            best = (cost, place)
    return None if best is None else best[1]


def _shared(place: Rectangle, rectangles: np.ndarray) -> np.ndarray:
    """Return the share of each of `rectangles` `[n, 4]` that lies under `place`, float `[n]`."""
    wide = np.minimum(rectangles[:, 2], place[2]) - np.maximum(rectangles[:, 0], place[0])
    high = np.minimum(rectangles[:, 3], place[3]) - np.maximum(rectangles[:, 1], place[1])
    sides = np.maximum(rectangles[:, 2:] - rectangles[:, :2], 1.0)
    return np.clip(wide, 0, None) * np.clip(high, 0, None) / sides.prod(axis=1)


def _fitting(draw: ImageDraw.ImageDraw, words: str, font: Any, most: float) -> str:
    """Shorten to one line of at most so many pixels; to nothing where not even three letters fit."""
    line = " ".join(words.split())
    shown = line
    while shown and draw.textlength(shown if shown == line else f"{shown}…", font=font) > most:
        shown = shown[:-1].rstrip()
    if shown == line:
        return line
    return f"{shown}…" if len(shown) >= 3 else ""


def _label_font(pixels: float) -> ImageFont.FreeTypeFont:
    """Load matplotlib's own DejaVu Sans, which has Latin, Greek and Cyrillic letters."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    return ImageFont.truetype(str(path), round(pixels))
