"""Pictures and sounds of a parquet file, copied once into a memory-mapped Arrow file in the cache folder.

Parquet can only be read a row group at a time, which makes shuffled reading slow; from the copy any row is
one read, in any process. Each picture or take is decoded and hashed on the way, so that bad ones are known
before training begins.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from edge_glass.assets import cache_root
from edge_glass.core.errors import DataError, error_line
from edge_glass.core.files import atomic_file, file_state
from edge_glass.data.parquet_file import plain_cell
from edge_glass.data.scan import CellScan, scan_cells, scan_picture_cell, scan_sound_cell

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 64  # in memory at a time, several times over


class Spool:
    """A memory-mapped Arrow file of one column; opened anew in every process that receives it.

    `spool[position]` is a list of encoded items; a row without any has an empty one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._column: pa.ChunkedArray | None = None

    def __getitem__(self, position: int) -> list[bytes]:
        if self._column is None:
            self._column = _open(self.path)["items"]
        return self._column[position].as_py()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_column": None}

    def scans(self) -> list[CellScan]:
        """Return what the first look found, by position."""
        table = _open(self.path)
        found = zip(table["digests"].to_pylist(), table["problem"].to_pylist(), strict=True)
        return [CellScan([], digests, problem) for digests, problem in found]


class ArrowPictures:
    """The pictures of a spool: one a row."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    def __getitem__(self, position: int) -> bytes:
        return self.spool[position][0]


def spool_pictures(path: Path, file: pq.ParquetFile, column: str) -> Spool:
    """Copy the pictures of a column. See `_spool`."""
    return _spool(path, file, column, "pictures", scan_picture_cell)


def spool_sounds(path: Path, file: pq.ParquetFile, column: str, max_seconds: float) -> Spool:
    """Copy the sounds of a column of bytes, or of lists of bytes (takes). See `_spool`."""
    scan = partial(scan_sound_cell, max_seconds=max_seconds)
    return _spool(path, file, column, f"sounds {max_seconds:g}", scan)


def _spool(
    path: Path, file: pq.ParquetFile, column: str, kind: str, scan: Callable[[Any], CellScan]
) -> Spool:
    """Return the Arrow file that belongs to this state of the parquet file; make it when it is not there.

    Raises:
        DataError: The parquet file is damaged, or the cache folder is full or not writable.
    """
    identity = f"v3|{path.resolve()}|{file_state(path)}|{column}|{kind}"
    folder = cache_root() / "arrow"
    target = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.arrow"
    if target.exists():
        return Spool(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            for leftover in folder.glob(f".{target.name}.*"):  # of a process that was killed here
                leftover.unlink()
            if not target.exists():
                _write(target, path, file, column, scan)
    except OSError as error:
        existing = next(parent for parent in target.parents if parent.exists())
        raise DataError(
            f"{target}: column '{column}' of {path} could not be copied there ({error_line(error)}; "
            f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free).\n"
            "Set EDGE_GLASS_HOME to a folder on a larger disk."
        ) from error
    return Spool(target)


def _write(
    target: Path, path: Path, file: pq.ParquetFile, column: str, scan: Callable[[Any], CellScan]
) -> None:
    import pyarrow as pa

    items, digests = pa.list_(pa.large_binary()), pa.list_(pa.string())
    schema = pa.schema([("items", items), ("digests", digests), ("problem", pa.string())])
    with (
        atomic_file(target) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for chunk in scan_cells(_cells(path, file, column), file.metadata.num_rows, str(path), scan):
            arrays = [
                pa.array([[] if cell.problem else cell.items for cell in chunk], items),
                pa.array([cell.digests for cell in chunk], digests),
                pa.array([cell.problem for cell in chunk], pa.string()),
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _cells(path: Path, file: pq.ParquetFile, column: str) -> Iterator[Any]:
    import pyarrow as pa

    done = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
            for cell in batch.column(0):
                yield plain_cell(cell)
                done += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged after row {done} ({error_line(error)})") from error


def _open(path: Path) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
