"""Sounds and sentences from a Common Voice folder: a TSV file beside a folder `clips`."""

from __future__ import annotations

import csv
from pathlib import Path

from edge_glass.core.errors import DataError
from edge_glass.data.parquet import MAX_AUDIO_SECONDS
from edge_glass.data.samples import SampleTable, as_text, sift, text_problem
from edge_glass.data.scan import CellScan, scan_cells, scan_sound_cell

TSV = "validated.tsv"
COLUMNS = ("client_id", "path", "sentence")


class Clips:
    """Sound files by position; each row has one take."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __getitem__(self, position: int) -> list[bytes]:
        return [self.files[position].read_bytes()]


def read_common_voice(
    folder: str | Path, tsv: str = TSV, max_audio_seconds: float = MAX_AUDIO_SECONDS
) -> SampleTable:
    """Read the usable rows of a Common Voice folder; a speaker (`client_id`) stays on one side of a split.

    Args:
        folder: Holds the TSV file and `clips`.
        tsv: Such as `validated.tsv`, `train.tsv`.
        max_audio_seconds: Longer clips are bad ones.

    Raises:
        DataError: A file is missing, is no TSV, or lacks a column.
    """
    folder = Path(folder)
    records = _read_tsv(folder / tsv)
    files = [folder / "clips" / Path(record["path"] or "missing").name for record in records]
    scans = _scan(files, folder, max_audio_seconds)
    kept, rejected = sift(
        [record["path"] or str(row) for row, record in enumerate(records)],
        [
            text_problem(record["sentence"]) or scan.problem
            for record, scan in zip(records, scans, strict=True)
        ],
    )
    return SampleTable(
        source=str(folder / tsv),
        ids=[files[row].stem for row in kept],
        captions=[[as_text(records[row]["sentence"])] for row in kept],
        picture_hashes=[None] * len(kept),
        positions=kept,
        pictures=[],
        rejected=rejected,
        sound_hashes=[scans[row].digests for row in kept],
        sounds=Clips(files),
        groups=[records[row]["client_id"] or None for row in kept],
    )


def _read_tsv(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise DataError(f"{file}: no such file; a Common Voice folder has {TSV} beside the folder clips")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            # Sentences hold quotation marks of their own.
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = list(reader.fieldnames or ())
            records = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    for column in COLUMNS:
        if column not in names:
            raise DataError(f"{file}: no column '{column}'; it has {', '.join(names) or 'nothing'}")
    return records


def _scan(files: list[Path], folder: Path, max_seconds: float) -> list[CellScan]:
    def scan(file: Path) -> CellScan:
        try:
            found = scan_sound_cell(file.read_bytes(), max_seconds)
        except OSError as error:
            return CellScan([], [], f"the clip cannot be read ({error.strerror})")
        return CellScan([], found.digests, found.problem)  # the bytes stay where they are

    return [scan for chunk in scan_cells(files, len(files), str(folder), scan) for scan in chunk]
