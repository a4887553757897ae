from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import tracemalloc
from dataclasses import replace

import pytest
from picture_server import BOMB, FAST, png

from edge_glass.corpora.downloading.fetching import Failed, Fetched, Fetcher, Kind, Limits, Picture, Stopped
from patience import join, wait_for


def fetch(url: str, sha256: str | None = None, limits: Limits = FAST) -> Fetched | Failed:
    return Fetcher(limits).fetch(Picture(url, sha256))


def test_a_picture(server):
    data = png(3)
    digest = hashlib.sha256(data).hexdigest()
    assert fetch(server.url("picture/3")) == Fetched(data, digest, 1)
    assert fetch(server.url("picture/3"), digest.upper()) == Fetched(data, digest, 1)
    assert server.agents == {FAST.user_agent}


def test_letters_outside_ascii(server):
    assert isinstance(fetch(server.url("picture/3?q=Grüße 貓")), Fetched)
    assert server.hits["picture/3?q=Gr%C3%BC%C3%9Fe%20%E8%B2%93"] == 1


@pytest.mark.parametrize(
    ("path", "reason", "kind", "attempts"),
    [
        ("html", "an HTML page, perhaps an error page", Kind.ANSWER, 1),
        ("empty", "the picture has no bytes", Kind.ANSWER, 1),
        ("status/404", "status 404 Not Found", Kind.ANSWER, 1),
        ("status/403", "status 403 Forbidden", Kind.ANSWER, 1),
        ("status/204", "status 204 No Content", Kind.ANSWER, 1),
        ("status/299", "status 299", Kind.ANSWER, 1),
        ("status/503", "status 503 Service Unavailable", Kind.BUSY, 3),
        ("failing/3", "status 500 Internal Server Error", Kind.BUSY, 3),
        ("long", "the connection broke (peer closed connection without sending complete", Kind.BUSY, 3),
        ("short", "the PNG data cannot be decoded", Kind.ANSWER, 3),
        ("cut/9", "the PNG data cannot be decoded", Kind.ANSWER, 3),
        ("hangup/9", "the connection broke (Server disconnected", Kind.BUSY, 3),
        ("circle", "more than 5 redirects", Kind.ANSWER, 1),
        ("nowhere", "status 302 without a target", Kind.ANSWER, 1),
        ("to/http://[::", "redirected to 'http://[::', which is not a URL", Kind.ANSWER, 1),
        ("to/file:///etc/passwd", "not a URL of the web", Kind.REFUSED, 1),
        ("huge", "larger than 0.191 MiB", Kind.REFUSED, 1),
        ("endless", "larger than 0.191 MiB", Kind.REFUSED, 1),
        ("bomb", "larger than 0.191 MiB", Kind.REFUSED, 1),
        ("brotli", "the answer is packed as 'br'", Kind.ANSWER, 1),
        ("packed/5", "the packed answer is cut short", Kind.BUSY, 3),
        ("busy/3600", "status 429 Too Many Requests; asks to come back in 3600 s", Kind.BUSY, 1),
    ],
)
def test_what_servers_do(server, path, reason, kind, attempts):
    result = fetch(server.url(path))
    assert isinstance(result, Failed)
    assert result.reason.startswith(reason) or reason in result.reason
    assert (result.kind, result.attempts) == (kind, attempts)


@pytest.mark.parametrize(
    ("path", "number", "attempts"),
    [("failing/2", 8, 3), ("cut/2", 5, 2), ("hangup/3", 6, 3), ("packed/0", 9, 1), ("to//picture/4", 4, 1)],
)
def test_what_ends_well(server, path, number, attempts):
    result = fetch(server.url(path))
    assert isinstance(result, Fetched), result
    assert (result.data, result.attempts) == (png(number), attempts)


def test_retry_after_is_respected_and_the_host_pauses(server):
    pauses = []
    fetcher = Fetcher(FAST, pause=lambda host, seconds: pauses.append((host, seconds)))
    assert isinstance(fetcher.fetch(Picture(server.url("busy/1"))), Fetched)
    first, second = server.times["busy/1"]
    assert second - first >= 1
    assert pauses == [("127.0.0.1", 1.0)]


def test_a_wrong_sha256(server):
    result = fetch(server.url("picture/1"), "0" * 64)
    assert isinstance(result, Failed) and result.kind == Kind.ANSWER
    assert result.reason.startswith(f"the SHA-256 is {hashlib.sha256(png(1)).hexdigest()}, published is 000")


@pytest.mark.parametrize("path", ["drip", "dripheaders"])
def test_a_server_that_drips_bytes_meets_the_deadline(server, path):
    """It would drip for ever."""
    result = fetch(server.url(path), limits=replace(FAST, total_seconds=0.6))
    assert result == Failed("took longer than 0.6 s", 1, Kind.BUSY)


def test_a_silent_server(server):
    """It would be silent for ever."""
    result = fetch(server.url("silent"), limits=replace(FAST, read_seconds=0.3))
    assert result == Failed("silent for 0.3 s", 3, Kind.BUSY)


def test_a_bomb_is_not_unpacked(server):
    assert len(BOMB) > FAST.max_bytes  # one that would be noticed by its packed size is no test
    limits = replace(FAST, max_bytes=2 * len(BOMB))
    tracemalloc.start()
    try:
        assert fetch(server.url("bomb"), limits=limits).kind == Kind.REFUSED
        assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    finally:
        tracemalloc.stop()


