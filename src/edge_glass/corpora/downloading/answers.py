"""Reading one HTTP answer: its status, its redirect and its body, never more than allowed."""

from __future__ import annotations

import zlib
from http import HTTPStatus
from typing import Final, NamedTuple

import httpcore2
import httpx2

from edge_glass.corpora.downloading.policy import retry_after

REDIRECTS: Final = (301, 302, 303, 307, 308)
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)  # 52x: Cloudflare's own


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
