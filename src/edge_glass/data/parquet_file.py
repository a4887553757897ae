"""Opening parquet files of pictures and captions: what the data check and training have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_glass.core.errors import DataError, error_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_READ_BUFFER: Final = 1 << 20


@dataclass(frozen=True)
class ColumnKind:
    """What a column has to hold, in words and as a test of its type."""

    expected: str
    fits: Callable[[pa.DataType], bool]


def _holds_pictures(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return "bytes" in kind.names and _holds_pictures(kind.field("bytes").type)
    kind = kind.value_type if types.is_dictionary(kind) else kind
    checks = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(check(kind) for check in checks)


def _holds_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    checks = (types.is_string, types.is_large_string, types.is_string_view, _holds_pictures)
    return any(check(kind) for check in checks) and not types.is_struct(kind)


def _holds_text_lists(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(check(kind) for check in lists) and _holds_text(kind.value_type)


def _holds_sounds(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return _holds_pictures(kind.value_type if any(check(kind) for check in lists) else kind)


PICTURES: Final = ColumnKind("picture bytes, or structs with a field 'bytes'", _holds_pictures)
SOUNDS: Final = ColumnKind("sound bytes, structs with a field 'bytes', or lists of these", _holds_sounds)
TEXT: Final = ColumnKind("text", _holds_text)
TEXT_LISTS: Final = ColumnKind("lists of text", _holds_text_lists)
ANYTHING: Final = ColumnKind("anything", lambda kind: True)


@contextlib.contextmanager
def open_parquet(
    path: Path, columns: Sequence[tuple[str, ColumnKind]], hint: str = ""
) -> Iterator[pq.ParquetFile]:
    """Open a file after a look at its columns.

    Args:
        path: The file.
        columns: Names and kinds of the columns that will be read.
        hint: Added to the message about a column that is missing or wrong.

    Raises:
        DataError: The file is missing, is no parquet, has no rows, lacks a column or has another type there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        # Without pre-buffering a row group of gigabytes is read page by page.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_READ_BUFFER)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({error_line(error)})") from error
    with file:
        schema = file.schema_arrow
        for column, kind in columns:
            if column not in schema.names:
                raise DataError(f"{path}: no column '{column}'; it has {', '.join(schema.names)}{hint}")
            found = schema.field(column).type
            if not kind.fits(found):
                raise DataError(f"{path}: column '{column}' holds {found}, expected {kind.expected}{hint}")
        if file.metadata.num_rows == 0:
            raise DataError(f"{path}: has no rows")
        yield file


def read_cells(path: Path, file: pq.ParquetFile, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Read all cells of small columns, by column.

    Raises:
        DataError: The file is damaged.
    """
    import pyarrow as pa

    try:
        table = file.read(columns=list(dict.fromkeys(columns)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged ({error_line(error)})") from error
    return {name: [plain_cell(value) for value in table[name]] for name in table.column_names}


def plain_cell(value: pa.Scalar) -> Any:
    """Return a cell as Python value; text that is not UTF-8 as bytes, to be named and skipped."""
    import pyarrow as pa

    try:
        return value.as_py()
    except UnicodeDecodeError:
        if isinstance(value, pa.StructScalar):
            return {name: plain_cell(item) for name, item in value.items()}
        if isinstance(value, pa.ListScalar):
            return [plain_cell(item) for item in value.values]
        return value.as_buffer().to_pybytes()
