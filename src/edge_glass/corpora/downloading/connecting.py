"""Which addresses a download may reach; sockets to these only, closed when the time is up."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import httpcore2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64, RFC 6052: the last 32 bits are IPv4
_RELAY: Final = ipaddress.IPv4Network("192.88.99.0/24")  # 6to4 relays, withdrawn by RFC 7526


class AddressRefused(Exception):
    """A host has no address that may be connected to."""


class UnknownHost(Exception):
    """A host name could not be resolved; `passing` when the resolver says that it may work later."""

    def __init__(self, message: str, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


def is_public(address: Address) -> bool:
    """Return whether an address is of the public internet, also when it carries an IPv4 address inside."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        return address in _GLOBAL_UNICAST and address.is_global and address.teredo is None
    return address.is_global and not (address.is_multicast or address.is_reserved or address in _RELAY)


def allowed_addresses(host: str, port: int, allow_private: bool = False) -> list[str]:
    """Resolve a host; the addresses to connect to, in the resolver's order.

    Raises:
        UnknownHost: The name cannot be resolved.
        AddressRefused: None of its addresses is public.
    """
    try:
        # How long the system's resolver takes is its own setting (resolv.conf), not a limit of ours.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise UnknownHost(f"the host {host} is not known", error.errno == socket.EAI_AGAIN) from error
    except (OSError, UnicodeError) as error:
        raise UnknownHost(f"{host!r} is no host name ({error})", False) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if allow_private or is_public(ipaddress.ip_address(address))]
    if not allowed:
        named = "" if host == addresses[0] else f" of the host {host}"
        raise AddressRefused(f"the address {addresses[0]}{named} is not public")
    return allowed


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

    Args:
        allow_private: Also connect to this machine and its own network.
    """

    def __init__(self, allow_private: bool = False) -> None:
        self.allow_private = allow_private
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
        for address in allowed_addresses(host, port, self.allow_private):
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
