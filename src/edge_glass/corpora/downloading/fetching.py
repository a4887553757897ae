"""One URL → the bytes of a picture that decodes, or why there is none.

An answer is read up to a bound, whatever its headers say; a failed attempt is made again where that can help.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import httpcore2
import httpx2

from edge_glass import __version__
from edge_glass.corpora.downloading.connecting import AddressRefused, CheckedBackend, UnknownHost
from edge_glass.data.pictures import BadPicture, decode_image

REDIRECTS: Final = (301, 302, 303, 307, 308)
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)  # 52x: Cloudflare's own
_KEEP_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Limits:
    """Bounds on one download; times in seconds.

    Attributes:
        workers: URLs fetched at the same time.
        per_host: Of them, at most so many from one host.
        attempts: Tries for each URL.
        connect_seconds: For one connection.
        read_seconds: Between two pieces of an answer.
        total_seconds: For one URL with all its attempts, redirects and waits.
        max_bytes: Size of one picture, as sent and as unpacked.
        max_redirects: Redirects followed in one attempt.
        first_wait: Before the second attempt; it doubles from there.
        longest_wait: Between two attempts. A host that asks for more is given up.
        allow_private: Also connect to this machine and its own network.
        user_agent: How the program introduces itself.
    """

    workers: int = 16
    per_host: int = 4
    attempts: int = 4
    connect_seconds: float = 10.0
    read_seconds: float = 20.0
    total_seconds: float = 120.0
    max_bytes: int = 32 * 2**20
    max_redirects: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    allow_private: bool = False
    user_agent: str = f"edge-glass/{__version__} (data set download)"


class Kind:
    """What became of a URL that gave no picture."""

    REFUSED = "refused"  # by our own rules
    ANSWER = "answer"  # the server's answer is final: gone, or not the picture
    BUSY = "busy"  # the server may answer another time
    UNREACHABLE = "unreachable"  # no server, or no network


class Failed(NamedTuple):
    """A URL that gave no picture. `passing` failures are tried again by the next call."""

    reason: str
    attempts: int
    kind: str

    @property
    def passing(self) -> bool:
        return self.kind in (Kind.BUSY, Kind.UNREACHABLE)


class Problem(Exception):
    """One attempt that failed.

    Args:
        reason: Why, in plain words.
        kind: See `Kind`.
        again: Whether another attempt may help.
        asked: Seconds that the server asked to wait.
    """

    def __init__(self, reason: str, kind: str, again: bool = False, asked: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.kind, self.again, self.asked = reason, kind, again, asked


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
        self._backend = CheckedBackend(limits.allow_private)
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
        """Return seconds until the next attempt, or an ending for the reason when there will be none."""
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


def web_address(url: str) -> httpx2.URL:
    """Parse a URL; letters outside ASCII are allowed.

    Raises:
        Problem: It is no URL of the web.
    """
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Problem(f"not a URL ({error})", Kind.REFUSED) from error
    if address.scheme not in ("http", "https") or not address.host:
        raise Problem("not a URL of the web (http:// or https://)", Kind.REFUSED)
    if b"%" in address.raw_host or not 0 < (address.port or 80) < 65536:
        raise Problem(f"not a URL (the host is {address.netloc.decode()!r})", Kind.REFUSED)
    return address


def redirect_target(response: httpcore2.Response, base: httpx2.URL) -> str:
    """Return where a redirect leads."""
    location = header(response, b"location")
    if location is None:
        raise Problem(f"status {response.status} without a target", Kind.ANSWER)
    try:
        return str(base.join(location))
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Problem(f"redirected to {location[:100]!r}, which is not a URL", Kind.ANSWER) from error


def check_status(response: httpcore2.Response) -> None:
    """Raise Problem unless the status is 200."""
    status = response.status
    if status == 200:
        return
    name = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"status {status} {name}".strip()
    if status not in _BUSY:
        raise Problem(reason, Kind.ANSWER)
    asked = retry_after(header(response, b"retry-after")) if status in (429, 503) else None
    raise Problem(reason, Kind.BUSY, again=True, asked=asked)


def read_body(response: httpcore2.Response, max_bytes: int) -> bytes:
    """Return the body, unpacked; at most `max_bytes`, whatever the headers say."""
    announced = header(response, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    unpack = _unpacker(header(response, b"content-encoding"))
    body = bytearray()
    for chunk in response.iter_stream():
        try:
            # A small packed answer may unpack to gigabytes: never take out more than one byte too many.
            body += chunk if unpack is None else unpack.decompress(chunk, max_bytes + 1 - len(body))
        except zlib.error as error:
            raise Problem(f"the packed answer is damaged ({error})", Kind.ANSWER) from error
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    if unpack is not None and not unpack.eof:
        raise Problem("the packed answer is cut short", Kind.BUSY, again=True)
    return bytes(body)


def header(response: httpcore2.Response, name: bytes) -> str | None:
    """Return the first header of that name."""
    value = next((value for key, value in response.headers if key.lower() == name), None)
    if value is None:
        return None
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _unpacker(encoding: str | None) -> zlib._Decompress | None:
    if encoding is None or encoding.lower() in ("", "identity"):
        return None
    if encoding.lower() in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(wbits=47)  # 47: gzip or zlib, told apart by their headers
    raise Problem(f"the answer is packed as {encoding[:30]!r}, which was not asked for", Kind.ANSWER)


def _too_large(max_bytes: int) -> Problem:
    return Problem(f"larger than {max_bytes / 2**20:.3g} MiB", Kind.REFUSED)


def retry_wait(limits: Limits, attempt: int, asked: float | None) -> float | None:
    """Return seconds to wait after the failed attempt number `attempt` (from 1).

    Doubles each time, with jitter so that many workers do not come back together.

    Args:
        limits: The bounds.
        attempt: The attempt that failed.
        asked: What the server asked for (Retry-After).

    Returns:
        None when the server asks for more than `longest_wait`.
    """
    if asked is not None and asked > limits.longest_wait:
        return None
    doubled = min(limits.longest_wait, limits.first_wait * 2 ** (attempt - 1))
    return max(asked or 0.0, doubled * random.uniform(0.5, 1.0))


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None when it cannot be read."""
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
