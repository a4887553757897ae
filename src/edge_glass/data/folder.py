"""A folder of pictures: its files, the text files that name them, and pairs of the two.

`read_folder` reads Hugging Face's `imagefolder` form.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge_glass.assets import cache_root
from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file, file_state
from edge_glass.data.samples import SampleTable, as_text, sift, text_problem
from edge_glass.data.scan import Scan, scan_pictures

logger = logging.getLogger(__name__)

FILE_NAME = "file_name"


class FilePictures:
    """Pictures as files, by position."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __getitem__(self, position: int) -> bytes:
        return self.files[position].read_bytes()


def read_folder(
    folder: str | Path, metadata_file: str | Path, text_column: str = "caption", id_column: str | None = None
) -> SampleTable:
    """Read the usable rows of a folder.

    Args:
        folder: Where the pictures are.
        metadata_file: JSON (a list of objects), JSONL or CSV with `file_name`, relative to the folder, and
            the caption. Several rows may name one picture.
        text_column: Column with the caption.
        id_column: Column that names a row; `file_name` otherwise.

    Raises:
        DataError: The folder or file is missing, cannot be read, or lacks a column.
    """
    folder, metadata_file = Path(folder), Path(metadata_file)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    records = _read_records(metadata_file)
    for column in (FILE_NAME, text_column, *([id_column] if id_column else [])):
        if records and not any(column in record for record in records):
            raise DataError(
                f"{metadata_file}: no column '{column}'; it has {', '.join(map(str, records[0]))}"
            )
    root = folder.resolve()
    names = [str(record.get(FILE_NAME) or "") for record in records]
    files = [file_below(root, name) for name in names]
    problems = [
        _cells_problem(record) or text_problem(record.get(text_column)) or _file_problem(root, file)
        for record, file in zip(records, files, strict=True)
    ]
    readable = (file for file, problem in zip(files, problems, strict=True) if not problem)
    scans = scan_files(readable, str(folder))
    kept, rejected = sift(
        names, [problem or scans[file].problem for file, problem in zip(files, problems, strict=True)]
    )
    given = [record.get(id_column or FILE_NAME) for record in records]
    return SampleTable(
        source=str(metadata_file),
        ids=[names[row] if given[row] is None else str(given[row]) for row in kept],
        captions=[[as_text(records[row][text_column])] for row in kept],
        picture_hashes=[str(scans[files[row]].digest) for row in kept],
        positions=kept,
        pictures=FilePictures(files),
        rejected=rejected,
    )


def _cells_problem(record: Mapping[Any, Any]) -> str | None:
    """Say why a row of CSV cannot be trusted: cells beyond the header's, which csv puts under None."""
    extra = record.get(None)
    return f"{len(extra)} more cells than the header has; quote texts with commas" if extra else None


def _file_problem(root: Path, file: Path) -> str | None:
    return f"{FILE_NAME} is missing or no file name" if file == root else file_problem(root, file)


def _read_records(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() != ".csv":
        return read_json_records(path, "picture")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def file_below(root: Path, name: str) -> Path:
    """Return where a file name leads; the folder itself, which is no picture, when it cannot be a file name.

    Args:
        root: Resolved folder.
        name: As a data set gives it, relative to the folder.
    """
    try:
        file = (root / name).resolve()
        file.is_file()  # raises when the name is too long
    except (OSError, ValueError, RuntimeError):  # ValueError: a null byte; RuntimeError: links in a circle
        return root
    return file


def file_problem(root: Path, file: Path) -> str | None:
    """Say why a picture file cannot be read; None when it can. The row's name is said elsewhere."""
    if not file.is_relative_to(root):
        return f"the file lies outside {root}"
    if file == root:
        return "the picture's name is no file name"
    if not file.is_file():
        return f"the file does not exist in {root}"
    return None if os.access(file, os.R_OK) else "the file may not be read"


def scan_files(files: Iterable[Path], what: str) -> dict[Path, Scan]:
    """Scan each file once; the result is kept until a file changes."""
    ordered = sorted(set(files))
    status = [(str(file), file_state(file)) for file in ordered]
    stored = cache_root() / "scans" / f"{hashlib.sha256(json.dumps(status).encode()).hexdigest()[:32]}.json"
    if stored.exists():
        return {file: Scan(*scan) for file, scan in zip(ordered, json.loads(stored.read_text()), strict=True)}
    chunks = scan_pictures((file.read_bytes() for file in ordered), len(ordered), what)
    scans = [scan for chunk in chunks for _, scan in chunk]
    try:
        with atomic_file(stored) as temporary:
            temporary.write_text(json.dumps(scans), encoding="utf-8")
    except OSError as error:
        logger.warning("%s: cannot be written (%s); pictures are scanned again next time", stored, error)
    return dict(zip(ordered, scans, strict=True))


def read_json_records(path: Path, each: str = "conversation") -> list[dict[str, Any]]:
    """Read the objects of a JSON list, or of a JSONL file.

    Args:
        path: The file.
        each: What one object is about, for the message.

    Raises:
        DataError: The file is missing, no UTF-8, no JSON, or no list of objects.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix.lower() == ".jsonl":  # split at \n alone: texts may hold other line separators
            lines = enumerate(text.split("\n"), start=1)
            records = [_line(path, number, line) for number, line in lines if line.strip()]
        else:
            records = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        hint = "; a file with one object a line is named .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}: cannot be read as JSON ({error}){hint}") from error
    except RecursionError as error:
        raise DataError(f"{path}: cannot be read as JSON (nested too deeply)") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: expected a list of objects, one per {each}")
    return records


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is no JSON ({error})") from error
