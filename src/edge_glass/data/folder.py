"""Pairs from a folder of pictures with a metadata file (Hugging Face `imagefolder` form)."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

from edge_glass.assets import cache_root
from edge_glass.data.pairs import PairTable, Rejected, as_text, text_problem
from edge_glass.data.scan import Scan, scan_pictures
from edge_glass.data.writing import replacing
from edge_glass.errors import DataError

FILE_NAME = "file_name"


class FilePictures:
    """Pictures as files, by position."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __getitem__(self, position: int) -> bytes:
        return self.files[position].read_bytes()


def read_folder(
    folder: str | Path, metadata_file: str | Path, text_column: str = "caption", id_column: str | None = None
) -> PairTable:
    """The usable rows of a folder.

    Args:
        folder: Where the pictures are.
        metadata_file: JSON (a list of objects), JSONL or CSV with `file_name`, relative to the folder, and
            the caption. Several rows may name one picture.
        text_column: Column with the caption.
        id_column: Column that names a row; `file_name` otherwise.

    Raises:
        DataError: The file is missing, cannot be read, or lacks a column.
    """
    folder, metadata_file = Path(folder), Path(metadata_file)
    records = _read_records(metadata_file)
    for column in (FILE_NAME, text_column, *([id_column] if id_column else [])):
        if records and not any(column in record for record in records):
            raise DataError(f"{metadata_file}: no column '{column}'; it has {', '.join(records[0])}.")
    root = folder.resolve()
    names = [str(record.get(FILE_NAME) or "") for record in records]
    files = [(root / name).resolve() for name in names]
    problems = [
        text_problem(record.get(text_column)) or _file_problem(root, file, name)
        for record, file, name in zip(records, files, names, strict=True)
    ]
    scans = _scan_files(
        {file for file, problem in zip(files, problems, strict=True) if not problem}, str(folder)
    )
    kept, rejected = [], []
    for row, (file, name) in enumerate(zip(files, names, strict=True)):
        problem = problems[row] or scans[file].problem
        if problem:
            rejected.append(Rejected(row, name, problem))
        else:
            kept.append(row)
    return PairTable(
        source=str(metadata_file),
        ids=[str(records[row].get(id_column or FILE_NAME)) for row in kept],
        captions=[[as_text(records[row][text_column])] for row in kept],
        picture_hashes=[str(scans[files[row]].digest) for row in kept],
        positions=kept,
        pictures=FilePictures(files),
        rejected=tuple(rejected),
    )


def _scan_files(files: set[Path], what: str) -> dict[Path, Scan]:
    """Scan each file once; the result is kept until a file changes."""
    ordered = sorted(files)
    status = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in ordered]
    stored = cache_root() / "scans" / f"{hashlib.sha256(json.dumps(status).encode()).hexdigest()[:32]}.json"
    if stored.exists():
        return {file: Scan(*scan) for file, scan in zip(ordered, json.loads(stored.read_text()), strict=True)}
    chunks = scan_pictures((file.read_bytes() for file in ordered), len(ordered), what)
    scans = [scan for chunk in chunks for _, scan in chunk]
    with replacing(stored) as temporary:
        temporary.write_text(json.dumps(scans), encoding="utf-8")
    return dict(zip(ordered, scans, strict=True))


def _file_problem(root: Path, file: Path, name: str) -> str | None:
    if not name:
        return f"{FILE_NAME} is missing"
    if not file.is_relative_to(root):
        return f"{name} lies outside {root}"
    if not file.is_file():
        return f"{name} does not exist"
    return None if file.stat().st_size else f"{name} is empty"


def _read_records(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            return list(csv.DictReader(text.splitlines()))
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            records = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    except (json.JSONDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: expected a list of objects, one per picture.")
    return records
