"""What the evaluation of answers leaves behind, so that pages can be made and models compared without them.

evaluation/SPLIT_answers.jsonl        one `AnswerRecord` a line, in the order of the rows
evaluation/SPLIT_pictures/HASH.png    small pictures of the rows that a report shows (`shown_rows`)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, zip_longest
from pathlib import Path
from types import NoneType
from typing import Any, Final

from edge_glass.errors import DataError

MOST_SHOWN: Final = 96
RIGHT_SHOWN: Final = 32
"""So many are kept for the best answers, even where there are more wrong ones than fit."""
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


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
        """Whether the answer counts as right where that has to be said in one word."""
        return self.score >= 0.5


_KINDS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("id", "question", "reference", "answer", "answer_type", "source"), (str,)),
    **dict.fromkeys(("picture", "untouched_answer"), (str, NoneType)),
    "ended": (bool,),
    "score": (int, float),
    "untouched_score": (int, float, NoneType),
}


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
    where = _pictures(folder, split)
    path = _records(folder, split)
    for name in pictures:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no content hash")
    lines = [json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) for record in records]
    where.mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        _write(where / f"{name}.png", data)
    # Half of a surrogate pair, as JSON files of users may hold, is no UTF-8.
    _write(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    for old in where.glob("*.png"):
        if old.stem not in pictures:
            old.unlink()
    return path


def load_answers(folder: Path, split: str) -> list[AnswerRecord]:
    """Read the records of a split.

    Raises:
        DataError: They are missing or broken.
    """
    path = _records(folder, split)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; was the run evaluated?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    # Not splitlines: answers may hold line separators of Unicode, which JSON does not escape.
    return [_record(path, number, line) for number, line in enumerate(text.split("\n"), start=1) if line]


def picture_of(folder: Path, split: str, name: str | None) -> bytes | None:
    """PNG bytes of a picture by its content hash, or None where it was not kept."""
    if name is None or not _NAME.fullmatch(name):
        return None
    try:
        return (_pictures(folder, split) / f"{name}.png").read_bytes()
    except OSError:
        return None


def shown_rows(records: Sequence[AnswerRecord]) -> list[int]:
    """Rows that a report shows, at most 96: wrong answers first, then right ones, the types taking turns.

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
    """One row of every type after the other."""

    def place(row: int) -> tuple[float, str]:
        score = records[row].score
        digest = hashlib.sha256(f"{records[row].id} {row}".encode("utf-8", "replace")).hexdigest()
        return (score if worst else -score, digest)

    by_type: dict[str, list[int]] = {}
    for row in sorted(rows, key=place):
        by_type.setdefault(records[row].answer_type, []).append(row)
    turns = zip_longest(*(by_type[name] for name in sorted(by_type)))
    return [row for row in chain.from_iterable(turns) if row is not None]


def _record(path: Path, number: int, line: str) -> AnswerRecord:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: not JSON: {error}") from None
    if problem := _problem(found):
        raise DataError(f"{path}:{number}: no answer: {problem}")
    return AnswerRecord(**found)


def _problem(found: Any) -> str | None:
    if not isinstance(found, dict):
        return f"a {type(found).__name__}; an object would be right"
    names = [one.name for one in fields(AnswerRecord)]
    if odd := [name for name in (*names, *found) if (name in names) != (name in found)]:
        return f"{odd[0]} is {'missing' if odd[0] in names else 'unknown'}"
    wrong = [name for name in names if not isinstance(found[name], _KINDS[name])]
    return f"{wrong[0]} is {found[wrong[0]]!r}" if wrong else None


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_bytes(data)
    temporary.replace(path)


def _records(folder: Path, split: str) -> Path:
    return Path(folder) / "evaluation" / f"{split}_answers.jsonl"


def _pictures(folder: Path, split: str) -> Path:
    return Path(folder) / "evaluation" / f"{split}_pictures"
