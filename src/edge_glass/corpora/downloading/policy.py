"""What a download may take, which addresses it may reach, and how long it waits between attempts."""

from __future__ import annotations

import ipaddress
import random
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from edge_glass import __version__

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64, RFC 6052: the last 32 bits are IPv4
_RELAY: Final = ipaddress.IPv4Network("192.88.99.0/24")  # 6to4 relays, withdrawn by RFC 7526


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
