"""One URL → the bytes of a picture that decodes, or why there is none."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import httpcore2

from edge_glass.corpora.downloading.answers import (
    REDIRECTS,
    Failed,
    Kind,
    Problem,
    check_status,
    read_body,
    redirect_target,
    web_address,
)
from edge_glass.corpora.downloading.connecting import CheckedBackend
from edge_glass.corpora.downloading.policy import AddressRefused, Limits, UnknownHost, retry_wait
from edge_glass.data.pictures import BadPicture, decode_image

_KEEP_SECONDS: Final = 15.0


class Picture(NamedTuple):
    """What to fetch: a URL and, where the data set publishes it, the SHA-256 (hex) of the bytes behind it."""

    url: str
    sha256: str | None = None

    @property
    def key(self) -> str:
        """Name in the journal."""
        return self.url if self.sha256 is None else f"{self.url} sha256={self.sha256}"


class Fetched(NamedTuple):
    """A picture as the server sent it."""

    data: bytes
    sha256: str
    attempts: int


class Stopped(Exception):
    """The download was stopped while this URL was on its way."""


class Fetcher:
    """Fetches pictures from many threads over one set of connections.

    Args:
        limits: The bounds.
        stop: When set, waits end and no further attempt is made.
        pause: Called with (host, seconds) when a host asks for a pause.
    """

    def __init__(
        self,
        limits: Limits,
        stop: threading.Event | None = None,
        pause: Callable[[str, float], None] = lambda host, seconds: None,
    ) -> None:
        self.limits, self.pause = limits, pause
        self.stop = stop or threading.Event()
        self._backend = CheckedBackend(limits)
        self._pool = httpcore2.ConnectionPool(
            max_connections=None,
            max_keepalive_connections=limits.workers,
            keepalive_expiry=_KEEP_SECONDS,
            network_backend=self._backend,
        )
        # A decoded picture can take 360 MB: no more of them at once than there are processors.
        self._decoding = threading.Semaphore(os.cpu_count() or 1)

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    def fetch(self, picture: Picture) -> Fetched | Failed:
        """Fetch one picture, with several attempts where that can help.

        Raises:
            Stopped: `stop` was set.
        """
        deadline = time.monotonic() + self.limits.total_seconds
        attempt = 0
        while True:
            if self.stop.is_set():
                raise Stopped
            attempt += 1
            try:
                return self._attempt(picture, deadline, attempt)
            except Problem as problem:
                wait = self._wait(picture, problem, attempt, deadline)
                if isinstance(wait, str):
                    return Failed(f"{problem.reason}{wait}", attempt, problem.kind)
            self.stop.wait(wait)

    def _attempt(self, picture: Picture, deadline: float, attempt: int) -> Fetched:
        with self._backend.until(deadline), _problems(deadline, self.limits):
            data = self._get(picture.url)
        self._check_picture(data)
        found = hashlib.sha256(data).hexdigest()
        if picture.sha256 is not None and found != picture.sha256.lower():
            raise Problem(f"the SHA-256 is {found}, published is {picture.sha256}", Kind.ANSWER)
        return Fetched(data, found, attempt)

    def _wait(self, picture: Picture, problem: Problem, attempt: int, deadline: float) -> float | str:
        """Seconds until the next attempt, or an ending for the reason when there will be none."""
        if not problem.again or attempt == self.limits.attempts:
            return ""
        wait = retry_wait(self.limits, attempt, problem.asked)
        if wait is None:
            return f"; asks to come back in {problem.asked:.0f} s"
        if time.monotonic() + wait >= deadline:
            return f"; the {self.limits.total_seconds:g} s for one URL are used up"
        if problem.asked is not None:
            self.pause(web_address(picture.url).host, wait)
        return wait

    def _get(self, url: str) -> bytes:
        for _ in range(self.limits.max_redirects + 1):
            address = web_address(url)
            with self._pool.stream(
                "GET",
                httpcore2.URL(
                    scheme=address.raw_scheme,
                    host=address.raw_host,
                    port=address.port,
                    target=address.raw_path,
                ),
                headers={
                    "User-Agent": self.limits.user_agent,
                    "Accept": "image/*,*/*;q=0.5",
                    "Accept-Encoding": "identity",
                },
                extensions={
                    "timeout": {
                        "connect": self.limits.connect_seconds,
                        "read": self.limits.read_seconds,
                        "write": self.limits.read_seconds,
                    }
                },
            ) as response:
                if response.status not in REDIRECTS:
                    check_status(response)
                    return read_body(response, self.limits.max_bytes)
                url = redirect_target(response, address)
        raise Problem(f"more than {self.limits.max_redirects} redirects", Kind.ANSWER)

    def _check_picture(self, data: bytes) -> None:
        try:
            with self._decoding:
                decode_image(data)
        except BadPicture as error:
            # A server that dies in the middle of an answer without a length leaves a truncated picture.
            again = error.kind == "truncated"
            raise Problem(error.reason, Kind.ANSWER, again=again) from error


@contextlib.contextmanager
def _problems(deadline: float, limits: Limits) -> Iterator[None]:
    """Name what can go wrong on the way to a server and back."""
    try:
        yield
    except AddressRefused as error:
        raise Problem(str(error), Kind.REFUSED) from error
    except UnknownHost as error:
        raise Problem(str(error), Kind.UNREACHABLE, again=error.passing) from error
    except httpcore2.TimeoutException as error:
        if time.monotonic() >= deadline:
            raise Problem(f"took longer than {limits.total_seconds:g} s", Kind.BUSY) from error
        if isinstance(error, httpcore2.ConnectTimeout):
            reason = f"no connection within {limits.connect_seconds:g} s"
            raise Problem(reason, Kind.UNREACHABLE, again=True) from error
        raise Problem(f"silent for {limits.read_seconds:g} s", Kind.BUSY, again=True) from error
    except httpcore2.ConnectError as error:
        certificate = "certificate" in str(error).lower()
        kind = Kind.ANSWER if certificate else Kind.UNREACHABLE
        raise Problem(f"no connection ({_line(error)})", kind, again=not certificate) from error
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise Problem(f"the connection broke ({_line(error)})", Kind.BUSY, again=True) from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise Problem(f"no valid request ({_line(error)})", Kind.REFUSED) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
