"""A check in memory: the upstream is in the hands of a test, and so is the clock."""

from __future__ import annotations

import re
from typing import Any

from attrs import define
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionRefusedError as Refused
from typing_extensions import override

from tests.relay.support import FakeTransport, Frame, frames_in, settle
from tests.relay.world import Connector, Reactor
from wsrelay.config.lines import health_check
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.health.check import Result, Target, begin_check
from wsrelay.wire.response import accept_key

URL = "ws://192.0.2.1:9000"


def pool_with(line: str, **options: Any) -> PoolConfig:
    """Return a pool with this ``health_check``."""
    return PoolConfig("chat", health_check=health_check(line), **options)


@define(eq=False)
class Lingering(FakeTransport):
    """A connection whose end needs the peer's consent, as over TLS."""

    leaving: bool = False

    @override
    def loseConnection(self) -> None:
        self.leaving = True


class Scene:
    """A reactor in memory with the connections that were dialled on it."""

    make_transport: type[FakeTransport] = FakeTransport

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.transports: list[FakeTransport] = []

    @property
    def dials(self) -> list[Connector]:
        return self.reactor.dials

    def accept(self) -> FakeTransport:
        """Let the upstream take the last dial."""
        dial = self.dials[-1]
        assert not dial.over
        dial.over = True
        address = IPv4Address("TCP", dial.where, dial.port)
        transport = self.make_transport(peer=address)
        transport.protocol = dial.factory.buildProtocol(address)
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        self.settle()
        return transport

    def refuse(self) -> None:
        self.dials[-1].fail(Refused())
        self.settle()

    def send(self, data: bytes) -> None:
        self.transports[-1].peer_sends(data)
        self.settle()

    def end(self) -> None:
        self.transports[-1].peer_ends()
        self.settle()

    def reset(self) -> None:
        self.transports[-1].peer_resets()
        self.settle()

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        self.settle()

    def settle(self) -> None:
        settle(*self.transports)

    def assert_clean(self) -> None:
        """Check that nothing is left: no timer, no connection, no dial."""
        assert self.reactor.getDelayedCalls() == []
        assert all(each.lost for each in self.transports)
        assert all(dial.over for dial in self.dials)


class Checking(Scene):
    """One check, begun."""

    def __init__(self, line: str, url: str = URL, **options: Any) -> None:
        super().__init__()
        self.results: list[Result] = []
        upstream = UpstreamConfig("a", url)
        target = Target.make(self.reactor, upstream, pool_with(line, **options))
        self.check = begin_check(target, self.results.append)

    @property
    def heard(self) -> bytes:
        """What the upstream has got."""
        return bytes(self.transports[-1].received)

    def switching(self, *more: bytes, key: bytes = b"") -> bytes:
        """Return the 101 that answers the check's handshake, or one for another *key*."""
        match = re.search(rb"\r\nSec-WebSocket-Key: (\S+)\r\n", self.heard)
        assert match
        rows = (
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept_key(key or match[1]),
            *more,
        )
        return b"\r\n".join(rows) + b"\r\n\r\n"

    def frames(self) -> list[Frame]:
        """Return the frames that the upstream has got behind the handshake."""
        head, _, data = self.heard.partition(b"\r\n\r\n")
        assert head
        frames, rest = frames_in(data)
        assert rest == b""
        return frames

    def assert_result(self, ok: bool, what: str, seconds: float = 0.0) -> None:
        """Check the one result, and that nothing is left of the check."""
        assert self.results == [Result(ok, what, seconds)]
        assert self.check.is_over
        self.assert_clean()
