"""Finished pictures on disk, so that a download that ends at any moment goes on from there.

Two files that only grow: `pictures.bin`, the pictures one after the other, and `journal.jsonl`, one line for
each finished URL, written after its bytes. What a kill leaves unfinished at their ends is cut off by the next
call. Bytes are compared with their SHA-256 when read, so what a power failure damages is fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_glass.core.errors import DataError
from edge_glass.corpora.downloading.fetching import Failed, Fetched, Kind, Picture

_PICTURES: Final = "pictures.bin"
_LINES: Final = "journal.jsonl"
_SYNC_SECONDS: Final = 5.0


class Place(NamedTuple):
    """Where a picture lies in `pictures.bin`."""

    offset: int
    size: int
    sha256: str


class Journal:
    """Results by picture; use `open_journal`. Only one thread may add, several may read.

    Attributes:
        results: What is known, by `Picture.key`.
        pictures: How many pictures are kept.
        tried_before: Keys of failures that `forget_failures` forgot.
        damaged: Pictures that `read` found damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: dict[str, Place | Failed] = {}
        self.tried_before: set[str] = set()
        self.damaged: dict[str, Picture] = {}
        self._lines = os.open(folder / _LINES, os.O_RDWR | os.O_CREAT, 0o644)
        self._pictures = os.open(folder / _PICTURES, os.O_RDWR | os.O_CREAT, 0o644)
        self._lines_end = self._load()
        places = [result for result in self.results.values() if isinstance(result, Place)]
        self.pictures = len(places)
        self._pictures_end = max((place.offset + place.size for place in places), default=0)
        os.ftruncate(self._lines, self._lines_end)
        os.ftruncate(self._pictures, self._pictures_end)
        self._synced = time.monotonic()

    @property
    def size(self) -> int:
        """Bytes of all pictures."""
        return self._pictures_end

    def __contains__(self, picture: Picture) -> bool:
        return picture.key in self.results

    def forget_failures(self, passing_only: bool = True) -> int:
        """Let pictures that failed be tried again; says how many."""
        again = [
            key
            for key, result in self.results.items()
            if isinstance(result, Failed) and (result.passing or not passing_only)
        ]
        for key in again:
            del self.results[key]
        self.tried_before.update(again)
        return len(again)

    def add(self, picture: Picture, result: Fetched | Failed) -> None:
        """Keep a result.

        Raises:
            DataError: The disk is full or broken. What was kept before is whole.
        """
        try:
            if isinstance(result, Failed):
                self._add_line(picture, result)
                return
            place = Place(self._pictures_end, len(result.data), result.sha256)
            _write_at(self._pictures, result.data, place.offset)
            self._add_line(picture, place)
            self._pictures_end += place.size
            self.pictures += 1
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self._sync()
        except OSError as error:
            raise full_disk(error, self.folder, f"{self.pictures} pictures are kept") from error

    def read(self, picture: Picture) -> tuple[bytes, str] | Failed:
        """Return bytes and SHA-256 of a picture, or why there are none. `damaged` notes damaged ones."""
        result = self.results.get(picture.key)
        if result is None:
            return Failed("not downloaded", 0, Kind.BUSY)
        if isinstance(result, Failed):
            return result
        data = os.pread(self._pictures, result.size, result.offset)
        if hashlib.sha256(data).hexdigest() == result.sha256:
            return data, result.sha256
        self.damaged[picture.key] = picture
        return Failed("the kept copy is damaged", 0, Kind.BUSY)

    def forget_damaged(self) -> int:
        """Let pictures that `read` found damaged be fetched again; says how many."""
        found, self.damaged = self.damaged, {}
        for picture in found.values():
            self.add(picture, Failed("the kept copy is damaged", 0, Kind.BUSY))
            del self.results[picture.key]
        self.pictures -= len(found)
        return len(found)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sync()
        os.close(self._lines)
        os.close(self._pictures)

    def _sync(self) -> None:
        os.fsync(self._pictures)
        os.fsync(self._lines)
        self._synced = time.monotonic()

    def _add_line(self, picture: Picture, result: Place | Failed) -> None:
        kind = "picture" if isinstance(result, Place) else "failed"
        line = json.dumps({"key": picture.key, kind: result._asdict()}, ensure_ascii=False) + "\n"
        data = line.encode("utf-8", "surrogatepass")
        _write_at(self._lines, data, self._lines_end)
        self._lines_end += len(data)
        self.results[picture.key] = result

    def _load(self) -> int:
        """Read the lines; returns where the last whole one ends."""
        end = 0
        available = os.fstat(self._pictures).st_size
        with (self.folder / _LINES).open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                with contextlib.suppress(
                    ValueError, KeyError, TypeError
                ):  # a line damaged by a power failure
                    self._take_line(json.loads(line.decode("utf-8", "surrogatepass")), available)
        return end

    def _take_line(self, line: dict[str, Any], available: int) -> None:
        if "failed" in line:
            self.results[line["key"]] = Failed(**line["failed"])
            return
        place = Place(**line["picture"])
        if place.offset + place.size <= available:
            self.results[line["key"]] = place


@contextlib.contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """Open or begin the journal in `folder`; the caller sees to it that there is one at a time.

    Raises:
        DataError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder)
    except OSError as error:
        raise full_disk(error, folder, "Nothing was changed") from error
    try:
        yield journal
    finally:
        journal.close()


def full_disk(error: OSError, where: Path, kept: str) -> DataError:
    """Return the message for a write that failed."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "the disk is full" if full else "cannot be written"
    reason = os.strerror(error.errno) if error.errno else str(error)
    free = shutil.disk_usage(next(p for p in (where, *where.parents) if p.exists())).free
    return DataError(
        f"{where}: {what} ({reason}; {free / 2**30:.1f} GiB free). {kept}.\n"
        "Free some space and continue with the same command."
    )


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it, over whatever an earlier failed write left there."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