def test_redirects_are_counted(server):
    fetch(server.url("circle"), limits=replace(FAST, max_redirects=3))
    assert server.hits["circle"] == 4


def test_waits_count_for_the_deadline(server):
    limits = replace(FAST, first_wait=2, total_seconds=0.5)
    result = fetch(server.url("status/500"), limits=limits)
    assert result.reason == "status 500 Internal Server Error; the 0.5 s for one URL are used up"


def test_nobody_listens():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        result = fetch(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    assert result.kind == Kind.UNREACHABLE and result.attempts == 3
    assert result.reason.startswith("no connection (")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/a.png", "not a URL of the web"),
        ("file:///etc/passwd", "not a URL of the web"),
        ("picture.png", "not a URL of the web"),
        ("", "not a URL of the web"),
        ("http://", "not a URL of the web"),
        ("http://[::/a", "not a URL ("),
        ("http://a b/c", "not a URL ("),
        ("http://example.org:99999/", "not a URL ("),
        ("data:image/png;base64,AAAA", "not a URL of the web"),
    ],
)
def test_what_is_no_url(url, reason):
    result = fetch(url)
    assert result.reason.startswith(reason), result
    assert (result.kind, result.attempts) == (Kind.REFUSED, 1)


def test_a_host_that_does_not_exist():
    result = fetch("http://no-such-host.invalid/a.png")
    assert result.kind == Kind.UNREACHABLE and "no-such-host.invalid is not known" in result.reason


# Private addresses

PUBLIC_ONLY = replace(FAST, allow_private=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "[::ffff:127.0.0.1]"])
def test_this_machine_is_refused(server, host):
    result = fetch(server.url("picture/1", host), limits=PUBLIC_ONLY)
    assert result.kind == Kind.REFUSED and "is not public" in result.reason
    assert not server.hits


@pytest.fixture
def seeming_public(server, monkeypatch):
    """`public.example` has a public address as far as the check knows; packets to it reach our server."""
    lookups = []
    real, connect = socket.getaddrinfo, socket.create_connection

    def getaddrinfo(host, port, *args, **options):
        if host == "public.example":
            lookups.append(host)
            address = "1.1.1.1" if len(lookups) == 1 else "127.0.0.1"  # rebinding: private from now on
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
        return real(host, port, *args, **options)

    def create_connection(address, *args, **options):
        assert address[0] == "1.1.1.1", "a connection to an address that was not checked"
        return connect(("127.0.0.1", server.port), *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    return lookups


def test_the_connection_goes_to_the_address_that_was_checked(server, seeming_public):
    assert isinstance(fetch("http://public.example/picture/2", limits=PUBLIC_ONLY), Fetched)
    assert len(seeming_public) == 1


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{}/picture/1", "http://169.254.169.254/", "http://[::1]/"]
)
def test_a_redirect_to_a_private_address(server, seeming_public, target):
    result = fetch(f"http://public.example/to/{target.format(server.port)}", limits=PUBLIC_ONLY)
    assert result.kind == Kind.REFUSED and "is not public" in result.reason
    assert sum(server.hits.values()) == 1


def test_a_name_that_turns_private_at_a_redirect(server, seeming_public):
    """The second look-up gives 127.0.0.1: the check is repeated with every connection."""
    result = fetch("http://public.example/to/http://public.example:81/picture/1", limits=PUBLIC_ONLY)
    assert result.reason == "the address 127.0.0.1 of the host public.example is not public"
    assert len(seeming_public) == 2


def test_stopping_ends_waits(server):
    stop = threading.Event()
    fetcher = Fetcher(replace(FAST, first_wait=3600, longest_wait=3600, total_seconds=9000), stop)
    stopped = []

    def fetch_until_stopped() -> None:
        with pytest.raises(Stopped):
            fetcher.fetch(Picture(server.url("status/500")))
        stopped.append(True)

    thread = threading.Thread(target=fetch_until_stopped, daemon=True)
    thread.start()
    wait_for(lambda: server.hits["status/500"])
    stop.set()
    join(thread)
    assert stopped and server.hits["status/500"] == 1


# TLS


@pytest.fixture
def certified(server, tmp_path, monkeypatch):
    """The server speaks TLS as `pictures.example`, with a certificate that this machine trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=DNS:pictures.example", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        return real("127.0.0.1" if host.endswith(".example") else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return f"https://pictures.example:{server.port}"


def test_a_certificate_is_checked_against_the_name(certified, server):
    """Though the connection goes to a number, the certificate must be the name's."""
    assert isinstance(fetch(f"{certified}/picture/1"), Fetched)
    result = fetch(certified.replace("pictures", "other") + "/picture/1")
    assert result.kind == Kind.ANSWER and result.attempts == 1
    assert "certificate verify failed" in result.reason
    assert isinstance(fetch(f"{certified}/to/{certified}/picture/2"), Fetched)


def test_a_certificate_nobody_vouches_for(certified, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    result = fetch(f"{certified}/picture/1")
    assert (result.kind, result.attempts) == (Kind.ANSWER, 1) and "certificate" in result.reason


def test_the_deadline_holds_under_tls(certified):
    result = fetch(f"{certified}/drip", limits=replace(FAST, total_seconds=0.6))
    assert result == Failed("took longer than 0.6 s", 1, Kind.BUSY)
