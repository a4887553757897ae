"""From what a source says about its pictures to the rows that can be used: one way for every format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.samples import PictureBytes, Rejected
from edge_glass.detection.boxes.spec import BoxSpec, box_problem, clip_boxes
from edge_glass.detection.data.picture_sizes import PictureSize
from edge_glass.detection.data.table import DetectionTable, SkippedBox

logger = logging.getLogger(__name__)

BAD_BOXES: Final = ("skip_row", "skip_box", "error")
MAX_ASPECT: Final = 200
"""Longer side over shorter side; the `smart_resize` of Qwen's models in transformers raises beyond it."""


@dataclass(frozen=True)
class Mark:
    """One box as a source has it, unchecked.

    Attributes:
        numbers: As written, in the source's `BoxSpec`.
        label: Name of its category; None where that is unknown.
        fault: Why it cannot be read, or its category is none of the source's; None when it can.
    """

    numbers: Any
    label: str | None
    fault: str | None = None


@dataclass(frozen=True)
class Annotated:
    """One picture as a source describes it, unchecked.

    Attributes:
        identifier: Names the row in messages.
        marks: Its boxes.
        size: (width, height) as the source says; None where it does not.
        group: What the row must not be parted from, such as its barcode.
        problem: Why the row cannot be used, whatever its picture and boxes are.
    """

    identifier: str
    marks: Sequence[Mark] = ()
    size: tuple[Any, Any] | None = None
    group: str | None = None
    problem: str | None = None


class Shown(NamedTuple):
    """The pictures behind the rows, by position: how to read them, and what the first look found.

    Attributes:
        pictures: Encoded pictures.
        hashes: Content hash of each usable one.
        problems: Why the others cannot be used.
        sizes: Of each usable one.
    """

    pictures: PictureBytes
    hashes: Mapping[int, str]
    problems: Mapping[int, str]
    sizes: Mapping[int, PictureSize]


@dataclass
class _Checked:
    """What is usable of the marks of one row, in pixels, and what is wrong with the others."""

    boxes: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    twice: int = 0


def build_table(
    source: str,
    rows: Sequence[Annotated],
    shown: Shown,
    spec: BoxSpec,
    bad_boxes: str = "skip_row",
    categories: Sequence[str] | None = None,
    known: Sequence[str] = (),
) -> DetectionTable:
    """The usable rows of a source; every other one is among `rejected`, with the reason.

    Args:
        source: File or folder, as named in messages.
        rows: All rows; the position of a row is that of its picture.
        shown: Their pictures.
        spec: How the boxes are written.
        bad_boxes: What becomes of boxes that cannot be right or are of another category: `skip_row` rejects
            their row, `skip_box` uses it without them (a row whose boxes are all wrong is rejected), `error`
            raises.
        categories: What is looked for; None for all of `known`.
        known: The source's own list of categories, in its order.

    Raises:
        ConfigError: `bad_boxes` is none of the three.
        DataError: There is a bad box and `bad_boxes` is `error`.
    """
    if bad_boxes not in BAD_BOXES:
        raise ConfigError(f"bad_boxes: expected one of {', '.join(BAD_BOXES)}, got {bad_boxes!r}")
    looked_for = tuple(dict.fromkeys(known if categories is None else categories))
    checked, rejected = _check_rows(rows, shown, spec, bad_boxes, looked_for)
    skipped = [
        SkippedBox(row, rows[row].identifier, reason, wrong)
        for row, found in checked.items()
        for reasons, wrong in ((found.faults, True), (found.unwanted, False))
        for reason in reasons
    ]
    if bad_boxes == "error" and skipped:
        raise DataError(
            f"{source}: {len(skipped)} boxes cannot be used (first: {skipped[0]}: {skipped[0].reason}).\n"
            "Mend them, or set dataset.bad_boxes to skip_row or skip_box."
        )
    if twice := sum(found.twice for found in checked.values()):
        logger.warning("%s: %d boxes are written more than once in their row and count once", source, twice)
    kept = list(checked)
    _note_turned(source, [shown.sizes[row] for row in kept])
    groups = [rows[row].group for row in kept]
    return DetectionTable(
        source=source,
        ids=[rows[row].identifier for row in kept],
        captions=[[] for _ in kept],
        picture_hashes=[shown.hashes[row] for row in kept],
        positions=kept,
        pictures=shown.pictures,
        rejected=tuple(rejected),
        groups=groups if any(group is not None for group in groups) else (),
        text_column="",
        boxes=[np.array(checked[row].boxes, dtype=np.float64).reshape(-1, 4) for row in kept],
        labels=[tuple(checked[row].labels) for row in kept],
        sizes=[shown.sizes[row][:2] for row in kept],
        categories=looked_for,
        skipped_boxes=tuple(skipped),
        relative=spec.relative,
    )


