"""PROXY headers on real sockets: from proxies, before TLS, and towards upstreams."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attrs import frozen

from tests.peers.certificates import Authority, KeyPair
from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    check_ended,
    converse,
    end_normally,
    frame,
    handshake,
    masked,
    read_data,
    switching,
)

pytestmark = pytest.mark.usefixtures("room_in_log")

SIGN = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 4433\r\n"
V2 = SIGN + b"\x21\x11\x00\x0f" + bytes([203, 0, 113, 9, 198, 51, 100, 1]) + b"\xdc\x04\x11\x51"
V2 += b"\x04\x00\x00"  # an extension that means nothing
V1_UNKNOWN, V2_LOCAL = b"PROXY UNKNOWN\r\n", SIGN + b"\x20\x00\x00\x00"

headers = pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
versions = pytest.mark.parametrize("version", ["v1", "v2"])


@frozen
class Papers:
    """The certificates of this module, all of one authority."""

    ca: Path
    relay: KeyPair
    local: KeyPair  # for 127.0.0.1

    def client_side(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def server_side(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.local.certificate, self.local.key)
        return context


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for sockets."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def papers(folder: Path) -> Papers:
    authority = Authority(folder)
    return Papers(
        authority.certificate(), authority.issue("relay.test"), authority.issue("127.0.0.1")
    )


@pytest.fixture(scope="module")
def unix_upstream(folder: Path) -> Iterator[RawUpstream]:
    listening = RawUpstream.unix(folder / "upstream.sock")
    yield listening
    listening.close()


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    unix_upstream: RawUpstream,
    papers: Papers,
    folder: Path,
) -> Iterator[RelayProcess]:
    wss = upstream.url.replace("ws:", "wss:")
    named = f"wss://localhost:{upstream.port}"
    trusting = "proxy_protocol = yes\ntrusted_proxies = 127.0.0.0/8"
    tls = f"certificate = {papers.relay.certificate}\nkey = {papers.relay.key}"
    rows = [
        f"[relay]\ndata_path = {request.param}",
        f"[listener:main]\nendpoint = {LOCAL}\n{trusting}\nhandshake_timeout = 1s",
        f"[listener:tls]\nendpoint = {LOCAL}\n{trusting}\n{tls}\nhandshake_timeout = 1s",
        f"[listener:unix]\nendpoint = unix:{request.param}.sock\nproxy_protocol = yes",
        "trusted_proxies = unix:",
        f"[listener:strange]\nendpoint = {LOCAL}\n{trusting.replace('127', '10')}",
        f"[listener:clear]\nendpoint = {LOCAL}",
        "[log]\nformat = json",
    ]
    pools = {"main": upstream.url, "wss": wss, "named": named, "unix": unix_upstream.url}
    for name, url in pools.items():
        for version in ("off", "v1", "v2"):
            path = "/" if (name, version) == ("main", "off") else f"/{name}/{version}"
            rows += [
                f"[route:{name}-{version}]\npath = {path}\npool = {name}-{version}",
                f"[pool:{name}-{version}]\nupstreams = {url}\nmax_fails = 0",
                f"proxy_protocol = {version}\ntls_ca = {papers.ca}\ntls_name = 127.0.0.1",
            ]
    with started_relay("\n".join(rows), folder) as process:
        yield process


def begin(stage: Stage, listener: str, header: bytes) -> Wire:
    client = stage.connect(listener)
    client.send(header)
    return client


def check_fields(head: list[bytes], proto: bytes) -> None:
    assert b"X-Forwarded-For: 203.0.113.9" in head
    assert b"X-Real-IP: 203.0.113.9" in head
    assert b"X-Forwarded-Port: 4433" in head
    assert b"X-Forwarded-Proto: " + proto in head


def last_event(stage: Stage, start: int, **facts: object) -> dict[str, object]:
    return stage.relay.wait_for_event(start, **facts)[1]


def line_count(stage: Stage) -> int:
    return len(stage.relay.log().splitlines())


@headers
def test_a_session_behind_a_header(stage: Stage, header: bytes) -> None:
    start = line_count(stage)
    check_fields(converse(begin(stage, "main", header), stage.upstream), b"http")
    event = last_event(stage, start, event="end", listener="main")
    assert event["client"] == "203.0.113.9:56324"


@headers
def test_a_session_behind_a_header_and_tls(stage: Stage, header: bytes, papers: Papers) -> None:
    start = line_count(stage)
    plain = begin(stage, "tls", header)
    sealed = papers.client_side().wrap_socket(plain.sock, server_hostname="relay.test")
    check_fields(converse(stage.keep(Wire(sealed)), stage.upstream), b"https")
    event = last_event(stage, start, event="end", listener="tls")
    assert event["client"] == "203.0.113.9:56324"


@headers
def test_a_header_may_be_in_pieces_and_in_one_with_all_that_follows(
    stage: Stage, header: bytes
) -> None:
    for slowly in (True, False):
        client = stage.connect("main")
        send = client.send_slowly if slowly else client.send
        send(header + handshake() + masked(TEXT, b"early"))
        other = stage.accept()
        check_fields(other.read_head().split(b"\r\n"), b"http")
        other.send(switching())
        assert read_data(other).payload == b"early"
        other.send(frame(TEXT, b"late"))
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        assert read_data(client).payload == b"late"
        end_normally(client, other)


@headers
def test_a_header_through_a_unix_socket(stage: Stage, header: bytes, folder: Path) -> None:
    (path,) = [each for each in folder.glob("*.sock") if each.stem in ("native", "python")]
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    client = stage.keep(Wire(sock))
    client.send(header)
    check_fields(converse(client, stage.upstream), b"http")


@pytest.mark.parametrize("header", [V1_UNKNOWN, V2_LOCAL], ids=["v1", "v2"])
def test_who_speaks_for_itself_is_who_it_is(stage: Stage, header: bytes) -> None:
    head = converse(begin(stage, "main", header), stage.upstream)
    assert b"X-Real-IP: 127.0.0.1" in head
    assert b"X-Forwarded-Port: %d" % stage.relay.ports["main"] in head


def test_who_is_not_trusted_gets_nothing_and_is_in_the_log(stage: Stage) -> None:
    start = line_count(stage)
    client = begin(stage, "strange", V1 + handshake())
    assert client.read_what_comes() == b""
    event = last_event(stage, start, event="refused", listener="strange")
    assert event["status"] == 403
    assert str(event["client"]).startswith("127.0.0.1:")
    assert "127.0.0.1 is none of the trusted_proxies of listener strange" in str(event["reason"])
    assert stage.upstream.is_alone()


@pytest.mark.parametrize("listener", ["main", "tls"])
@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (handshake(), 400, "does not begin with a PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "does not begin with a PROXY header"),
        (V1.replace(b" 4433", b""), 400, "The PROXY v1 line is not"),
        (V1[:-2], 408, "The PROXY header was not complete after 1 seconds"),
        (b"", 408, "The PROXY header was not complete after 1 seconds"),
    ],
)
def test_a_missing_a_broken_and_a_late_header_end_the_connection(
    stage: Stage, listener: str, data: bytes, status: int, words: str
) -> None:
    start = line_count(stage)
    client = begin(stage, listener, data)
    assert client.read_what_comes() == b""
    event = last_event(stage, start, event="refused", listener=listener)
    assert event["status"] == status
    assert words in str(event["reason"])
    assert stage.upstream.is_alone()


def test_a_handshake_of_tls_that_does_not_come_behind_a_header_ends(stage: Stage) -> None:
    start = line_count(stage)
    client = begin(stage, "tls", V1)
    assert client.read_what_comes() == b""
    event = last_event(stage, start, event="refused", listener="tls")
    assert event["client"] == "203.0.113.9:56324"
    assert event["status"] == 408


# towards upstreams


def expected(version: str, wire: Wire) -> bytes:
    """Return the header for the client at the other end of *wire*."""
    source, destination = wire.sock.getsockname(), wire.sock.getpeername()
    if version == "v1":
        line = f"PROXY TCP4 {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n"
        return line.encode()
    ends = [socket.inet_aton(each[0]) for each in (source, destination)]
    return SIGN + b"\x21\x11\x00\x0c" + struct.pack("!4s4sHH", *ends, source[1], destination[1])


def take(upstream: Wire, size: int) -> bytes:
    """Read exactly so much from a socket, before TLS takes it over."""
    return upstream.sock.recv(size, socket.MSG_WAITALL)


@versions
@pytest.mark.parametrize("pool", ["main", "wss", "named", "unix"])
def test_an_upstream_hears_first_who_connects(
    stage: Stage, version: str, pool: str, papers: Papers, unix_upstream: RawUpstream
) -> None:
    client = stage.connect("clear")
    client.send(handshake(f"/{pool}/{version}".encode()))
    other = stage.accept(unix_upstream if pool == "unix" else None)
    header = expected(version, client)
    assert take(other, len(header)) == header
    if pool in ("wss", "named"):
        sealed = papers.server_side().wrap_socket(other.sock, server_side=True)
        other = stage.keep(Wire(sealed))
    assert other.read_head().startswith(b"GET /" + pool.encode())
    other.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    for number in range(3):
        client.send(masked(TEXT, b"up %d" % number))
        assert read_data(other).payload == b"up %d" % number
        other.send(frame(TEXT, b"down %d" % number))
        assert read_data(client).payload == b"down %d" % number
    end_normally(client, other)


@versions
def test_no_pool_without_it_sends_one(stage: Stage, version: str) -> None:
    client = stage.ask(b"/main/off", listener="clear")
    assert stage.accept().read_head().startswith(b"GET /main/off")
    client.close()


@headers
def test_a_header_goes_through(stage: Stage, header: bytes) -> None:
    client = begin(stage, "main", header)
    client.send(handshake(b"/main/v1"))
    assert stage.accept().read_head().startswith(V1 + b"GET ")


@versions
def test_each_request_of_plain_http_has_a_connection_with_its_clients_header(
    stage: Stage, version: str
) -> None:
    """A kept connection that one client's header stands before must not serve another."""
    clients = [stage.connect("clear") for _ in range(2)]
    for _ in range(2):
        for client in clients:
            client.send(f"GET /main/{version} HTTP/1.1\r\nHost: r.test\r\n\r\n".encode())
            other = stage.accept()
            header = expected(version, client)
            assert other.read(len(header)) == header
            assert other.read_head().startswith(b"GET ")
            other.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert client.read_head().startswith(b"HTTP/1.1 200 ")
            assert client.read(2) == b"ok"


