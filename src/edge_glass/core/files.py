"""Files and folders that are whole or absent.

What is written lies beside its place under another name until it is complete and on the disk, and is renamed
then: a reader, and a process that is started again after a kill, finds the old one or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

UNFINISHED_FOLDER = ".tmp-"
"""How the names of unfinished folders begin; those of unfinished files end in `.part`."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there takes its place when the block succeeds.

    When the block fails the old file stays and the temporary one is removed. Missing folders are made.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: Missing folders are made.
        content: Text is written as UTF-8, with "?" for halves of surrogate pairs, which users' JSON may hold.

    Raises:
        OSError: The file cannot be written; the old one stays.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def file_state(path: Path) -> str:
    """Return what changes whenever a file is written or replaced: size, times and inode.

    The time of modification can be set to anything, as copying tools do; the time of change cannot.

    Raises:
        OSError: The file is not there.
    """
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


@contextlib.contextmanager
def atomic_folder(folder: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a new folder beside `folder` that takes its place when the block succeeds.

    When the block fails the old folder stays and the new one is removed. Missing folders above are made.

    Args:
        folder: One process writes it at a time, unless it is not replaced.
        replace: Replace the folder that is there. Otherwise several processes may write it at the same time,
            and the first that succeeds keeps it.

    Raises:
        OSError: The folder cannot be written, or is there and not to be replaced.
    """
    temporary = folder.with_name(f"{UNFINISHED_FOLDER}{folder.name}-{os.getpid()}")
    old = temporary.with_name(f"{temporary.name}-old")
    if replace:
        for leftover in _leftovers(folder):
            shutil.rmtree(leftover, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            _fsync(path)
        if replace and folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        _fsync(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _leftovers(folder: Path) -> list[Path]:
    """List what killed processes left unfinished of a folder."""
    name = re.compile(re.escape(f"{UNFINISHED_FOLDER}{folder.name}") + r"(-\d+)?(-old)?")
    return [path for path in folder.parent.glob(f"{UNFINISHED_FOLDER}*") if name.fullmatch(path.name)]


def _fsync(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
