"""How far a download is: a line on the terminal, or a log line every half minute where there is none."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_LOG_SECONDS: Final = 30.0


class Counts:
    """Pictures and failures of this call."""

    def __init__(self, total: int, bar: Progress) -> None:
        self.good = self.bad = self.size = 0
        self.total = total
        self._bar = bar
        self._line = bar.add_task("download", total=total, counts="")
        self._started = self._logged = time.monotonic()

    @property
    def text(self) -> str:
        """Such as "812 ok, 31 bad, 9.4/s, 203.4 MB"."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        rate = (self.good + self.bad) / seconds
        return f"{self.good} ok, {self.bad} bad, {rate:.1f}/s, {self.size / 1e6:.1f} MB"

    def add(self, size: int | None) -> None:
        """Count a picture of so many bytes, or a failure (None)."""
        self.good, self.bad = self.good + (size is not None), self.bad + (size is None)
        self.size += size or 0
        self._bar.update(self._line, advance=1, counts=self.text)
        if self._bar.disable and time.monotonic() - self._logged > _LOG_SECONDS:
            self._logged = time.monotonic()
            logger.info("%d of %d: %s", self.good + self.bad, self.total, self.text)


@contextlib.contextmanager
def counting(total: int, shown: bool = True) -> Iterator[Counts]:
    """Count `total` downloads, with a bar when stderr is a terminal."""
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        yield Counts(total, bar)
