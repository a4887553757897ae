"""One download at a time in a folder, and how it ends at Ctrl-C or SIGTERM: cleanly, saying how to go on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from edge_glass.core.errors import DataError, EdgeGlassError


class DownloadStopped(EdgeGlassError):
    """A signal ended the download. Exits with 128 + the signal's number."""

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(f"interrupted; {kept}.\nContinue with the same command.")
        self.exit_code = 128 + number


class Stop:
    """Whether a signal has arrived, and which."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number = 0

    def check(self, kept: str) -> None:
        """Raise DownloadStopped after a signal; `kept` says what is not lost."""
        if self.event.is_set():
            raise DownloadStopped(self.number or signal.SIGINT, kept)


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """Within the block the first SIGINT or SIGTERM only sets the `Stop`; a second one ends the program."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        stop.number = number
        stop.event.set()
        restore()

    for number in numbers:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other downloads out of a folder, and remove what a killed one left half written.

    Raises:
        DataError: Another process is at it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"{folder}: another download writes there; wait for it or use --output") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    try:
        for leftover in folder.glob(".*.part"):  # see `atomic_file`
            leftover.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
