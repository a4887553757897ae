"""Pairs from a parquet file with picture bytes, read lazily.

Parquet can only be read a row group at a time, which makes shuffled reading slow. So the pictures are copied
once into an uncompressed Arrow file in the cache folder and memory-mapped from there; any row is then one
read, in any process. Each picture is decoded and hashed on the way (`scan_pictures`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from edge_glass.assets import cache_root
from edge_glass.data.pairs import PairTable, Rejected, as_text, text_problem
from edge_glass.data.parquet_file import ANYTHING, PICTURES, TEXT, TEXT_LISTS, one_line, open_parquet
from edge_glass.data.pictures import picture_bytes
from edge_glass.data.scan import scan_pictures
from edge_glass.data.writing import replacing
from edge_glass.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 64  # in memory at a time, several times over


class ArrowPictures:
    """Pictures in a memory-mapped Arrow file; opened anew in every process that receives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._column: pa.ChunkedArray | None = None

    def __getitem__(self, position: int) -> bytes:
        if self._column is None:
            self._column = _open_arrow(self.path)["picture"]
        return self._column[position].as_py()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_column": None}


def read_parquet(
    path: str | Path,
    image_column: str = "image_bytes",
    text_column: str = "caption",
    extra_captions_column: str | None = None,
    id_column: str | None = None,
) -> PairTable:
    """The usable rows of a parquet file.

    Args:
        path: The file.
        image_column: Column of picture bytes, or of Hugging Face's struct `{bytes, path}`.
        text_column: Column with the caption.
        extra_captions_column: Column with lists of further captions.
        id_column: Column that names a row; the row number otherwise.

    Raises:
        DataError: The file is missing, no parquet, damaged or empty, or lacks a column.
    """
    path = Path(path)
    columns = [(text_column, TEXT)]
    columns += [(extra_captions_column, TEXT_LISTS)] if extra_captions_column else []
    columns += [(id_column, ANYTHING)] if id_column else []
    hint = ".\nName the right ones with dataset.image_column and dataset.text_column."
    with open_parquet(path, [(image_column, PICTURES), *columns], hint) as file:
        texts = _read_texts(path, file, [name for name, _ in columns])
        spooled = _spool(path, file, image_column)
    scanned = _open_arrow(spooled)
    hashes, picture_problems = scanned["digest"].to_pylist(), scanned["problem"].to_pylist()
    captions = texts[text_column]
    extras = texts[extra_captions_column] if extra_captions_column else [None] * len(captions)
    names = texts[id_column] if id_column else [None] * len(captions)
    ids = [str(row if name is None else name) for row, name in enumerate(names)]
    kept, rejected = [], []
    for row, (caption, picture_problem) in enumerate(zip(captions, picture_problems, strict=True)):
        problem = text_problem(caption) or picture_problem
        if problem:
            rejected.append(Rejected(row, ids[row], problem))
        else:
            kept.append(row)
    return PairTable(
        source=str(path),
        ids=[ids[row] for row in kept],
        captions=[_all_captions(captions[row], extras[row]) for row in kept],
        picture_hashes=[hashes[row] for row in kept],
        positions=kept,
        pictures=ArrowPictures(spooled),
        rejected=tuple(rejected),
    )


def _read_texts(path: Path, file: pq.ParquetFile, columns: list[str]) -> dict[str, list[Any]]:
    """Cells of the small columns, by column."""
    import pyarrow as pa

    try:
        table = file.read(columns=list(dict.fromkeys(columns)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged ({one_line(error)})") from error
    return {name: [_plain(value) for value in table[name]] for name in table.column_names}


def _all_captions(caption: Any, extras: Sequence[Any] | None) -> list[str]:
    further = [as_text(extra) for extra in extras or () if text_problem(extra) is None]
    return list(dict.fromkeys([as_text(caption), *further]))


def _plain(value: pa.Scalar) -> Any:
    """A cell as Python value; text that is not UTF-8 comes back as bytes, to be named and skipped."""
    import pyarrow as pa

    try:
        return value.as_py()
    except UnicodeDecodeError:
        if isinstance(value, pa.StructScalar):
            return {name: _plain(item) for name, item in value.items()}
        if isinstance(value, pa.ListScalar):
            return [_plain(item) for item in value.values]
        return value.as_buffer().to_pybytes()


def _spool(path: Path, file: pq.ParquetFile, image_column: str) -> Path:
    """The Arrow file that belongs to this state of the parquet file; made when it is not there."""
    status = path.stat()
    identity = f"v1|{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{image_column}"
    folder = cache_root() / "arrow"
    target = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.arrow"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            for leftover in folder.glob(f".{target.name}.*"):  # of a process that was killed here
                leftover.unlink()
            if not target.exists():
                _write_arrow(target, path, file, image_column)
    except OSError as error:
        existing = next(parent for parent in target.parents if parent.exists())
        raise DataError(
            f"{target}: pictures of {path} could not be copied there ({one_line(error)}; "
            f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free).\n"
            "Set EDGE_GLASS_HOME to a folder on a larger disk."
        ) from error
    return target


def _write_arrow(target: Path, path: Path, file: pq.ParquetFile, image_column: str) -> None:
    import pyarrow as pa

    schema = pa.schema([("picture", pa.large_binary()), ("digest", pa.string()), ("problem", pa.string())])
    with (
        replacing(target) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for chunk in scan_pictures(_cells(path, file, image_column), file.metadata.num_rows, str(path)):
            usable = [None if scan.problem else picture_bytes(cell) for cell, scan in chunk]
            arrays = [
                pa.array(usable, pa.large_binary()),
                pa.array([scan.digest for _, scan in chunk], pa.string()),
                pa.array([scan.problem for _, scan in chunk], pa.string()),
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _cells(path: Path, file: pq.ParquetFile, image_column: str) -> Iterator[Any]:
    import pyarrow as pa

    done = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[image_column]):
            for cell in batch.column(0):
                yield _plain(cell)
                done += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged after row {done} ({one_line(error)})") from error


def _open_arrow(path: Path) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