@headers
def test_every_request_on_a_kept_connection_is_the_headers_clients(
    stage: Stage, header: bytes
) -> None:
    client = begin(stage, "main", header)
    for _ in range(2):
        client.send(b"GET / HTTP/1.1\r\nHost: r.test\r\nX-Forwarded-For: 10.6.6.6\r\n\r\n")
        other = stage.accept()
        check_fields(other.read_head().split(b"\r\n"), b"http")
        other.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        assert client.read(2) == b"ok"


# health checks


@pytest.mark.parametrize(("version", "header"), [("v1", V1_UNKNOWN), ("v2", V2_LOCAL)])
@pytest.mark.parametrize("kind", ["tcp", "http path=/ok", "websocket"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_health_checks_send_one_that_speaks_for_the_relay(
    version: str, header: bytes, kind: str, scheme: str, papers: Papers, tmp_path: Path
) -> None:
    upstream = RawUpstream.tcp()
    text = (
        f"[listener:main]\nendpoint = {LOCAL}\n[route:main]\npool = main\n[pool:main]\n"
        f"upstreams = {scheme}://127.0.0.1:{upstream.port}\nproxy_protocol = {version}\n"
        f"tls_ca = {papers.ca}\nhealth_check = {kind} interval=100ms timeout=10s\n"
    )
    with started_relay(text, tmp_path):
        wire = upstream.accept()
        assert take(wire, len(header)) == header
        if scheme == "wss":
            wire = Wire(papers.server_side().wrap_socket(wire.sock, server_side=True))
        if kind == "tcp":
            assert wire.read_what_comes() == b""
        else:
            assert re.match(rb"GET /(ok)? HTTP/1.1\r\n", wire.read_head())
        wire.close()
    upstream.close()


def test_checks_on_a_port_of_their_own_send_none(tmp_path: Path) -> None:
    upstream = RawUpstream.tcp()
    text = (
        f"[listener:main]\nendpoint = {LOCAL}\n[route:main]\npool = main\n[pool:main]\n"
        f"upstreams = ws://127.0.0.1:{free_port()}\nproxy_protocol = v1\n"
        f"health_check = http port={upstream.port} interval=100ms timeout=10s\n"
    )
    with started_relay(text, tmp_path):
        wire = upstream.accept()
        assert wire.read_head().startswith(b"GET / ")
        wire.close()
    upstream.close()


# reload, and the end


def test_a_reload_changes_what_is_expected_and_what_is_sent(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    def ini(listener: str, pool: str) -> str:
        return (
            f"[listener:main]\nendpoint = {LOCAL}\n{listener}\n[route:main]\npool = main\n"
            f"[pool:main]\nupstreams = {upstream.url}\nmax_fails = 0\n{pool}\n"
        )

    proxied = "proxy_protocol = yes\ntrusted_proxies = 127.0.0.1"
    with started_relay(ini("", ""), tmp_path) as relay:
        stage = Stage(relay, upstream)
        old_client, old_upstream = stage.begin()
        relay.reload(ini(proxied, "proxy_protocol = v1"), "pool main: proxy_protocol changed")
        client = begin(stage, "main", V1)
        client.send(handshake())
        assert stage.accept().read_head().startswith(V1 + b"GET ")
        relay.reload(ini("", ""), "pool main: proxy_protocol changed")
        stage.works()
        end_normally(old_client, old_upstream)
        stage.close()


def test_who_has_not_sent_a_header_yet_does_not_hold_up_the_end(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    text = (
        f"[listener:main]\nendpoint = {LOCAL}\nproxy_protocol = yes\n"
        f"trusted_proxies = 127.0.0.1\nhandshake_timeout = 1h\n"
        f"[route:main]\npool = main\n[pool:main]\nupstreams = {upstream.url}\n"
    )
    with started_relay(text, tmp_path) as relay:
        stage = Stage(relay, upstream)
        client = begin(stage, "main", V1[:10])
        check_fields(converse(begin(stage, "main", V1), upstream), b"http")
        relay.terminate()
        check_ended(relay)
        assert client.read_what_comes() == b""
        stage.close()
