"""The parquet file of a data set, its table of rejected rows and its card."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file, write_whole
from edge_glass.corpora.downloading.fetching import Failed, Picture
from edge_glass.corpora.downloading.index import Index, Row
from edge_glass.corpora.downloading.journal import full_disk
from edge_glass.corpora.downloading.recipes import BadRow, Recipe
from edge_glass.corpora.downloading.stopping import Stop

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS_AT_ONCE: Final = 64
_GROUP_BYTES: Final = 128 * 2**20
_GROUP_ROWS: Final = 256
# zstd finds a picture again that the row before had too: several questions about it cost little.
_COMPRESSION: Final = "zstd"


class Pictures(Protocol):
    """Where finished pictures come from."""

    def read(self, picture: Picture) -> tuple[bytes, str] | Failed:
        """Return bytes and SHA-256, or why there are none."""


@dataclass
class Written:
    """What was written: the file, its records, and what was left out."""

    file: Path
    rejects: Path
    rows: int = 0
    records: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return lines for the terminal."""
        bad = sum(self.reasons.values())
        lines = [f"{self.file}: {self.records} rows from {self.rows - bad} of {self.rows} rows of the index"]
        lines += [f"  {count} x {reason}" for reason, count in self.reasons.most_common(5)]
        return [*lines, f"rejected rows: {self.rejects}"] if bad else lines


class Rejected(NamedTuple):
    """A line of rejects.csv."""

    row: int
    url: str
    reason: str
    attempts: int


class _NothingUsable(Exception):
    """No row of an index gave a record."""


def write_data_set(folder: Path, index: Index, recipe: Recipe, pictures: Pictures, stop: Stop) -> Written:
    """Write train.parquet, rejects.csv and README.md into `folder`; rows in the order of the index.

    Raises:
        DataError: No row can be used (rejects.csv is written), or the disk is full. A train.parquet of an
            earlier call stays as it was.
        DownloadStopped: A signal arrived.
    """
    written = Written(folder / "train.parquet", folder / "rejects.csv")
    columns = index.columns()
    rejected: list[Rejected] = []
    try:
        try:
            with row_groups(written.file, _columns(recipe, columns), _GROUP_ROWS, _COMPRESSION) as groups:
                for outcome in _outcomes(index, recipe, pictures):
                    stop.check("the pictures are kept")
                    written.rows += 1
                    if isinstance(outcome, Rejected):
                        rejected.append(outcome)
                    else:
                        written.records += len(outcome)
                        groups.add(outcome, sum(len(record["image_bytes"]) for record in outcome))
                if written.records == 0:
                    raise _NothingUsable
        finally:
            written.reasons.update(_short(row.reason) for row in rejected)
        write_rejects(written.rejects, rejected)
        write_whole(folder / "README.md", _card(recipe, index, columns, written))
    except _NothingUsable:
        write_rejects(written.rejects, rejected)
        first = f"row {rejected[0].row}: {rejected[0].reason}"
        raise DataError(
            f"{index.files[0]}: none of {written.rows} rows can be used (first: {first}).\n"
            f"All of them: {written.rejects}"
        ) from None
    except OSError as error:
        raise full_disk(error, folder, "The pictures are kept") from error
    return written


def _outcomes(index: Index, recipe: Recipe, pictures: Pictures) -> Iterator[list[dict[str, Any]] | Rejected]:
    """Give each row's records or its rejection, in order; pictures are read in threads."""
    rows = index.rows()
    with ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            yield from pool.map(lambda row: _outcome(row[0], row[1], recipe, pictures), chunk)


def _outcome(number: int, row: Row, recipe: Recipe, pictures: Pictures) -> list[dict[str, Any]] | Rejected:
    url = ""
    try:
        picture = recipe.picture(row)
        url = picture.url
        texts = recipe.texts(row)
    except BadRow as error:
        return Rejected(number, url, str(error), 0)
    found = pictures.read(picture)
    if isinstance(found, Failed):
        return Rejected(number, url, found.reason, found.attempts)
    common = {"image_bytes": found[0], "image_url": url, "sha256": found[1]}
    return [
        {"id": str(number) if position == 0 else f"{number}.{position}", **common, **text}
        for position, text in enumerate(texts)
    ]


class RowGroups:
    """Collects records of a parquet file and writes them in row groups of bounded size; see `row_groups`."""

    def __init__(self, writer: pq.ParquetWriter, most_rows: int) -> None:
        self._writer, self._most_rows = writer, most_rows
        self._records: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, records: list[dict[str, Any]], size: int) -> None:
        """Add records whose pictures or sounds have `size` bytes together."""
        self._records += records
        self._bytes += size
        if len(self._records) >= self._most_rows or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is collected."""
        import pyarrow as pa

        if self._records:
            self._writer.write_table(pa.Table.from_pylist(self._records, schema=self._writer.schema))
        self._records, self._bytes = [], 0


@contextlib.contextmanager
def row_groups(
    file: Path, columns: list[tuple[str, pa.DataType]], most_rows: int, compression: str = "snappy"
) -> Iterator[RowGroups]:
    """Write a parquet file of these columns, row group by row group; after an error there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(columns)
    options: dict[str, Any] = {"compression": compression, "use_dictionary": False}
    with atomic_file(file) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        groups = RowGroups(writer, most_rows)
        yield groups
        groups.flush()


def _columns(recipe: Recipe, columns: list[str]) -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa

    before = [("id", pa.string()), ("image_bytes", pa.binary())]
    return [*before, *recipe.schema(columns), ("image_url", pa.string()), ("sha256", pa.string())]


def write_rejects(file: Path, rejected: list[Rejected]) -> None:
    """Write the table of rejected rows (CSV, UTF-8)."""
    with atomic_file(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(Rejected._fields)
        # Half a surrogate pair can stand in JSON, but not in a file.
        writer.writerows([str(cell).encode("utf-8", "replace").decode() for cell in row] for row in rejected)


def _short(reason: str) -> str:
    """Leave out of a reason what is different in every row, to be counted."""
    reason = re.sub(r"the (host|address) \S+", r"the \1", reason)
    return re.sub(r" \(.*| '.*|\b[0-9a-f]{64}\b.*|, starting with .*", "", reason)


def _card(recipe: Recipe, index: Index, columns: list[str], written: Written) -> str:
    bad = sum(written.reasons.values())
    reasons = "".join(f"| {reason} | {count} |\n" for reason, count in written.reasons.most_common())
    return (
        f"# {recipe.name}\n\n{recipe.note}\n\n"
        f"train.parquet: {written.records} rows from {written.rows - bad} of {written.rows} rows of the "
        f"index ({', '.join(file.name for file in index.files)}; its columns: {', '.join(columns)}).\n\n"
        "`image_bytes` as the server sent them, `sha256` of these bytes, `id` the row of the index.\n"
        + (f"\n| not usable (rejects.csv) | rows |\n|---|---|\n{reasons}" if bad else "")
    )
