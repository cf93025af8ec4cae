"""TLS with OpenSSL's own client and server as peers: new keys, renegotiation, ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.peers.certificates import Authority, KeyPair
from tests.support import Process, RelayProcess, free_port, require_program, started_relay
from tests.system.support import (
    CLOSE,
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    close_payload,
    frame,
    handshake,
    masked,
    read_data,
    switching,
    wait_until,
)

pytestmark = pytest.mark.peers


@frozen
class Papers:
    """The certificates of this module, and where ``s_server`` listens."""

    ca: Path
    pair: KeyPair
    port: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def papers(folder: Path) -> Papers:
    authority = Authority(folder)
    return Papers(authority.certificate(), authority.issue("127.0.0.1"), free_port())


@pytest.fixture(scope="module")
def relay(upstream: RawUpstream, papers: Papers, folder: Path) -> Iterator[RelayProcess]:

    config = "\n".join(
        [
            "[relay]\ndata_path = native",
            f"[listener:tls]\nendpoint = {LOCAL}",
            f"certificate = {papers.pair.certificate}\nkey = {papers.pair.key}",
            f"[listener:clear]\nendpoint = {LOCAL}",
            "[route:plain]\npool = plain\nhttp = no\nclose_timeout = 1s",
            f"[pool:plain]\nmax_fails = 0\nupstreams = {upstream.url}",
            "[route:secure]\npath = /secure\npool = secure\nhttp = no\nclose_timeout = 1s",
            f"[pool:secure]\nmax_fails = 0\nupstreams = wss://127.0.0.1:{papers.port}",
            f"tls_ca = {papers.ca}",
            "[log]\nformat = json",
        ]
    )
    with started_relay(config, folder) as process:
        yield process


class Shell(Process):
    """``openssl s_client`` or ``s_server``, which take commands between the data."""

    def __init__(self, *arguments: str | Path) -> None:
        super().__init__([require_program("openssl"), *arguments])

    def say(self, data: bytes) -> None:
        """Let it send data."""
        assert self._popen.stdin is not None
        self._popen.stdin.buffer.write(data)
        self._popen.stdin.buffer.flush()

    def hear(self, text: str) -> None:
        """Wait until it has received, or said of itself, something."""
        self.wait_for_line(lambda line: text in line, what=text)


def s_client(stage: Stage, papers: Papers, *arguments: str) -> Shell:
    port = stage.relay.ports["tls"]
    return Shell(*("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", papers.ca, *arguments))


def begin(stage: Stage, client: Shell) -> Wire:
    """Open a session of *client* with the raw upstream."""
    client.hear("---")
    client.say(handshake())
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    client.hear("101 Switching")
    return upstream


@contextlib.contextmanager
def s_server(stage: Stage, papers: Papers, *arguments: str) -> Iterator[tuple[Shell, Wire]]:
    """Run ``s_server`` as the upstream of a session that a plain client has opened."""
    pair = ("-cert", papers.pair.certificate, "-key", papers.pair.key)
    with Shell("s_server", "-accept", f"127.0.0.1:{papers.port}", *pair, *arguments) as server:
        server.hear("ACCEPT")
        client = stage.connect("clear")
        client.send(handshake(b"/secure"))
        server.hear("X-Request-ID")
        server.say(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        yield server, client


def to_server(text: bytes) -> bytes:
    """Return a client's frame that ``s_server`` shows as a line; it is masked with zeros."""
    return frame(TEXT, text + b"\n", mask=bytes(4))


def test_a_client_may_change_its_keys_often_and_ask_for_new_ones(
    stage: Stage, papers: Papers
) -> None:
    with s_client(stage, papers, "-tls1_3") as client:
        upstream = begin(stage, client)
        for number in range(20):
            text = b"%d times" % number
            client.say(b"kK"[number % 2 :][:1] + b"\n")
            wait_until(lambda n=number: client.log().count("KEYUPDATE") > n, "a new key")
            client.say(masked(TEXT, text))
            assert read_data(upstream).payload == text
            upstream.send(frame(TEXT, b"again " + text + b"\n"))
            client.hear(f"again {text.decode()}")
        client.say(masked(CLOSE, close_payload(1000)))
        assert read_data(upstream).close_code == 1000


def test_an_upstream_may_change_its_keys_often_and_ask_for_new_ones(
    stage: Stage, papers: Papers
) -> None:
    with s_server(stage, papers, "-tls1_3") as (server, client):
        for number in range(20):
            text = b"%d times" % number
            server.say(b"kK"[number % 2 :][:1] + b"\n")
            client.send(to_server(text))
            server.hear(text.decode())  # it takes orders first
            server.say(frame(TEXT, b"again " + text))
            assert read_data(client).payload == b"again " + text
        assert server.log().count("SSL_do_handshake -> 1") == 20


def test_a_client_that_wants_to_renegotiate_is_refused_and_leaves(
    stage: Stage, papers: Papers
) -> None:
    with s_client(stage, papers, "-tls1_2") as client:
        upstream = begin(stage, client)
        client.say(masked(TEXT, b"before"))
        assert read_data(upstream).payload == b"before"
        client.say(b"R\n")
        client.hear("no renegotiation")  # which OpenSSL takes for the end
        assert read_data(upstream).close_code == 1001


def test_an_upstream_that_wants_to_renegotiate_is_refused_and_leaves(
    stage: Stage, papers: Papers
) -> None:
    with s_server(stage, papers, "-tls1_2") as (server, client):
        server.say(frame(TEXT, b"before"))
        assert read_data(client).payload == b"before"
        server.say(b"r\n")
        server.hear("SSL_do_handshake -> 1")
        assert read_data(client).close_code == 1011
        server.hear("no renegotiation")  # which OpenSSL takes for the end


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_an_upstream_that_quits_is_1011(stage: Stage, papers: Papers, version: str) -> None:
    with s_server(stage, papers, version) as (server, client):
        server.say(b"Q\n")
        assert read_data(client).close_code == 1011


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_that_quits_is_1001(stage: Stage, papers: Papers, version: str) -> None:
    with s_client(stage, papers, version) as client:
        upstream = begin(stage, client)
        client.say(b"Q\n")
        assert client.wait() == 0
        assert read_data(upstream).close_code == 1001
