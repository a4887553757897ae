"""What the evaluation of answers leaves behind, so that pages can be made and models compared without them.

evaluation/SPLIT_answers.jsonl        one `AnswerRecord` a line, in the order of the rows
evaluation/SPLIT_pictures/HASH.png    small pictures of the rows that a report shows (`shown_rows`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from types import NoneType
from typing import Final

from edge_glass.evaluation.records import RecordFiles, drawn_place

MOST_SHOWN: Final = 96
RIGHT_SHOWN: Final = 32
"""So many are kept for the best answers, even where there are more wrong ones than fit."""


@dataclass(frozen=True)
class AnswerRecord:
    """One question of an evaluated split, and what was said.

    Attributes:
        id: Of the row.
        picture: Content hash of its picture, by which it is kept; None without one. Questions of one picture
            are drawn together in the bootstrap.
        question: As asked; the last one of a conversation.
        reference: The right answer.
        answer: What the trained model wrote.
        untouched_answer: What it wrote before training, if that was kept.
        answer_type: Kind of answer; empty where unknown.
        source: Where the row comes from.
        ended: Whether the answer ended by itself, and not because it had no tokens left.
        score: Primary metric of the answer, 0 to 1.
        untouched_score: The same of the untouched model's answer.
    """

    id: str
    picture: str | None
    question: str
    reference: str
    answer: str
    untouched_answer: str | None
    answer_type: str
    source: str
    ended: bool
    score: float
    untouched_score: float | None

    @property
    def right(self) -> bool:
        """Return whether the answer counts as right where that has to be said in one word."""
        return self.score >= 0.5


_FILES: Final = RecordFiles(
    "answers",
    "answer",
    ".png",
    {
        "id": (str,),
        "picture": (str, NoneType),
        "question": (str,),
        "reference": (str,),
        "answer": (str,),
        "untouched_answer": (str, NoneType),
        "answer_type": (str,),
        "source": (str,),
        "ended": (bool,),
        "score": (int, float),
        "untouched_score": (int, float, NoneType),
    },
)


def save_answers(
    folder: Path, split: str, records: Sequence[AnswerRecord], pictures: Mapping[str, bytes]
) -> Path:
    """Write the answers of a split into a run folder: pictures first, then the records, each file whole.

    Args:
        folder: The run folder.
        split: Which split was evaluated.
        records: In the order of the rows.
        pictures: Content hash → PNG bytes; those of earlier evaluations of the split are removed.

    Returns:
        The path of the records.

    Raises:
        ValueError: A picture's name is no content hash, or a score is not finite.
    """
    return _FILES.save(folder, split, map(asdict, records), pictures, pictures.__getitem__)


def load_answers(folder: Path, split: str) -> list[AnswerRecord]:
    """Read the records of a split.

    Raises:
        DataError: They are missing or broken.
    """
    return [AnswerRecord(**found) for found in _FILES.load(folder, split)]


def picture_of(folder: Path, split: str, name: str | None) -> bytes | None:
    """Return PNG bytes of a picture by its content hash, or None where it was not kept."""
    return _FILES.picture(folder, split, name)


def shown_rows(records: Sequence[AnswerRecord]) -> list[int]:
    """Return rows that a report shows, at most 96: wrong answers first, then right ones, types in turn.

    Wrong is what scores less than 1: the worst first, and at most 64, so that some of the best are shown even
    where no score is perfect. Answers of one type and score stand in an order that is drawn by their ids, and
    the same every time.
    """
    wrong = [row for row, record in enumerate(records) if record.score < 1.0]
    worst = _in_turn(records, wrong, worst=True)[: MOST_SHOWN - RIGHT_SHOWN]
    chosen = set(worst)
    others = [row for row in range(len(records)) if row not in chosen]
    return worst + _in_turn(records, others, worst=False)[: MOST_SHOWN - len(worst)]


def _in_turn(records: Sequence[AnswerRecord], rows: Sequence[int], worst: bool) -> list[int]:
    """Return one row of every type after the other."""

    def place(row: int) -> tuple[float, str]:
        score = records[row].score
        return (score if worst else -score, drawn_place(records[row].id, row))

    by_type: dict[str, list[int]] = {}
    for row in sorted(rows, key=place):
        by_type.setdefault(records[row].answer_type, []).append(row)
    turns = zip_longest(*(by_type[name] for name in sorted(by_type)))
    return [row for row in chain.from_iterable(turns) if row is not None]
