"""Pairs from a folder of pictures with a metadata file (Hugging Face `imagefolder` form)."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from edge_glass.core.errors import DataError
from edge_glass.data.picture_files import file_below, file_problem, read_json_records, scan_files
from edge_glass.data.samples import Rejected, SampleTable, as_text, text_problem

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
    """The usable rows of a folder.

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
        text_problem(record.get(text_column)) or _file_problem(root, file)
        for record, file in zip(records, files, strict=True)
    ]
    readable = (file for file, problem in zip(files, problems, strict=True) if not problem)
    scans = scan_files(readable, str(folder))
    kept, rejected = [], []
    for row, (file, name) in enumerate(zip(files, names, strict=True)):
        problem = problems[row] or scans[file].problem
        if problem:
            rejected.append(Rejected(row, name, problem))
        else:
            kept.append(row)
    given = [record.get(id_column or FILE_NAME) for record in records]
    return SampleTable(
        source=str(metadata_file),
        ids=[names[row] if given[row] is None else str(given[row]) for row in kept],
        captions=[[as_text(records[row][text_column])] for row in kept],
        picture_hashes=[str(scans[files[row]].digest) for row in kept],
        positions=kept,
        pictures=FilePictures(files),
        rejected=tuple(rejected),
    )


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
