"""A whole relay in memory: clients, upstreams that can be dialled, and a clock."""

# ruff: noqa: N802, N803  (camelCase here is Twisted's: these stand in for its objects)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import UserError
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.relay.support import CLIENT_ADDRESS, FakeTransport, frames_in, settle
from wsrelay.config.model import (
    ListenerConfig,
    PluginCall,
    PoolConfig,
    RelayConfig,
    RouteConfig,
    UpstreamConfig,
)
from wsrelay.interfaces import IBalancer
from wsrelay.pools.pool import Upstream
from wsrelay.relay.facts import Exchanged, Facts, Nobody
from wsrelay.relay.pump import Side
from wsrelay.relay.relay import Relay
from wsrelay.relay.session import Session
from wsrelay.wire.response import accept_key

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: chat.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"User-Agent: test\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + accept_key(KEY) + b"\r\n\r\n"
)
UPSTREAMS = tuple(
    UpstreamConfig(name, f"ws://192.0.2.10{number}:9000") for number, name in enumerate("abcd")
)
ROUTE = RouteConfig("chat", "pool", keepalive=None)


@define(eq=False)
class Connector:
    """A connection attempt; it fails at once when it is called off, as a real one does."""

    where: str
    port: int
    factory: Any
    called_off: bool = False
    over: bool = False

    def disconnect(self) -> None:
        self.stopConnecting()

    def getDestination(self) -> IAddress:
        return IPv4Address("TCP", self.where, self.port)

    def stopConnecting(self) -> None:
        self.called_off = True
        self.fail(UserError())

    def fail(self, error: Exception) -> None:
        if not self.over:
            self.over = True
            self.factory.clientConnectionFailed(self, Failure(error))


class Reactor(MemoryReactorClock):
    """Remembers every dial, and lets a test say what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.dials: list[Connector] = []
        self._timers_made = (0.0, 0)

    def callLater(self, when: float, what: Any, *args: Any, **kwargs: Any) -> Any:
        at, count = self._timers_made
        self._timers_made = (self.seconds(), count + 1 if at == self.seconds() else 0)
        if count > 1000:
            raise AssertionError("a timer makes itself anew without end, and time stands still")
        return super().callLater(when, what, *args, **kwargs)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        return self._dial(Connector(host, port, factory))

    def connectUNIX(
        self, address: str, factory: Any, timeout: float = 30, checkPID: int = 0
    ) -> Any:
        return self._dial(Connector(address, 0, factory))

    def _dial(self, connector: Connector) -> Connector:
        self.dials.append(connector)
        connector.factory.doStart()
        connector.factory.startedConnecting(connector)
        return connector


@define(eq=False)
class Records(Nobody):
    """An observer that remembers."""

    opened: list[Facts] = field(factory=list)
    ended: list[tuple[Facts, Session]] = field(factory=list)
    refusals: list[tuple[int, str]] = field(factory=list)
    refused_facts: list[Facts] = field(factory=list)
    exchanges: list[tuple[Facts, Exchanged]] = field(factory=list)

    phases: list[dict[str, float]] = field(factory=list)  # of those that opened
    retries: list[str] = field(factory=list)
    pings: list[tuple[Side, float | None]] = field(factory=list)
    health: list[tuple[str, str, str]] = field(factory=list)

    def session_opened(self, facts: Facts, session: Session) -> None:
        self.opened.append(facts)
        self.phases.append(dict(facts.phases))

    def session_ended(self, facts: Facts, session: Session) -> None:
        self.ended.append((facts, session))

    def refused(self, facts: Facts, reason: str) -> None:
        self.refusals.append((facts.status, reason))
        self.refused_facts.append(facts)

    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        self.exchanges.append((facts, what))

    def retried(self, pool: str) -> None:
        self.retries.append(pool)

    def pinged(self, side: Side, seconds: float | None) -> None:
        self.pings.append((side, seconds))

    def health_changed(self, pool: str, upstream: str, to: str) -> None:
        self.health.append((pool, upstream, to))


@implementer(IBalancer)
@define(eq=False)
class Scripted:
    """A balancer that does what a test says, and remembers what it was offered."""

    answer: Callable[[Sequence[Upstream]], Any]
    offers: list[list[str]] = field(factory=list)

    def choose(self, request: Any, upstreams: Sequence[Upstream]) -> Any:
        self.offers.append([each.name for each in upstreams])
        return self.answer(upstreams)

    def upstreams_changed(self, upstreams: Sequence[Upstream]) -> None:
        """Do nothing."""


@frozen
class Answer:
    """An HTTP answer that a client got."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b": ")
            if key.lower() == name.lower():
                return value
        return None


