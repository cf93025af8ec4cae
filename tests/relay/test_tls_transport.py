"""The TLS below a client, in memory: whose certificate it is, and what is no TLS at all."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from typing_extensions import override

from tests.peers.certificates import Authority, KeyPair
from tests.relay.support import CLIENT_ADDRESS, FakeTransport
from tests.relay.test_tls import Transport
from tests.relay.world import REQUEST, SWITCHING, World, answer_in
from wsrelay.config.model import ListenerConfig
from wsrelay.relay import tls_transport
from wsrelay.relay.listener_tls import listener_tls
from wsrelay.relay.tls_transport import ClientTLS, tls_factory

PLAIN = b"GET /chat HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"

versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@define
class Papers:
    folder: Path
    ca: Path
    own: KeyPair
    client: KeyPair


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    authority = Authority(folder)
    client = authority.issue("client.test")
    return Papers(folder, authority.certificate(), authority.issue("own.test"), client)


@define(eq=False)
class Client:
    """The client's end of one connection."""

    transport: FakeTransport
    context: ssl.SSLContext
    ticket: ssl.SSLSession | None = None
    heard: bytes = b""
    incoming: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    tls: ssl.SSLObject = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tls = self.context.wrap_bio(
            self.incoming, self.outgoing, server_hostname="own.test", session=self.ticket
        )

    def step(self, say: bytes = b"") -> None:
        self.incoming.write(bytes(self.transport.received))
        self.transport.received.clear()
        try:
            self.tls.do_handshake()
            if say:
                self.tls.write(say)
            self.heard += self.tls.read()
        except ssl.SSLWantReadError:
            pass
        if self.outgoing.pending and not self.transport.lost:
            self.transport.peer_sends(self.outgoing.read())


class SecureWorld(World):
    """A relay whose listener speaks TLS."""

    def __init__(self, papers: Papers, **options: Any) -> None:
        pair = papers.own
        config = ListenerConfig("web", "tcp:1", pair.certificate, pair.key, **options)
        super().__init__(listener=config)
        tls = listener_tls(config)
        assert tls is not None
        self.factory = tls_factory(tls, self.listener, self.reactor)

    @override
    def client(self, address: Any = CLIENT_ADDRESS) -> FakeTransport:
        transport = Transport(peer=address)
        transport.protocol = self.factory.buildProtocol(address)
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        return transport

    def secure(self, context: ssl.SSLContext, ticket: ssl.SSLSession | None = None) -> Client:
        """Let a client connect, shake hands and ask."""
        client = Client(self.client(), context, ticket)
        for say in (b"", b"", REQUEST, b""):
            client.step(say)
            self.advance(0)
        return client


def context_of(papers: Papers, version: ssl.TLSVersion, *, shows: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(papers.ca))
    context.minimum_version = context.maximum_version = version
    if shows:
        context.load_cert_chain(papers.client.certificate, papers.client.key)
    return context


