"""A real HTTP server on this machine that behaves as badly as the internet does."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from edge_glass.corpora.downloading.fetching import Limits

FAST = Limits(
    workers=4,
    attempts=3,
    connect_seconds=60,
    read_seconds=60,
    total_seconds=600,
    max_bytes=200_000,
    first_wait=0.02,
    longest_wait=2,
    allow_private=True,
)

BOMB = gzip.compress(bytes(64 * 2**20), 1)


def png(number: int = 0, size: int = 16) -> bytes:
    """A small picture that differs by number."""
    colour = (number % 256, number // 256 % 256, 77)
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return buffer.getvalue()


class PictureServer:
    """`/picture/N` is `png(N)`; the other paths are the methods of `Handler` by name."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.agents: set[str] = set()
        self.active = self.most_active = 0
        self.delay = 0.0
        self.most_answered = math.inf  # of different paths; whoever asks for more waits until it is raised
        self.closing = threading.Event()
        self.lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"


@contextmanager
def picture_server() -> Iterator[PictureServer]:
    server = PictureServer()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.server.shutdown()
        server.server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    owner: PictureServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # clients that were killed
            super().handle()

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.strip("/")
        name, _, rest = path.partition("/")
        with self.owner.lock:
            self.owner.hits[path] += 1
            self.owner.times.setdefault(path, []).append(time.monotonic())
            self.owner.agents.add(self.headers["User-Agent"])
            self.owner.active += 1
            self.owner.most_active = max(self.owner.most_active, self.owner.active)
            count = self.owner.hits[path]
        try:
            method: Callable[[str, int], None] = getattr(self, f"path_{name.split('?')[0]}")
            method(rest, count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.owner.lock:
                self.owner.active -= 1

    def answer(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def unmeasured(self, **headers: str) -> None:
        self.send_response(200)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def path_picture(self, rest: str, count: int) -> None:
        self.owner.closing.wait(self.owner.delay)
        while len(self.owner.hits) > self.owner.most_answered and not self.owner.closing.wait(0.01):
            pass
        self.answer(png(int(rest.split("?")[0])), Content_Type="image/png")

    def path_named(self, rest: str, count: int) -> None:
        self.answer(png(1))

    def path_html(self, rest: str, count: int) -> None:
        self.answer(b"<!DOCTYPE html><html>This image has moved.</html>", Content_Type="image/png")

    def path_empty(self, rest: str, count: int) -> None:
        self.answer(b"")

    def path_long(self, rest: str, count: int) -> None:
        """Promises more than it sends."""
        self.answer(png(), length=len(png()) + 100)
        self.close_connection = True

    def path_short(self, rest: str, count: int) -> None:
        """Promises less than the picture has."""
        self.answer(png(size=64), length=60)
        self.close_connection = True

    def path_cut(self, rest: str, count: int) -> None:
        """No length at all, and the connection ends in the middle; whole from the visit `rest` on."""
        self.unmeasured()
        self.wfile.write(png(5) if count >= int(rest) else png(5)[:-30])

    def path_hangup(self, rest: str, count: int) -> None:
        """Closes without a word; answers from the visit `rest` on."""
        self.close_connection = True
        if count >= int(rest):
            self.answer(png(6))

    def path_drip(self, rest: str, count: int) -> None:
        """One byte at a time, each well within the time for one read."""
        self.unmeasured()
        while not self.owner.closing.wait(0.05):
            self.wfile.write(b"X")
            self.wfile.flush()

    def path_dripheaders(self, rest: str, count: int) -> None:
        """The same with the headers."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.owner.closing.wait(0.05):
            self.wfile.write(b"X")
            self.wfile.flush()

    def path_silent(self, rest: str, count: int) -> None:
        self.close_connection = True
        self.owner.closing.wait()

    def path_circle(self, rest: str, count: int) -> None:
        self.answer(b"", 302, Location="/circle")

    def path_to(self, rest: str, count: int) -> None:
        """Redirects to whatever is asked for."""
        self.answer(b"", 301, Location=rest)

    def path_nowhere(self, rest: str, count: int) -> None:
        self.answer(b"", 302)

    def path_status(self, rest: str, count: int) -> None:
        self.answer(b"no", int(rest))

    def path_busy(self, rest: str, count: int) -> None:
        """429 with Retry-After `rest` at the first visit, then a picture."""
        if count == 1:
            self.answer(b"", 429, Retry_After=rest)
        else:
            self.answer(png(7))

    def path_failing(self, rest: str, count: int) -> None:
        """500 for `rest` visits, then a picture."""
        self.answer(b"", 500) if count <= int(rest) else self.answer(png(8))

    def path_endless(self, rest: str, count: int) -> None:
        """A body without a length that does not end."""
        self.unmeasured()
        while not self.owner.closing.is_set():
            self.wfile.write(bytes(65536))

    def path_huge(self, rest: str, count: int) -> None:
        self.unmeasured_length(10**12)

    def unmeasured_length(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.close_connection = True

    def path_bomb(self, rest: str, count: int) -> None:
        """Few bytes that unpack to 64 MB."""
        self.answer(BOMB, Content_Encoding="gzip")

    def path_packed(self, rest: str, count: int) -> None:
        data = gzip.compress(png(9))
        self.answer(data[: -int(rest)] if rest != "0" else data, Content_Encoding="gzip")

    def path_brotli(self, rest: str, count: int) -> None:
        self.answer(b"?", Content_Encoding="br")