class World:
    """A relay with one listener, one route and one pool; nothing is connected yet."""

    def __init__(
        self,
        route: RouteConfig = ROUTE,
        upstreams: Sequence[UpstreamConfig] = UPSTREAMS,
        *,
        listener: ListenerConfig | None = None,
        balancer: Callable[[Sequence[Upstream]], Any] | None = None,
        **options: Any,
    ) -> None:
        """
        Make them.

        :param options: those of the pool that are not the default's; no passive health.
        """
        self.reactor = Reactor()
        self.observer = Records()
        options = {"max_fails": 0, **options}
        pool = PoolConfig("pool", tuple(upstreams), PluginCall("first"), **options)
        config = RelayConfig((listener or ListenerConfig("web", "tcp:8080"),), (route,), (pool,))
        self.relay = Relay(config, self.reactor, self.observer)
        self.pool = self.relay.pools["pool"]
        self.balancer = Scripted(balancer) if balancer is not None else None
        if self.balancer is not None:
            self.pool.balancer = self.balancer
        self.listener = self.relay.make_listener(config.listeners[0])
        self.transports: list[FakeTransport] = []

    @property
    def dials(self) -> list[Connector]:
        return self.reactor.dials

    def names_dialled(self) -> list[str]:
        names = {each.host: each.name for each in UPSTREAMS}
        return [names.get(dial.where, dial.where) for dial in self.dials]

    # clients

    def client(self, address: IAddress = CLIENT_ADDRESS) -> FakeTransport:
        """Let a client connect, and say nothing yet."""
        transport = FakeTransport(peer=address)
        transport.protocol = self.listener.buildProtocol(address)
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        return transport

    def ask(self, request: bytes = REQUEST) -> FakeTransport:
        """Let a client connect and send a request."""
        transport = self.client()
        self.send(transport, request)
        return transport

    # upstreams

    def accept(self, number: int = -1) -> FakeTransport:
        """Let an upstream take a connection; it has got the handshake then."""
        dial = self.dials[number]
        assert not dial.over
        dial.over = True
        address = IPv4Address("TCP", dial.where, dial.port)
        transport = FakeTransport(peer=address)
        transport.protocol = dial.factory.buildProtocol(address)
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        self.settle()
        return transport

    def refuse(self, number: int = -1) -> None:
        self.dials[number].fail(Refused())
        self.settle()

    def establish(self) -> tuple[FakeTransport, FakeTransport]:
        """Bring a whole session about; return the client's and the upstream's connection."""
        client = self.ask()
        upstream = self.accept()
        self.send(upstream, SWITCHING)
        assert client.received.startswith(b"HTTP/1.1 101 ")
        client.received.clear()
        upstream.received.clear()
        return client, upstream

    # what happens

    def settle(self) -> None:
        settle(*self.transports)

    def send(self, transport: FakeTransport, data: bytes) -> None:
        transport.peer_sends(data)
        self.settle()

    def end(self, transport: FakeTransport) -> None:
        transport.peer_ends()
        self.settle()

    def reset(self, transport: FakeTransport) -> None:
        transport.peer_resets()
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, with turns of the reactor between two timers."""
        until = self.reactor.seconds() + seconds
        while True:
            due = [call.getTime() for call in self.reactor.getDelayedCalls()]
            next_time = min([until, *due])
            self.reactor.advance(max(next_time - self.reactor.seconds(), 0.0))
            self.settle()
            if next_time >= until:
                return

    # what became of it

    @property
    def active(self) -> dict[str, int]:
        """Live sessions and handshakes of the upstreams that have any."""
        return {each.name: each.active for each in self.pool.upstreams if each.active}

    def assert_clean(self) -> None:
        """Check that nothing is left of anybody."""
        assert self.active == {}
        assert self.reactor.getDelayedCalls() == []
        assert not self.relay.connections
        assert (self.relay.doors.inside, self.relay.doors.refused) == (0, 0)
        assert not self.relay.doors.by_name()
        assert not self.relay.openings
        assert not len(self.relay.exchanges)
        assert not self.relay.sessions
        assert all(each.lost for each in self.transports)
        assert all(dial.over for dial in self.dials)

    def leave_all(self) -> None:
        """Let every peer end its connection, as it does after an answer."""
        for transport in self.transports:
            transport.peer_ends()
        self.settle()


def answer_in(transport: FakeTransport) -> Answer:
    """Return the one HTTP answer that a client got."""
    data = bytes(transport.received)
    head, empty_line, body = data.partition(b"\r\n\r\n")
    assert empty_line, f"no answer is complete: {data!r}"
    assert head.startswith(b"HTTP/1.1 "), head
    return Answer(int(head[9:12]), head, body)


def close_code(transport: FakeTransport) -> int | None:
    """Return the code of the close frame that a peer got last, or None without one."""
    frames, _ = frames_in(bytes(transport.received))
    if not frames or frames[-1].opcode != 8:
        return None
    return int.from_bytes(frames[-1].payload[:2], "big")
