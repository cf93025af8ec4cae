"""The way to a ``wss://`` upstream, from the dial until the certificate is judged, in memory."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from cryptography import x509

from tests.peers.certificates import Authority, KeyPair, names_of
from tests.relay.records import authority
from tests.relay.support import FakeTransport, settle
from tests.relay.world import Reactor
from wsrelay.config.model import PluginCall, PoolConfig, UpstreamConfig
from wsrelay.relay.dialer import Dialer
from wsrelay.relay.upstream import Problem, UpstreamConnection
from wsrelay.wire.response import Response

REQUEST = b"GET / HTTP/1.1\r\nCookie: secret\r\n\r\n"
ANSWER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
BEFORE = "connection lost before the answer: "
OTHER = f"{BEFORE}its certificate is for another host; tls_name says which to expect"
NAMELESS = f"{BEFORE}its certificate names no host: it needs a subjectAltName"
UNREADABLE = f"{BEFORE}its certificate is not understood: "
FOREIGN = f"{BEFORE}its certificate is not signed by an authority of tls_ca"

versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def pool(**options: Any) -> PoolConfig:
    given = {"tls_ca": authority().certificate()} | options
    return PoolConfig("pool", (), PluginCall("first"), **given)


class Transport(FakeTransport):
    """A connection in memory that can be tuned, as TLS believes of it."""

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802  Twisted's
        """Do nothing."""

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802  Twisted's
        """Do nothing."""


@define(eq=False)
class Upstream:
    """The upstream's end of one connection."""

    transport: FakeTransport
    incoming: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    heard: bytes = b""
    is_open: bool = False  # hands are shaken
    tls: ssl.SSLObject = field(init=False)

    def begin(self, pair: KeyPair, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.minimum_version = context.maximum_version = version
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def step(self) -> None:
        """Take what came, and answer it."""
        data = bytes(self.transport.received)
        self.transport.received.clear()
        self.incoming.write(data)
        try:
            if not self.is_open:
                self.tls.do_handshake()
                self.is_open = True
            self.heard += self.tls.read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # an alert
            return
        if self.heard:
            self.tls.write(ANSWER)
        self.transport.peer_sends(self.outgoing.read())


@define(eq=False)
class Dial:
    """One connection of the relay's, and what became of it."""

    upstream: Upstream
    answers: list[Response] = field(factory=list)
    problems: list[Problem] = field(factory=list)

    def upstream_connected(self) -> None:
        """Do nothing: the request has no body."""

    def upstream_interim(self, response: Response) -> None:
        raise AssertionError("there is none")

    def upstream_answered(self, response: Response, rest: bytes) -> None:
        self.answers.append(response)

    def upstream_failed(self, problem: Problem) -> None:
        self.problems.append(problem)

    def check_good(self) -> None:
        assert self.problems == []
        assert self.upstream.heard == REQUEST
        assert [each.status for each in self.answers] == [404]

    def check_refused(self, why: str) -> None:
        [problem] = self.problems
        assert problem.status == 502
        assert problem.what.startswith(why)
        assert self.upstream.heard == b""
        assert not self.upstream.is_open
        assert self.upstream.transport.lost
        assert self.answers == []


class World:
    """A reactor in memory, and one way to an upstream."""

    def __init__(self, config: PoolConfig, host: str = "127.0.0.1") -> None:
        self.reactor = Reactor()
        self.dialer = Dialer(self.reactor, UpstreamConfig("a", f"wss://{host}:9000"), config)

    def dial(self) -> Dial:
        """Dial, and let the upstream take the connection."""
        dial = Dial(Upstream(Transport()))
        connection = UpstreamConnection("a", self.reactor, dial, REQUEST, 5.0, 5.0)
        self.dialer.dial(connection)
        transport = dial.upstream.transport
        transport.protocol = self.reactor.dials[-1].factory.buildProtocol(transport.peer)
        transport.protocol.makeConnection(transport)
        return dial

    def run(self, *dials: Dial) -> None:
        """Let all that can happen happen."""
        for _ in range(10):
            self.reactor.advance(0)
            for dial in dials:
                settle(dial.upstream.transport)
                dial.upstream.step()

    def ask(self, pair: KeyPair, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Dial:
        """Have one request sent to an upstream that shows this certificate."""
        dial = self.dial()
        dial.upstream.begin(pair, version)
        self.run(dial)
        if dial.problems:
            assert self.reactor.getDelayedCalls() == []
        return dial


@versions
@pytest.mark.parametrize(
    ("host", "shown", "options"),
    [
        ("127.0.0.1", "127.0.0.1", {}),
        ("[::1]", "::1", {}),
        ("127.0.0.1", "up.test", {"tls_name": "up.test"}),
        ("127.0.0.1", "*.up.test", {"tls_name": "a.up.test"}),
        ("[::1]", "127.0.0.1", {"tls_name": "127.0.0.1"}),
        ("127.0.0.1", "other.test", {"tls_verify": False}),
    ],
)
def test_an_upstream_that_proves_who_it_is_gets_the_request(
    host: str, shown: str, options: dict[str, Any], version: ssl.TLSVersion
) -> None:
    World(pool(**options), host).ask(authority().issue(shown), version).check_good()


@versions
@pytest.mark.parametrize(
    ("name", "extensions", "why"),
    [
        ("127.0.0.1", [], NAMELESS),
        ("up.test", [], NAMELESS),
        ("127.0.0.1", [names_of()], NAMELESS),
        ("127.0.0.1", [names_of(b"up.test")], OTHER),
        ("up.test", [names_of(b"other.test")], OTHER),
        ("up.test", [names_of(b"up.test", b"*")], UNREADABLE),
        ("up.test", [names_of(b"up.test\0.evil.test")], UNREADABLE),
        ("up.test", [names_of(b"up.test", b"\xff")], UNREADABLE),
    ],
)
def test_any_other_upstream_is_refused_with_the_reason_before_it_gets_anything(
    name: str, extensions: list[x509.ExtensionType], why: str, version: ssl.TLSVersion
) -> None:
    pair = authority().issue_with("up.test", *extensions)
    World(pool(tls_name=name)).ask(pair, version).check_refused(why)
    World(pool(tls_name=name, tls_verify=False)).ask(pair, version).check_good()


def test_what_is_signed_by_nobody_known_is_refused_for_that_first(tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    for pair in (other.issue("127.0.0.1"), other.issue_with("nameless.test")):
        World(pool()).ask(pair).check_refused(FOREIGN)


@versions
def test_a_certificate_that_is_its_own_authority_must_name_the_host_too(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    for extensions, why in ((["127.0.0.1"], ""), (["up.test"], OTHER), ([], NAMELESS)):
        pair = Authority(tmp_path, "own").issue_itself(*extensions)
        dial = World(pool(tls_ca=pair.certificate)).ask(pair, version)
        dial.check_refused(why) if why else dial.check_good()


@versions
def test_each_connection_is_judged_on_its_own(version: ssl.TLSVersion) -> None:
    good, bad = authority().issue("127.0.0.1"), authority().issue_with("nameless.test")
    world = World(pool())
    world.ask(good, version).check_good()
    world.ask(bad, version).check_refused(NAMELESS)
    dials = [world.dial() for _ in range(4)]
    for dial, pair in zip(dials, (bad, good, bad, good), strict=True):
        dial.upstream.begin(pair, version)
    world.run(*dials)
    for dial, why in zip(dials, (NAMELESS, "", NAMELESS, ""), strict=True):
        dial.check_refused(why) if why else dial.check_good()
