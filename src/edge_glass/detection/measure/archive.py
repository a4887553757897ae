"""What the evaluation of boxes leaves behind, so that pages can be made and models compared without them.

evaluation/SPLIT_detections.jsonl     one `DetectionRecord` a line, in the order of the rows
evaluation/SPLIT_pictures/HASH.jpg    small pictures of the rows that a report shows (`shown_rows`)
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from edge_glass.evaluation.records import RecordFiles, drawn_place

if TYPE_CHECKING:
    from PIL import Image

WORST_SHOWN: Final = 36
DRAWN_SHOWN: Final = 12
BEST_SHOWN: Final = 12
PICTURE_SIDE: Final = 480
"""Longer side of the kept pictures, in pixels; smaller ones are kept as they are."""
DECIMALS: Final = 2  # of pixels


@dataclass(frozen=True)
class DetectionRecord:
    """One picture of an evaluated split, what is on it, and what was found.

    All boxes are `[x1, y1, x2, y2]` in pixels of the upright source picture.

    Attributes:
        id: Of the row.
        picture: Content hash of the picture, by which it is kept; None where it is unknown.
        width: Of the source picture, in pixels.
        height: Of the source picture, in pixels.
        true_boxes: What is there.
        true_labels: Their names.
        boxes: What the trained model found.
        labels: Their names.
        scores: Of each of `boxes`, 0 to 1; None where they were not made.
        text: The answer as it was written.
        problem: What is wrong with the answer, in words; None where it could be read. With boxes beside it, a
            part of the answer could be.
        ended: Whether the answer ended by itself, and not because it had no tokens left.
        iou: Of the picture, 0 to 1: sum of the matched IoU over the greater count of boxes.
        untouched_boxes: What the model found before training, if that was kept.
        untouched_labels: Their names.
        untouched_text: Its answer.
        untouched_iou: Its IoU.
    """

    id: str
    picture: str | None
    width: int
    height: int
    true_boxes: list[list[float]]
    true_labels: list[str]
    boxes: list[list[float]]
    labels: list[str]
    scores: list[float] | None
    text: str
    problem: str | None
    ended: bool
    iou: float
    untouched_boxes: list[list[float]] | None = None
    untouched_labels: list[str] | None = None
    untouched_text: str | None = None
    untouched_iou: float | None = None

    @property
    def unparsable(self) -> bool:
        """Whether nothing could be read in the answer."""
        return self.problem is not None and not len(self.boxes)


_FILES: Final = RecordFiles(
    "detections",
    "detection",
    ".jpg",
    {
        "id": (str,),
        "picture": (str, NoneType),
        "width": (int,),
        "height": (int,),
        "true_boxes": (list,),
        "true_labels": (list,),
        "boxes": (list,),
        "labels": (list,),
        "scores": (list, NoneType),
        "text": (str,),
        "problem": (str, NoneType),
        "ended": (bool,),
        "iou": (int, float),
        "untouched_boxes": (list, NoneType),
        "untouched_labels": (list, NoneType),
        "untouched_text": (str, NoneType),
        "untouched_iou": (int, float, NoneType),
    },
)
_BOXES: Final = ("true_boxes", "boxes", "untouched_boxes")
_COUNTED: Final = (
    ("true_boxes", "true_labels"),
    ("boxes", "labels"),
    ("boxes", "scores"),
    ("untouched_boxes", "untouched_labels"),
)


def save_detections(
    folder: Path,
    split: str,
    records: Sequence[DetectionRecord],
    picture: Callable[[str], Image.Image],
) -> Path:
    """Write what was found on a split into a run folder: pictures first, then the records, each file whole.

    Args:
        folder: The run folder.
        split: Which split was evaluated.
        records: In the order of the rows. Boxes may be arrays `[n, 4]`; hundredths of a pixel are kept.
        picture: Content hash → upright picture; called for those that a report shows (`shown_rows`). Kept
            pictures of earlier evaluations of the split are removed.

    Returns:
        The path of the records.

    Raises:
        ValueError: A picture's name is no content hash, or a number is not finite.
    """
    shown = dict.fromkeys(records[row].picture for row in shown_rows(records).every)
    pictures = [name for name in shown if name is not None]
    return _FILES.save(
        folder, split, map(_plain, records), pictures, lambda name: picture_bytes(picture(name))
    )


def load_detections(folder: Path, split: str) -> list[DetectionRecord]:
    """Read the records of a split.

    Raises:
        DataError: They are missing or broken.
    """
    return [DetectionRecord(**found) for found in _FILES.load(folder, split, _problem)]


def picture_bytes(picture: Image.Image, side: int = PICTURE_SIDE) -> bytes:
    """JPEG of a picture, scaled down (never up) to fit a square of `side` pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def picture_of(folder: Path, split: str, name: str | None) -> bytes | None:
    """JPEG bytes of a picture by its content hash, or None where it was not kept."""
    return _FILES.picture(folder, split, name)


def worst_first(records: Sequence[DetectionRecord]) -> list[int]:
    """All rows by their IoU; equal ones in an order drawn by their ids, the same every time."""
    return sorted(range(len(records)), key=lambda row: (records[row].iou, drawn_place(records[row].id, row)))


class ShownRows(NamedTuple):
    """Rows that a report shows, each once.

    Attributes:
        worst: The worst first.
        drawn: At random out of the others.
        best: The best first.
    """

    worst: list[int]
    drawn: list[int]
    best: list[int]

    @property
    def every(self) -> list[int]:
        """All of them: those whose pictures are to be kept."""
        return [*self.worst, *self.drawn, *self.best]


def shown_rows(records: Sequence[DetectionRecord]) -> ShownRows:
    """The 36 worst, 12 drawn at random, the 12 best; of few rows, half are the worst and half the best.

    The best are pictures on which there is something: to find nothing on an empty one is no sight.
    """
    rows = worst_first(records)
    full = [row for row in rows if len(records[row].true_boxes)]
    best = full[max((len(full) + 1) // 2, len(full) - BEST_SHOWN) :]
    rest = [row for row in rows if row not in set(best)]
    worst, between = rest[:WORST_SHOWN], rest[WORST_SHOWN:]
    drawn = sorted(between, key=lambda row: drawn_place(records[row].id, row))[:DRAWN_SHOWN]
    return ShownRows(worst, drawn, best[::-1])


def _plain(record: DetectionRecord) -> dict[str, Any]:
    """As JSON: arrays become lists, pixels are rounded."""
    content = asdict(record)
    for name in _BOXES:
        if content[name] is not None:
            boxes = np.asarray(content[name], dtype=np.float64).reshape(-1, 4)
            content[name] = boxes.round(DECIMALS).tolist()
    if content["scores"] is not None:
        content["scores"] = [round(float(score), 6) for score in content["scores"]]
    return content


def _problem(found: dict[str, Any]) -> str | None:
    """What is wrong with the boxes of a record whose fields have the right types."""
    for name in _BOXES:
        if bad := [box for box in found[name] or () if not _is_box(box)]:
            return f"{name}: expected four numbers a box, got {bad[0]!r}"
    for boxes, others in _COUNTED:
        if found[others] is not None and len(found[boxes] or ()) != len(found[others]):
            return f"{boxes} has {len(found[boxes] or ())}, {others} {len(found[others])}"
    return None


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(number, (int, float)) and math.isfinite(number) for number in box)
    )
