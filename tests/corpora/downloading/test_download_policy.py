from __future__ import annotations

import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from edge_glass.corpora.downloading.connecting import (
    AddressRefused,
    UnknownHost,
    allowed_addresses,
    is_public,
)
from edge_glass.corpora.downloading.fetching import Limits, retry_after, retry_wait


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"])
def test_the_public_internet(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # cloud metadata
        "100.64.0.1",  # carrier NAT
        "0.0.0.0",
        "192.0.0.1",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001:0:102:304::1",  # Teredo
    ],
)
def test_all_else_is_refused(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f.1", "2130706433", "::1"])
def test_spellings_of_this_machine(host):
    with pytest.raises(AddressRefused, match="is not public"):
        allowed_addresses(host, 80)


def test_this_machine_when_allowed():
    assert allowed_addresses("localhost", 80, allow_private=True)


def test_public_addresses_of_a_mixed_host_remain(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("10.0.0.1", "1.1.1.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    assert allowed_addresses("mixed.example", 80) == ["1.1.1.1"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example", "x..y"])
def test_hosts_that_are_not_there(host):
    with pytest.raises(UnknownHost):
        allowed_addresses(host, 80)


def test_waits_double_up_to_the_longest():
    limits = Limits(first_wait=1, longest_wait=10)
    for attempt, full in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)]:
        waits = [retry_wait(limits, attempt, None) for _ in range(50)]
        assert all(full / 2 <= wait <= full for wait in waits) and len(set(waits)) > 1


def test_a_server_may_ask_for_more_up_to_the_longest():
    limits = Limits(first_wait=1, longest_wait=10)
    assert retry_wait(limits, 1, 7) == 7
    assert retry_wait(limits, 1, 11) is None


def test_retry_after_as_number_and_as_date():
    assert retry_after("30") == 30
    assert retry_after("-5") == 0
    later = datetime.now(UTC) + timedelta(seconds=60)
    assert 55 < retry_after(format_datetime(later, usegmt=True)) <= 60
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    assert retry_after("soon") is None and retry_after(None) is None and retry_after("") is None
