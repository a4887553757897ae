"""Many URLs at once: worker threads fetch, the calling thread alone writes the journal."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterable
from typing import Final

from edge_glass.core.errors import DataError
from edge_glass.corpora.downloading.answers import Failed, Kind
from edge_glass.corpora.downloading.fetching import Fetched, Fetcher, Picture, Stopped
from edge_glass.corpora.downloading.host_queue import HostQueue, job_of
from edge_glass.corpora.downloading.journal import Journal
from edge_glass.corpora.downloading.policy import Limits
from edge_glass.corpora.downloading.showing import Counts, counting
from edge_glass.corpora.downloading.stopping import Stop

logger = logging.getLogger(__name__)

# So many new URLs in a row, of so many hosts, without any answer: it is the network, not the links.
_UNREACHABLE: Final = 40
_UNREACHABLE_HOSTS: Final = 10
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
    """How many hosts there are, up to `_UNREACHABLE_HOSTS`."""
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
