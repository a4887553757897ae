"""The first look at pictures: each is decoded once, so that bad ones are known before training begins.

A picture is named by what it shows (`picture_hash`), so the same picture saved twice, by different programs
or in different formats, is recognised as one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_glass.data.pictures import BadPicture, decode_image, picture_bytes, picture_hash

_CHUNK = 64


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


def scan_pictures(cells: Iterable[Any], total: int, what: str) -> Iterator[list[tuple[Any, Scan]]]:
    """Scan pictures in order, in threads (decoding releases the interpreter lock), a chunk at a time.

    Args:
        cells: See `scan_picture`; read a chunk at a time.
        total: How many there are, for the progress bar.
        what: Where they come from, for the progress bar.
    """
    stream = iter(cells)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress_bar(f"reading {what}", total) as advance:
        while chunk := list(islice(stream, _CHUNK)):
            yield list(zip(chunk, pool.map(scan_picture, chunk), strict=True))
            advance(len(chunk))


@contextmanager
def progress_bar(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal; it appears with the first step, so nothing to do shows nothing."""
    console = Console(stderr=True)
    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True)
    line = bar.add_task(what, total=total)

    def advance(done: int) -> None:
        bar.start()
        bar.update(line, advance=done)

    try:
        yield advance
    finally:
        bar.stop()
