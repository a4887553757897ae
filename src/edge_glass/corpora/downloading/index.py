"""The list of a data set's rows: parquet or JSON lines, from the user or from the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_glass.core.errors import AssetError, DataError, error_line

_BATCH_ROWS: Final = 512

Row = dict[str, Any]


@dataclass(frozen=True)
class Index:
    """Rows of one or several files, read again each time they are needed: captions do not fit in memory.

    Attributes:
        files: Parquet (.parquet), JSON lines (.jsonl) or a JSON list (.json), in this order.
        limit: Only the first so many rows.
    """

    files: tuple[Path, ...]
    limit: int | None = None

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Return rows with their number, from 0 over all files.

        Raises:
            DataError: A file is missing, damaged or has no rows.
        """
        number = 0
        for file in self.files:
            for row in _read(file):
                if number == self.limit:
                    return
                yield number, row
                number += 1
        if number == 0:
            raise DataError(f"{self.files[0]}: has no rows")

    def columns(self) -> list[str]:
        """Return names of the columns, of the first row."""
        return [str(name) for name in next(self.rows())[1]]


def open_index(paths: Sequence[Path], limit: int | None = None) -> Index:
    """Return an index of files, and of the parquet files in folders."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if not found:
            raise DataError(f"{path}: no parquet files there")
        files += found
    return Index(tuple(files), limit)


def hub_index(repository: str, limit: int | None = None) -> Index:
    """Fetch the index of a data set on the Hugging Face hub.

    Raises:
        AssetError: It cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(repository, repo_type="dataset", allow_patterns="*.parquet")
    except Exception as error:  # the hub's library raises many kinds, of three libraries
        raise AssetError(
            f"the index of {repository} could not be fetched from the hub ({error_line(error)}).\n"
            "Download its parquet files elsewhere and give them with --index FILE."
        ) from error
    return open_index([Path(folder)], limit)


def need_columns(index: Index, needed: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the index's columns; each of `needed` is a choice of which one must be there.

    Raises:
        DataError: None of a choice is there.
    """
    found = index.columns()
    for choice in needed:
        if not any(set(name.split("+")) <= set(found) for name in choice):
            wanted = " or ".join(f"'{name.replace('+', ' and ')}'" for name in choice)
            raise DataError(f"{index.files[0]}: no column {wanted}; it has {', '.join(found)}")
    return found


def _read(file: Path) -> Iterator[Row]:
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    if file.suffix == ".parquet":
        return _read_parquet(file)
    return _read_json_lines(file) if file.suffix == ".jsonl" else _read_json(file)


def _read_parquet(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a readable parquet file ({error_line(error)})") from error


def _read_json_lines(file: Path) -> Iterator[Row]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _object(file, f"line {number}", line)


def _read_json(file: Path) -> Iterator[Row]:
    try:
        rows = json.loads(file.read_bytes().decode("utf-8-sig"))
    except ValueError as error:  # also UnicodeDecodeError
        raise DataError(f"{file}: not JSON ({error_line(error)})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file}: expected a list of objects")
    yield from rows


def _object(file: Path, where: str, data: bytes) -> Row:
    try:
        row = json.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{file}: {where} is not JSON ({error_line(error)})") from error
    if not isinstance(row, dict):
        raise DataError(f"{file}: {where} is no object")
    return row
