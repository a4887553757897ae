"""Many URLs at once: worker threads fetch, the calling thread alone writes the journal.

Which URL comes next says `HostQueue`, how far the download is `Counts`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_glass.core.errors import DataError
from edge_glass.corpora.downloading.fetching import (
    Failed,
    Fetched,
    Fetcher,
    Kind,
    Limits,
    Picture,
    Problem,
    Stopped,
    web_address,
)
from edge_glass.corpora.downloading.journal import Journal
from edge_glass.corpora.downloading.stopping import Stop

logger = logging.getLogger(__name__)

# So many new URLs in a row, of so many hosts, without any answer: it is the network, not the links.
_UNREACHABLE: Final = 40
_UNREACHABLE_HOSTS: Final = 10
_WINDOW: Final = 1024
_LOG_SECONDS: Final = 30.0
_PROXIES: Final = ("https_proxy", "http_proxy", "all_proxy", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")

Result = tuple[Picture, Fetched | Failed]


def fetch_missing(
    pictures: Iterable[Picture], journal: Journal, limits: Limits, stop: Stop, progress: bool = True
) -> str:
    """Fetch every picture that the journal does not have; each distinct one once.

    Returns:
        Counts in words.

    Raises:
        DownloadStopped: A signal arrived.
        DataError: The disk is full, or no host can be reached.
    """
    wanted = {picture.key: picture for picture in pictures}
    missing = [picture for picture in wanted.values() if picture not in journal]
    if not missing:
        return "nothing was left to download"
    if any(os.environ.get(name) for name in _PROXIES):
        logger.warning("proxy settings are not used: a proxy resolves names itself, past the address check")
    with counting(len(missing), progress) as counts:
        _Run(missing, journal, limits, stop, counts, _hosts(wanted.values())).work()
    return counts.text


def _hosts(pictures: Iterable[Picture]) -> int:
    """Count the hosts, up to `_UNREACHABLE_HOSTS`."""
    hosts: set[str] = set()
    for picture in pictures:
        if len(hosts) == _UNREACHABLE_HOSTS:
            break
        hosts.add(job_of(picture).host)
    return len(hosts)


class _Run:
    """One call's threads and what they send home."""

    def __init__(
        self,
        missing: list[Picture],
        journal: Journal,
        limits: Limits,
        stop: Stop,
        counts: Counts,
        hosts: int,
    ) -> None:
        self.journal, self.stop, self.counts, self.hosts = journal, stop, counts, hosts
        self.unreachable: list[str] = []  # hosts of the new URLs that failed in a row
        self.jobs = HostQueue(missing, limits.per_host)
        self.ended = threading.Event()
        self.fetcher = Fetcher(limits, self.ended, self.jobs.pause)
        # Bounded: pictures wait here in memory while the disk is slow.
        self.results: queue.Queue[Result | BaseException | None] = queue.Queue(limits.workers)
        # Daemons: a thread that waits for a silent server must not hold up the end of the program.
        self.threads = [
            threading.Thread(target=self._worker, name=f"download-{number}", daemon=True)
            for number in range(min(limits.workers, len(missing)))
        ]

    def work(self) -> None:
        for thread in self.threads:
            thread.start()
        try:
            self._collect()
        finally:
            self.ended.set()
            self.jobs.close()
            self.fetcher.close()

    def _collect(self) -> None:
        working = len(self.threads)
        while working:
            self.stop.check(f"{self.journal.pictures} pictures are kept in {self.journal.folder}")
            try:
                item = self.results.get(timeout=0.2)
            except queue.Empty:
                continue
            if item is None:
                working -= 1
                continue
            if isinstance(item, BaseException):
                raise item
            picture, result = item
            self.journal.add(picture, result)
            self.counts.add(len(result.data) if isinstance(result, Fetched) else None)
            self._watch_network(picture, result)

    def _watch_network(self, picture: Picture, result: Fetched | Failed) -> None:
        if not isinstance(result, Failed) or result.kind != Kind.UNREACHABLE:
            self.unreachable = []
        elif picture.key not in self.journal.tried_before:
            self.unreachable.append(job_of(picture).host)
            if len(self.unreachable) >= _UNREACHABLE and len(set(self.unreachable)) >= self.hosts:
                raise DataError(
                    f"{len(self.unreachable)} URLs in a row cannot be reached (last: {result.reason}); is "
                    f"there a network?\n{self.journal.pictures} pictures are kept in {self.journal.folder}; "
                    "continue with the same command."
                )

    def _worker(self) -> None:
        try:
            while job := self.jobs.take():
                try:
                    result = self.fetcher.fetch(job.picture)
                finally:
                    self.jobs.done(job)
                self._send((job.picture, result))
            self._send(None)
        except Stopped:
            self._send(None)
        except BaseException as error:  # a bug: the calling thread raises it
            self._send(error)

    def _send(self, item: Result | BaseException | None) -> None:
        while not self.ended.is_set():
            try:
                self.results.put(item, timeout=0.2)
            except queue.Full:
                continue
            return


class Job(NamedTuple):
    """One picture and the host it is taken from first."""

    picture: Picture
    host: str


def job_of(picture: Picture) -> Job:
    """Return a job; a URL that cannot be parsed gets a host of its own and fails when it is fetched."""
    try:
        return Job(picture, web_address(picture.url).host)
    except Problem:
        return Job(picture, "")


class HostQueue:
    """Hands jobs to many threads, at most `per_host` of one host at a time.

    A slow host holds up its own jobs only: others of the next `_WINDOW` are taken before them. Redirects
    count for the host that sent them.
    """

    def __init__(self, pictures: Iterable[Picture], per_host: int) -> None:
        self._source = map(job_of, pictures)
        self._per_host = per_host
        self._waiting: list[Job] = []
        self._active: Counter[str] = Counter()
        self._resume: dict[str, float] = {}
        self._changed = threading.Condition()
        self._closed = False

    def take(self) -> Job | None:
        """Return the next job, waiting for a host if need be; None when none is left or after `close`."""
        with self._changed:
            while not self._closed:
                self._waiting += islice(self._source, _WINDOW - len(self._waiting))
                if not self._waiting:
                    return None
                now = time.monotonic()
                for position, job in enumerate(self._waiting):
                    if self._active[job.host] < self._per_host and self._resume.get(job.host, 0) <= now:
                        self._active[job.host] += 1
                        return self._waiting.pop(position)
                ends = [end for host, end in self._resume.items() if end > now]
                self._changed.wait(min(ends) - now if ends else None)
            return None

    def done(self, job: Job) -> None:
        """Give the host's place back."""
        with self._changed:
            self._active[job.host] -= 1
            self._changed.notify_all()

    def pause(self, host: str, seconds: float) -> None:
        """Start no job of a host for a while."""
        with self._changed:
            self._resume[host] = max(self._resume.get(host, 0.0), time.monotonic() + seconds)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Counts:
    """Pictures and failures of this call: a line on the terminal, or in the log each half minute."""

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
