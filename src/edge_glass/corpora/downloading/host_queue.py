"""Which URL comes next: the first one whose host is neither busy nor pausing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from edge_glass.corpora.downloading.answers import Problem, web_address
from edge_glass.corpora.downloading.fetching import Picture

_WINDOW: Final = 1024


class Job(NamedTuple):
    """One picture and the host it is taken from first."""

    picture: Picture
    host: str


def job_of(picture: Picture) -> Job:
    """A job; a URL that cannot be parsed gets a host of its own and fails when it is fetched."""
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
        """The next job, waiting for a host if need be; None when there are none left or after `close`."""
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
