"""Connections to an upstream that wait for another request (RFC 9112 section 9.3)."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.relay.transports import has_news
from wsrelay.wire.request import Request
from wsrelay.wire.response import Response

if TYPE_CHECKING:
    from wsrelay.relay.upstream import UpstreamConnection

__all__ = ["IdleConnections", "logs_in", "patience_of"]

MOST: Final = 64
"""Idle connections to one upstream; those that come later are closed."""

UNTOLD: Final = 4.0
"""
Seconds for which a connection is kept when the upstream does not say how long it keeps it.

node, uvicorn and hypercorn end an idle connection after five: who asks just then gets no
answer, and a request whose first byte went out is not sent again.
"""

LONGEST: Final = 55.0
"""Seconds for which one is kept at most, whatever the upstream says."""

EARLIER: Final = 1.0
"""Seconds before the upstream's own end of its patience at which the relay's ends."""

_OF_CONNECTIONS: Final = (b"ntlm", b"negotiate")
"""Schemes by which a connection is logged in, and with it all that is asked there (RFC 4559)."""

_TIMEOUT: Final = re.compile(r"(?:^|,)\s*timeout\s*=\s*([0-9]{1,6})")


def patience_of(response: Response) -> float:
    """
    Return for how many seconds the connection of a whole answer may wait; 0: not at all.

    ``Keep-Alive: timeout=5``, as node, Apache and others send it, says how long the upstream
    waits.
    """
    options = response.headers.elements(b"connection")
    if "close" in options or (response.version == "1.0" and "keep-alive" not in options):
        return 0.0
    said = _TIMEOUT.search(", ".join(response.headers.elements(b"keep-alive")))
    if said is None:
        return UNTOLD
    return min(max(int(said[1]) - EARLIER, 0.0), LONGEST)


def logs_in(request: Request) -> bool:
    """Return whether a request may log its connection in, which is nobody else's then."""
    values = request.headers.values(b"authorization")
    return any(each.partition(b" ")[0].lower() in _OF_CONNECTIONS for each in values)


@define(eq=False)
class IdleConnections:
    """
    The idle connections to one upstream; the one that was used last is used first.

    :param most: how many are kept at most.
    """

    reactor: Any
    _most: int = MOST
    _waiting: dict[UpstreamConnection, IDelayedCall] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, connection: UpstreamConnection, seconds: float) -> None:
        """Keep a connection for so long, unless there are enough; its answer is whole."""
        if len(self._waiting) >= self._most:
            connection.hang_up()
            return
        connection.receive = partial(self._spoke, connection)
        connection.lost = partial(self._lost, connection)
        self._waiting[connection] = self.reactor.callLater(seconds, self._drop, connection)
        connection.transport.resumeProducing()

    def take(self) -> UpstreamConnection | None:
        """Return one that still stands as far as can be told, or None."""
        while self._waiting:
            connection, timer = self._waiting.popitem()
            timer.cancel()
            if not has_news(connection.transport):
                return connection
            connection.abandon()
        return None

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self._waiting):
            self._drop(connection)

    def _drop(self, connection: UpstreamConnection) -> None:
        timer = self._waiting.pop(connection)
        if timer.active():
            timer.cancel()
        connection.hang_up()

    def _spoke(self, connection: UpstreamConnection, data: bytes) -> None:
        # Nobody asked: an answer now would be taken for that to the next request.
        self._waiting.pop(connection).cancel()
        connection.abandon()

    def _lost(self, connection: UpstreamConnection, reason: Failure) -> None:
        self._waiting.pop(connection).cancel()
