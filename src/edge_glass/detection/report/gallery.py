"""Pictures to look at: what was found on them beside what is there, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_glass.detection.measure.archive import DetectionRecord, picture_of, shown_rows
from edge_glass.detection.report.matching import OUTCOMES, detections_of, outcome
from edge_glass.reporting.answer_history import one_line
from edge_glass.reporting.boxes import ShownBox, shown_boxes
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.wording import format_value

ROOM: Final = (300, 250)  # pixels that a picture takes on the page
MOST_NAMES: Final = 6


@dataclass(frozen=True)
class Shown:
    """One picture of the gallery.

    Attributes:
        identifier: Of the row.
        picture: As JPEG, or None where it was not kept.
        width: How many pixels wide a page shows it.
        high: Height over width.
        boxes: Of the truth, the trained and the untouched model.
        iou: As text.
        untouched: The same of the untouched model; "" where unknown.
        outcome: Key of `OUTCOMES`.
        words: The outcome in words.
        problem: What is wrong with the answer, or "".
        there: What should be found, as text.
        found: What was found, as text.
        text: The answer as it was written, shortened, on one line.
        ended: Whether the answer ended by itself.
    """

    identifier: str
    picture: bytes | None
    width: int
    high: float
    boxes: tuple[ShownBox, ...]
    iou: str
    untouched: str
    outcome: str
    words: str
    problem: str
    there: str
    found: str
    text: str
    ended: bool


@dataclass(frozen=True)
class Gallery:
    """Pictures that are shown.

    Attributes:
        worst: The worst first.
        drawn: Drawn at random.
        best: The best first.
        count: How many pictures were measured.
        names: Whether there is more than one name for a box, so that names say something.
        before: Whether boxes of the untouched model are known.
    """

    worst: list[Shown]
    drawn: list[Shown]
    best: list[Shown]
    count: int
    names: bool
    before: bool


def detection_gallery(run: RunFolder) -> Gallery | None:
    """Return what `shown_rows` chooses; None when no answers were kept."""
    records = detections_of(run)
    if not records:
        return None
    names = len({label for one in records for label in (*one.true_labels, *one.labels)}) > 1
    worst, drawn, best = ([_shown(run, records[row], names) for row in rows] for rows in shown_rows(records))
    before = any(one.untouched_boxes is not None for one in records)
    return Gallery(worst, drawn, best, len(records), names, before)


def _shown(run: RunFolder, record: DetectionRecord, names: bool) -> Shown:
    scale = min(ROOM[0] / max(record.width, 1), ROOM[1] / max(record.height, 1))
    kept = outcome(record)
    return Shown(
        identifier=one_line(record.id),
        picture=picture_of(run.path, run.split, record.picture),
        width=max(40, round(record.width * scale)),
        high=record.height / max(record.width, 1),
        boxes=_boxes(record, names),
        iou=format_value("mean_iou", record.iou),
        untouched="" if record.untouched_iou is None else format_value("mean_iou", record.untouched_iou),
        outcome=kept,
        words=OUTCOMES[kept],
        problem=one_line(record.problem or ""),
        there=_counted(record.true_labels),
        found=_counted(record.labels),
        text=one_line(record.text),
        ended=record.ended,
    )


def _boxes(record: DetectionRecord, names: bool) -> tuple[ShownBox, ...]:
    size = (record.width, record.height)
    before = record.untouched_boxes or []
    return (
        *shown_boxes("truth", record.true_boxes, size, record.true_labels if names else None),
        *shown_boxes("untouched", before, size, record.untouched_labels if names else None),
        *shown_boxes("trained", record.boxes, size, record.labels if names else None, record.scores),
    )


def _counted(labels: Sequence[str]) -> str:
    """Write Write "nutrition-table, 2 × barcode"; "nothing" for none."""
    if not labels:
        return "nothing"
    counts = Counter(labels).most_common()
    shown = [name if count == 1 else f"{count} × {name}" for name, count in counts[:MOST_NAMES]]
    return one_line(", ".join(shown) + (", …" if len(counts) > MOST_NAMES else ""))
