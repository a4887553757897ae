"""The first look at pictures and sounds: each is decoded once, so that bad ones are known before training.

A picture is named by what it shows (`picture_hash`), so the same picture saved twice, by different programs
or in different formats, is recognised as one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from edge_glass.core.progress import progress_bar
from edge_glass.data.pictures import BadPicture, decode_image, picture_bytes, picture_hash
from edge_glass.data.sounds import BadSound, decode_sound, sound_bytes, sound_hash

_CHUNK = 64
Found = TypeVar("Found")


class Scan(NamedTuple):
    """One picture: its content hash, or why it cannot be used."""

    digest: str | None
    problem: str | None


def scan_picture(cell: Any) -> Scan:
    """Decode one picture and hash its pixels; a cell is what `picture_bytes` takes."""
    try:
        return Scan(picture_hash(decode_image(picture_bytes(cell))), None)
    except BadPicture as error:
        return Scan(None, error.reason)


class CellScan(NamedTuple):
    """One table cell of pictures or sounds: its encoded items and their content hashes, or what is wrong.

    An empty cell has no items and no problem: whether that is one depends on the table.
    """

    items: list[bytes]
    digests: list[str]
    problem: str | None


EMPTY_CELL: Final = CellScan([], [], None)


def scan_picture_cell(cell: Any) -> CellScan:
    """Scan the picture of a cell; what `picture_bytes` takes, or nothing."""
    if cell is None:
        return EMPTY_CELL
    scan = scan_picture(cell)
    if scan.problem or scan.digest is None:
        return CellScan([], [], scan.problem)
    return CellScan([picture_bytes(cell)], [scan.digest], None)


def scan_sound_cell(cell: Any, max_seconds: float) -> CellScan:
    """Scan the takes of a cell: bytes, `{bytes, path}`, a list of these, or nothing."""
    if cell is None:
        return EMPTY_CELL
    try:
        items = [sound_bytes(take) for take in (cell if isinstance(cell, list) else [cell])]
        digests = [sound_hash(decode_sound(item, max_seconds)) for item in items]
    except BadSound as error:
        return CellScan([], [], error.reason)
    return CellScan(items, digests, None)


def scan_pictures(cells: Iterable[Any], total: int, what: str) -> Iterator[list[tuple[Any, Scan]]]:
    """Scan pictures in order, a chunk at a time; each cell with what was found. See `scan_cells`."""
    return scan_cells(cells, total, what, lambda cell: (cell, scan_picture(cell)))


def scan_cells(
    cells: Iterable[Any], total: int, what: str, scan: Callable[[Any], Found]
) -> Iterator[list[Found]]:
    """Scan cells in order, in threads (decoding releases the interpreter lock), a chunk at a time.

    Args:
        cells: Read a chunk at a time.
        total: How many there are, for the progress bar.
        what: Where they come from, for the progress bar.
        scan: What is done with each.
    """
    stream = iter(cells)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress_bar(f"reading {what}", total) as advance:
        while chunk := list(islice(stream, _CHUNK)):
            yield list(pool.map(scan, chunk))
            advance(len(chunk))
