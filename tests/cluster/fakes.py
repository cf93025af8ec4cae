"""A Redis in memory that answers only when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.cluster.connection import RedisConnection


class Turns(Clock):
    """A clock that does as a reactor: what is called later, even at once, waits for a turn."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [each for each in self.getDelayedCalls() if each.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Transport(StringTransport):
    """Remembers that it was aborted."""

    aborted = False

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True


@define(eq=False)
class Peer:
    """The other end of a connection: what was sent, and what is answered."""

    connection: RedisConnection
    transport: Transport = field(factory=Transport)
    _reader: Any = field(factory=hiredis.Reader, init=False)

    def __attrs_post_init__(self) -> None:
        self.connection.makeConnection(self.transport)

    def commands(self) -> list[list[bytes]]:
        """Return the commands since the last time."""
        self._reader.feed(self.transport.value())
        self.transport.clear()
        found = []
        while (command := self._reader.gets()) is not False:
            found.append(command)
        return found

    def says(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def lost(self) -> None:
        self.connection.connectionLost(Failure(ConnectionRefusedError()))


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Endpoint:
    """Connects to a Redis in memory, or fails."""

    clock: Clock
    is_open: bool = True
    tries: list[float] = field(factory=list, init=False)
    peers: list[Peer] = field(factory=list, init=False)

    def connect(self, factory: Any) -> Deferred[Any]:
        self.tries.append(self.clock.seconds())
        if not self.is_open:
            return fail(ConnectionRefusedError())
        connection = factory.buildProtocol(None)
        self.peers.append(Peer(connection))
        answer: Deferred[Any] = Deferred()
        answer.callback(connection)
        return answer


def outcome(deferred: Deferred[Any]) -> Callable[[], Any]:
    """Return what tells the result so far: a value, an exception or None."""
    results: list[Any] = []
    deferred.addBoth(results.append)

    def look() -> Any:
        found = results[0] if results else None
        return found.value if isinstance(found, Failure) else found

    return look
