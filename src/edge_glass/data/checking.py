"""Check every row of a data set before training: broken pictures, empty texts, duplicates.

Files are streamed. What grows with the number of rows is one short digest for each distinct picture and text
(together about 0.4 kB a row) and one `Finding` for each complaint.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_glass.core.errors import DataError, error_line
from edge_glass.core.files import atomic_file
from edge_glass.core.progress import progress_bar
from edge_glass.data.parquet_file import PICTURES, TEXT, open_parquet
from edge_glass.data.pictures import MAX_PIXELS, BadPicture, decode_image, picture_bytes, picture_hash
from edge_glass.data.samples import has_visible_text

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ERROR: Final = "error"
WARNING: Final = "warning"

_COLUMNS: Final = ("split", "file", "row", "severity", "reason", "detail")
_BATCH_ROWS: Final = 32
_ROW_BITS: Final = 48

Complaint = tuple[str, str, str]
"""Severity, reason, detail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint about one row.

    Attributes:
        split: name of the split.
        file: the parquet file.
        row: position in that file, from 0.
        severity: "error" (the row cannot be used) or "warning" (it repeats another).
        reason: short stable key, such as "truncated" or "duplicate_picture".
        detail: the same in plain words.
    """

    split: str
    file: str
    row: int
    severity: str
    reason: str
    detail: str


@dataclass
class CheckReport:
    """What `check_parquet` found; `rows` counts the rows of each split."""

    rows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when every row can be used; duplicates do not count."""
        return not self.of(ERROR)

    def of(self, severity: str) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def counts(self, severity: str | None = None) -> dict[str, int]:
        """Count findings per reason, most frequent first."""
        chosen = self.findings if severity is None else self.of(severity)
        return dict(Counter(finding.reason for finding in chosen).most_common())

    def unusable(self, split: str) -> list[int]:
        """Return the positions of the rows of a split that cannot be used, ascending."""
        return sorted({finding.row for finding in self.of(ERROR) if finding.split == split})

    def lines(self) -> list[str]:
        """Return the report as lines of text: the splits, then each reason with its count and first row."""
        lines = [
            f"{split}: {rows} rows, {len(self.unusable(split))} unusable" for split, rows in self.rows.items()
        ]
        for severity in (ERROR, WARNING):
            found = self.of(severity)
            for reason, count in self.counts(severity).items():
                first = next(finding for finding in found if finding.reason == reason)
                where = f"{first.file} row {first.row}"
                lines.append(f"{severity}: {reason} x {count}, first {where}: {first.detail}")
        return lines


def split_names(paths: Iterable[Path]) -> dict[str, Path]:
    """Name each file by its stem; where stems repeat, by its path without the suffix."""
    files = list(paths)
    stems = Counter(path.stem for path in files)
    return {path.stem if stems[path.stem] == 1 else path.with_suffix("").as_posix(): path for path in files}


def check_parquet(
    files: Mapping[str, Path],
    image_column: str = "image_bytes",
    text_column: str = "caption",
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> CheckReport:
    """Decode every picture and read every text of some parquet files.

    Args:
        files: split name → parquet file. Of two rows that are the same, the later one is complained about.
        image_column: column of picture bytes, or of Hugging Face structs `{bytes, path}`.
        text_column: column of texts: strings, or UTF-8 as bytes.
        max_pixels: pictures with more pixels are errors.
        progress: show a progress bar when stderr is a terminal.

    Returns:
        Errors for rows that cannot be used, warnings for duplicates within a split and across splits.

    Raises:
        DataError: a file is missing, is no parquet, is damaged, has no rows, or lacks a column.
    """
    report = CheckReport()
    pictures, texts = _Seen("picture"), _Seen("text")
    with contextlib.ExitStack() as stack:
        opened = {
            split: stack.enter_context(open_parquet(path, [(image_column, PICTURES), (text_column, TEXT)]))
            for split, path in files.items()
        }
        total = sum(file.metadata.num_rows for file in opened.values())
        advance = stack.enter_context(progress_bar("checking rows", total, progress))
        for split, file in opened.items():
            name = str(files[split])
            report.rows[split] = 0
            for row, (image, text) in enumerate(_rows(file, name, image_column, text_column)):
                complaints = _check_picture(image, max_pixels, pictures, split, row)
                complaints += _check_text(text, texts, split, row)
                report.findings += [Finding(split, name, row, *complaint) for complaint in complaints]
                report.rows[split] += 1
                advance(1)
    return report


def write_rejects(report: CheckReport, path: Path) -> None:
    """Write every finding as a line of a CSV file (UTF-8), errors before warnings."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for finding in report.of(ERROR) + report.of(WARNING):
            writer.writerow([getattr(finding, column) for column in _COLUMNS])


class _Seen:
    """Where each content was seen first, packed into integers: a data set can have millions of rows."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._splits: list[str] = []
        self._places: dict[bytes, int] = {}

    def complaints(self, digest: bytes, split: str, row: int) -> list[Complaint]:
        if split not in self._splits:
            self._splits.append(split)
        here = (self._splits.index(split) << _ROW_BITS) + row
        place = self._places.setdefault(digest, here)
        if place == here:
            return []
        first_split, first_row = self._splits[place >> _ROW_BITS], place & ((1 << _ROW_BITS) - 1)
        reason = f"duplicate_{self._what}" if first_split == split else f"{self._what}_across_splits"
        return [(WARNING, reason, f"same {self._what} as {first_split} row {first_row}")]


def _check_picture(cell: Any, max_pixels: int, seen: _Seen, split: str, row: int) -> list[Complaint]:
    try:
        image = decode_image(picture_bytes(cell), max_pixels)
    except BadPicture as bad:
        return [(ERROR, bad.kind, bad.reason)]
    return seen.complaints(bytes.fromhex(picture_hash(image))[:16], split, row)


def _check_text(cell: bytes | None, seen: _Seen, split: str, row: int) -> list[Complaint]:
    if cell is None:
        return [(ERROR, "no_text", "the text is empty (null)")]
    try:
        text = cell.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"the text is not UTF-8: byte {error.start} is 0x{cell[error.start]:02x}"
        return [(ERROR, "text_not_utf8", detail)]
    if not has_visible_text(text):
        return [(ERROR, "text_empty", f"the text has no visible character: {text[:20]!r}")]
    return seen.complaints(hashlib.sha256(cell).digest()[:16], split, row)


def _rows(
    file: pq.ParquetFile, name: str, image_column: str, text_column: str
) -> Iterator[tuple[Any, bytes | None]]:
    """Yield picture cell and undecoded text of each row."""
    import pyarrow as pa

    done = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[image_column, text_column]):
            texts = batch.column(text_column)
            if pa.types.is_dictionary(texts.type):
                texts = texts.dictionary_decode()
            # As bytes: a string column may hold what is not UTF-8, and that is ours to report.
            texts = texts.cast(pa.large_binary())
            for image, text in zip(batch.column(image_column), texts, strict=True):
                yield image.as_py(), text.as_py()
                done += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: damaged after row {done} ({error_line(error)})") from error
