"""Conversations from files: parquet with a question and an answer a row, and JSON in the common forms."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_glass.core.errors import DataError
from edge_glass.data.conversations import (
    ANSWER_MARKER,
    QUESTION_MARKER,
    BadConversation,
    Spoken,
    picture_names,
    question_and_answer,
    read_messages,
)
from edge_glass.data.folder import FilePictures, file_below, file_problem, read_json_records, scan_files
from edge_glass.data.parquet import MAX_AUDIO_SECONDS
from edge_glass.data.parquet_file import ANYTHING, PICTURES, SOUNDS, TEXT, open_parquet, read_cells
from edge_glass.data.samples import Rejected
from edge_glass.data.scan import EMPTY_CELL, CellScan
from edge_glass.data.spool import ArrowPictures, spool_pictures, spool_sounds
from edge_glass.instruction.data.table import InstructionTable

if TYPE_CHECKING:
    import pyarrow.parquet as pq

logger = logging.getLogger(__name__)

CONVERSATION_KEYS: Final = ("conversations", "messages", "conversation")


def read_question_parquet(
    path: str | Path,
    image_column: str | None = "image_bytes",
    question_column: str = "question",
    answer_column: str = "answer",
    source_column: str | None = None,
    answer_type_column: str | None = None,
    id_column: str | None = None,
    audio_column: str | None = None,
    max_audio_seconds: float = MAX_AUDIO_SECONDS,
) -> InstructionTable:
    """Read the usable rows of a parquet file with a question and an answer a row (PixMo QA, easy-VQA).

    The markers `[USER]` and `[ASSISTANT]` are taken off; where they are missing a line in the log says so.
    Every row needs a picture, or with `audio_column` a picture or a sound; without either column, none.

    Args:
        path: The file.
        image_column: Column of picture bytes, or of structs `{bytes, path}`; None to read none.
        question_column: Column with the question.
        answer_column: Column with the answer.
        source_column: Column that says where a row comes from; by default `source` if there is one, else the
            file's name is the source of all.
        answer_type_column: Column with the kind of answer; by default `answer_type` if there is one.
        id_column: Column that names a row; the row number otherwise.
        audio_column: Column of sound bytes, or lists of them.
        max_audio_seconds: Longer sounds are bad ones.

    Raises:
        DataError: The file is missing, no parquet, damaged or empty, or lacks a column.
    """
    path = Path(path)
    columns = [(question_column, TEXT), (answer_column, TEXT)]
    columns += [(name, ANYTHING) for name in (source_column, answer_type_column, id_column) if name]
    contents = [(image_column, PICTURES)] if image_column else []
    contents += [(audio_column, SOUNDS)] if audio_column else []
    hint = ".\nName the right ones with dataset.image_column, dataset.question_column, dataset.answer_column."
    with open_parquet(path, [*contents, *columns], hint) as file:
        source_column = source_column or _present(file, "source")
        answer_type_column = answer_type_column or _present(file, "answer_type")
        wanted = (question_column, answer_column, source_column, answer_type_column, id_column)
        cells = read_cells(path, file, [name for name in wanted if name])
        pictures = spool_pictures(path, file, image_column) if image_column else None
        sounds = spool_sounds(path, file, audio_column, max_audio_seconds) if audio_column else None
    count = len(cells[question_column])
    seen = pictures.scans() if pictures is not None else [EMPTY_CELL] * count
    heard = sounds.scans() if sounds is not None else [EMPTY_CELL] * count
    ids = _named(cells.get(id_column or ""), [str(row) for row in range(count)])
    something = bool(image_column or audio_column)
    kept, rejected, turns, unmarked = [], [], [], 0
    for row in range(count):
        try:
            spoken = question_and_answer(cells[question_column][row], cells[answer_column][row])
            _check_contents(seen[row], heard[row], something, sounds is not None)
        except BadConversation as bad:
            rejected.append(Rejected(row, ids[row], bad.reason))
            continue
        kept.append(row)
        turns.append(spoken.turns)
        unmarked += spoken.unmarked
    _note_unmarked(path, unmarked, len(kept))
    sources = _named(cells.get(source_column or ""), [path.stem] * count)
    answer_types = _named(cells.get(answer_type_column or ""), [""] * count)
    return InstructionTable(
        source=str(path),
        ids=[ids[row] for row in kept],
        captions=[[] for _ in kept],
        picture_hashes=[next(iter(seen[row].digests), None) for row in kept],
        positions=kept,
        pictures=ArrowPictures(pictures) if pictures is not None else [],
        rejected=tuple(rejected),
        sound_hashes=[heard[row].digests for row in kept] if sounds is not None else (),
        sounds=sounds,
        text_column=question_column,
        turns=turns,
        sources=[sources[row] for row in kept],
        answer_types=[answer_types[row] for row in kept],
    )


def read_conversations(
    path: str | Path, image_root: str | Path | None = None, needs_picture: bool = False
) -> InstructionTable:
    """Read the usable rows of a JSON list or JSONL file of conversations.

    A record has its turns under `conversations` (LLaVA and ShareGPT) or `messages`, and may name one picture:
    under `image` (or `images`, `image_path`, `file_name`), or within its messages. `id`, `source` and
    `answer_type` are read where they are given. System turns stay.

    Args:
        path: The file.
        image_root: Folder that picture names are relative to; by default the file's own.
        needs_picture: Whether a record without a picture is a bad row.

    Raises:
        DataError: The file or folder is missing, or the file cannot be read or holds no conversations.
    """
    path = Path(path)
    root = Path(image_root) if image_root is not None else path.parent
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    root = root.resolve()
    records = read_json_records(path)
    if records and not any(key in record for record in records for key in CONVERSATION_KEYS):
        found = ", ".join(map(str, records[0])) or "nothing"
        raise DataError(f"{path}: no 'conversations' and no 'messages'; the first record has {found}")
    spoken: dict[int, Spoken] = {}
    files: dict[int, Path | None] = {}
    problems: dict[int, str] = {}
    for row, record in enumerate(records):
        try:
            spoken[row] = read_messages(next((record[k] for k in CONVERSATION_KEYS if k in record), None))
            files[row] = _picture_file(root, record, spoken[row], needs_picture)
        except BadConversation as bad:
            problems[row] = bad.reason
    scans = scan_files({file for file in files.values() if file is not None}, str(path))
    for row, file in files.items():
        if file is not None and (problem := scans[file].problem):
            problems[row] = f"the picture {file.name}: {problem}"
    kept = [row for row in range(len(records)) if row not in problems]
    ids = _named([record.get("id") for record in records], [str(row) for row in range(len(records))])
    shown = [files.get(row) for row in range(len(records))]
    return InstructionTable(
        source=str(path),
        ids=[ids[row] for row in kept],
        captions=[[] for _ in kept],
        picture_hashes=[_digest(scans, shown[row]) for row in kept],
        positions=kept,
        pictures=FilePictures([file or root for file in shown]),
        rejected=tuple(Rejected(row, ids[row], problems[row]) for row in sorted(problems)),
        turns=[spoken[row].turns for row in kept],
        sources=_named([records[row].get("source") for row in kept], [path.stem] * len(kept)),
        answer_types=_named([records[row].get("answer_type") for row in kept], [""] * len(kept)),
    )


def _picture_file(root: Path, record: dict[str, Any], spoken: Spoken, needed: bool) -> Path | None:
    """Return the file of a record's picture; None when it has none and needs none."""
    names = list(dict.fromkeys([*picture_names(record), *spoken.pictures]))
    if len(names) > 1 or spoken.placeholders > 1:
        raise BadConversation(f"it has {max(len(names), spoken.placeholders)} pictures; one is supported")
    if not names:
        if spoken.placeholders or needed:
            raise BadConversation("it has no picture" + " for its <image>" * bool(spoken.placeholders))
        return None
    file = file_below(root, names[0])
    if problem := file_problem(root, file):
        raise BadConversation(f"{problem}: {names[0][:100]!r}")
    return file


def _digest(scans: dict[Path, Any], file: Path | None) -> str | None:
    return None if file is None else str(scans[file].digest)


def _check_contents(seen: CellScan, heard: CellScan, needed: bool, with_sounds: bool) -> None:
    if problem := seen.problem or heard.problem:
        raise BadConversation(problem)
    if needed and not seen.digests and not heard.digests:
        raise BadConversation("it has neither picture nor sound" if with_sounds else "it has no picture")


def _note_unmarked(path: Path, unmarked: int, total: int) -> None:
    """Say so when some rows have the markers and others lack them; a file without any is no surprise."""
    if 0 < unmarked < total:
        logger.warning(
            "%s: %d of %d rows lack %s or %s; their texts are taken as they are",
            path,
            unmarked,
            total,
            QUESTION_MARKER,
            ANSWER_MARKER,
        )


def _present(file: pq.ParquetFile, column: str) -> str | None:
    return column if column in file.schema_arrow.names else None


def _named(given: Sequence[Any] | None, otherwise: list[str]) -> list[str]:
    """Return cells as text, with something else where they are empty."""
    if given is None:
        return otherwise
    return [spare if cell is None else str(cell) for cell, spare in zip(given, otherwise, strict=True)]
