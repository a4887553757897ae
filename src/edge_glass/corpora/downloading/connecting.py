"""Sockets of a download: opened to checked addresses only, and closed when the time is up."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore2

from edge_glass.corpora.downloading.policy import Limits, allowed_addresses


class _Clock(threading.local):
    """The deadline of the URL that this thread is fetching."""

    deadline: float | None = None

    def left(self, timeout: float | None) -> float:
        """Return seconds that one operation may take; 0 or less when the time is up."""
        timeout = 3600.0 if timeout is None else timeout
        return timeout if self.deadline is None else min(timeout, self.deadline - time.monotonic())


class CheckedBackend(httpcore2.NetworkBackend):
    """Opens connections for httpcore2.

    A name is resolved once, here, and the connection goes to an address that passed the check: a name server
    that gives another answer the next time (DNS rebinding) changes nothing. Redirects come through here too.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._plain = httpcore2.SyncBackend()
        self._clock = _Clock()

    @contextlib.contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Within the block, all that this thread sends and receives ends at `deadline` (time.monotonic)."""
        self._clock.deadline = deadline
        try:
            yield
        finally:
            self._clock.deadline = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first allowed address of `host` that answers.

        Raises:
            UnknownHost, AddressRefused: As `allowed_addresses`.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: No address answers.
        """
        problem: Exception | None = None
        for address in allowed_addresses(host, port, self.limits.allow_private):
            seconds = self._clock.left(timeout)
            if seconds <= 0:
                break
            try:
                stream = self._plain.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
            else:
                return _TimedStream(stream, self._clock)
        raise problem or httpcore2.ConnectTimeout("no time is left")


class _TimedStream(httpcore2.NetworkStream):
    """A connection whose every operation also ends at the deadline: dripping bytes gains nothing."""

    def __init__(self, stream: httpcore2.NetworkStream, clock: _Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        seconds = self._clock.left(timeout)
        if seconds <= 0:
            raise httpcore2.ReadTimeout("no time is left")
        return self._stream.read(max_bytes, seconds)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        seconds = self._clock.left(timeout)
        if seconds <= 0:
            raise httpcore2.WriteTimeout("no time is left")
        self._stream.write(buffer, seconds)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        seconds = self._clock.left(timeout)
        if seconds <= 0:
            raise httpcore2.ConnectTimeout("no time is left")
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