def told(world: SecureWorld) -> list[bytes]:
    """Return what the upstream that was dialled last is told of the client's certificate."""
    head = bytes(world.accept().received)
    return [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-ssl")]


SUCCESS = [b"X-SSL-Client-Verify: SUCCESS", b"X-SSL-Client-S-DN: CN=client.test"]
NONE = [b"X-SSL-Client-Verify: NONE"]


@versions
@pytest.mark.parametrize(
    ("how", "shows", "wanted"),
    [
        ("required", True, SUCCESS),
        ("optional", True, SUCCESS),
        ("optional", False, NONE),
        ("off", True, []),
        ("off", False, []),
    ],
)
def test_an_upstream_learns_whose_certificate_it_was(
    papers: Papers, version: ssl.TLSVersion, how: str, shows: bool, wanted: list[bytes]
) -> None:
    options = {} if how == "off" else {"client_ca": papers.ca, "client_certificate": how}
    world = SecureWorld(papers, **options)
    world.secure(context_of(papers, version, shows=shows))
    assert told(world) == wanted


@versions
def test_a_resumed_session_says_the_same(papers: Papers, version: ssl.TLSVersion) -> None:
    world = SecureWorld(papers, client_ca=papers.ca, client_certificate="required")
    context = context_of(papers, version, shows=True)
    first = world.secure(context)
    assert told(world) == SUCCESS
    again = world.secure(context, first.tls.session)
    assert again.tls.session_reused
    assert told(world) == SUCCESS


@versions
def test_a_session_is_not_resumed_for_longer_than_the_certificate_is_good(
    papers: Papers, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SecureWorld(papers, client_ca=papers.ca, client_certificate="optional")
    context = context_of(papers, version, shows=True)
    first = world.secure(context)
    dials = len(world.dials)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    monkeypatch.setattr(tls_transport, "_now", lambda: later)
    again = world.secure(context, first.tls.session)
    assert len(world.dials) == dials  # what it asked for was not read
    assert again.heard == b""
    why = "TLS failed: the certificate has expired since the session began."
    assert world.observer.refusals == [(400, why)]
    assert again.transport.lost


def test_a_connection_from_before_certificates_were_asked_for_has_shown_none(
    papers: Papers,
) -> None:
    world = SecureWorld(papers)
    client = Client(world.client(), context_of(papers, ssl.TLSVersion.TLSv1_3, shows=True))
    for _ in range(3):
        client.step()
        world.advance(0)
    world.listener.config = ListenerConfig("web", "tcp:1", client_certificate="required")
    client.step(REQUEST)
    world.advance(0)
    assert told(world) == NONE


def test_a_session_works_through_it(papers: Papers) -> None:
    world = SecureWorld(papers)
    client = world.secure(context_of(papers, ssl.TLSVersion.TLSv1_3, shows=False))
    upstream = world.accept()
    world.send(upstream, SWITCHING + b"\x81\x02hi")
    world.advance(0)
    client.step()
    assert client.heard.startswith(b"HTTP/1.1 101 ")
    assert client.heard.endswith(b"\r\n\r\n\x81\x02hi")


# what is no TLS


def test_after_the_first_bytes_reads_go_where_twisted_has_them(papers: Papers) -> None:
    world = SecureWorld(papers)
    client = Client(world.client(), context_of(papers, ssl.TLSVersion.TLSv1_3, shows=False))
    transport = client.transport.protocol
    assert "dataReceived" in vars(transport)
    client.step()
    world.settle()
    assert "dataReceived" not in vars(transport)
    assert "dataReceived" not in vars(ClientTLS)


@pytest.mark.parametrize("pieces", [[PLAIN], [b"G", b"E", b"T", b" "], [PLAIN[:2], PLAIN[2:]]])
def test_a_plain_request_is_answered_in_plain_and_ends(papers: Papers, pieces: list[bytes]) -> None:
    world = SecureWorld(papers)
    client = world.client()
    for piece in pieces:
        assert world.observer.refusals == []
        world.send(client, piece)
    world.send(client, b"and a body")
    assert answer_in(client).status == 400
    assert answer_in(client).header(b"Connection") == b"close"
    assert world.observer.refusals == [(400, "plain request on a TLS listener")]
    world.leave_all()
    world.assert_clean()
    assert len(world.observer.refusals) == 1
    assert world.factory.protocols == {}


def test_a_plain_client_that_does_not_leave_is_thrown_out(papers: Papers) -> None:
    world = SecureWorld(papers)
    client = world.client()
    world.send(client, PLAIN)
    world.advance(4.9)
    world.send(client, b"more")
    assert not client.lost
    world.advance(0.2)
    assert client.aborted
    world.assert_clean()


@pytest.mark.parametrize("data", [b"", b"GE", b"A" * 20])
def test_half_a_method_is_not_waited_for_any_longer_than_tls(papers: Papers, data: bytes) -> None:
    world = SecureWorld(papers)
    client = world.client()
    if data:
        world.send(client, data)
    world.advance(9.9)
    assert not client.lost
    world.advance(0.2)
    assert client.aborted
    assert [status for status, _ in world.observer.refusals] == [408]
    world.assert_clean()


@pytest.mark.parametrize("data", [b"A" * 21, b"get ", b"\0", b"G\0", b"AB ", b"\x80\x2e\x01"])
def test_what_is_neither_tls_nor_http_is_for_openssl_to_refuse(papers: Papers, data: bytes) -> None:
    world = SecureWorld(papers)
    client = world.client()
    world.send(client, data + b" " * 100)
    assert b"HTTP" not in client.received
    [(status, why)] = world.observer.refusals
    assert status == 400
    assert why.startswith("TLS failed: ")
    world.assert_clean()


def test_letters_are_not_collected_without_end(papers: Papers) -> None:
    world = SecureWorld(papers)
    client = world.client()
    for _ in range(tls_transport.LONGEST_METHOD):
        world.send(client, b"A")
    assert world.observer.refusals == []
    world.send(client, b"A")
    assert client.lost
    world.assert_clean()


@pytest.mark.parametrize("data", [b"", b"GE", PLAIN, b"\x16"])
def test_nothing_is_left_of_a_client_that_goes(papers: Papers, data: bytes) -> None:
    world = SecureWorld(papers)
    client = world.client()
    transport = client.protocol
    if data:
        world.send(client, data)
    world.reset(client)
    world.assert_clean()
    assert world.factory.protocols == {}
    assert "dataReceived" not in vars(transport)  # a circle