def _check_rows(
    rows: Sequence[Annotated], shown: Shown, spec: BoxSpec, bad_boxes: str, looked_for: Sequence[str]
) -> tuple[dict[int, _Checked], list[Rejected]]:
    """What is usable of each row that can be used, by position; and the other rows."""
    checked: dict[int, _Checked] = {}
    rejected = []
    for row, annotated in enumerate(rows):
        problem = annotated.problem or shown.problems.get(row)
        problem = problem or size_problem(annotated.size, shown.sizes[row])
        if problem is None:
            found = _check_marks(annotated.marks, spec, shown.sizes[row], looked_for)
            problem = _row_problem(found, bad_boxes)
        if problem is None:
            checked[row] = found
        else:
            rejected.append(Rejected(row, annotated.identifier, problem))
    return checked, rejected


def size_problem(annotated: tuple[Any, Any] | None, size: PictureSize) -> str | None:
    """Why a picture cannot be used, from its size alone; None when it can.

    Args:
        annotated: (width, height) as its annotation says, if it does.
        size: Of the upright picture.
    """
    width, height, turned = size
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"the picture is {width}x{height}; a side may be at most {MAX_ASPECT} times the other"
    if annotated is None or annotated == (width, height):
        return None
    said = "x".join("?" if side is None else str(side) for side in annotated)
    if turned and annotated == (height, width):
        return (
            f"the annotation says {said}, which is the picture before its EXIF rotation; upright it is "
            f"{width}x{height}, so its boxes may lie elsewhere"
        )
    return f"the annotation says {said}, but the picture is {width}x{height}"


def _check_marks(
    marks: Sequence[Mark], spec: BoxSpec, size: PictureSize, looked_for: Sequence[str]
) -> _Checked:
    """Boxes in pixels, clipped to their picture; what is wrong with the others."""
    width, height, _ = size
    found = _Checked()
    wanted, seen = set(looked_for), set[tuple[Any, ...]]()
    for mark in marks:
        if mark.fault is not None:
            found.faults.append(mark.fault)
            continue
        try:
            box = spec.to_pixels([mark.numbers], width, height)
        except (ValueError, TypeError):
            found.faults.append(f"the box {str(mark.numbers)[:60]} is not four numbers")
            continue
        problem = box_problem(box[0], width, height) if len(box) else "the box has no numbers"
        if problem is None and "<|" in (mark.label or ""):
            problem = f"the category {mark.label!r} holds '<|', which models read as the start of a marker"
        if problem is not None:
            found.faults.append(problem)
        elif mark.label not in wanted:
            found.unwanted.append(_unwanted(mark.label, looked_for))
        elif (mark.label, *box[0]) in seen:
            found.twice += 1
        else:
            seen.add((mark.label, *box[0]))
            found.boxes.append(clip_boxes(box, width, height)[0])
            found.labels.append(str(mark.label))
    return found


def _unwanted(label: str | None, looked_for: Sequence[str]) -> str:
    names = ", ".join(looked_for[:5]) + (", …" if len(looked_for) > 5 else "")
    return f"the category {label!r} is none of those that are looked for ({names})"


def _row_problem(found: _Checked, bad_boxes: str) -> str | None:
    """Why a row cannot be used with these boxes; None when it can."""
    wrong = [*found.faults, *found.unwanted]
    if bad_boxes == "skip_row" and wrong:
        return wrong[0] + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
    if bad_boxes == "skip_box" and found.faults and not found.boxes:
        return f"none of its boxes can be used: {found.faults[0]}"
    return None


def _note_turned(source: str, sizes: Sequence[PictureSize]) -> None:
    """Say so where EXIF data turned pictures: their boxes must be those of the upright ones."""
    if turned := Counter(size.turned for size in sizes)[True]:
        logger.info(
            "%s: %d of %d pictures lie on their side in the file and are turned upright (EXIF); their boxes "
            "are taken to be of the upright picture",
            source,
            turned,
            len(sizes),
        )
