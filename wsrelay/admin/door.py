"""The connections of the admin endpoint: how many there are, and that each of them ends."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolFactory,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from typing_extensions import override

from wsrelay.log import Logger

__all__ = ["Door"]

log = Logger()

MOST: Final = 200
"""Connections at a time, so that there are descriptors left for clients of the relay."""

ENDING: Final = 60.0
"""Seconds for the other side to read what is left once a connection is to end."""

CLOSING: Final = 2.0
"""The same, when the service stops."""

_QUIET: Final = 10.0
"""Seconds between two lines in the log about connections that are too many."""


class _Connection(ProtocolWrapper):
    """One connection; it ends some time after it is to, whatever the other side does."""

    factory: Door
    _end: IDelayedCall | None = None

    @override
    def loseConnection(self) -> None:
        if self._end is None:
            self._end = self.factory.reactor.callLater(ENDING, self.abortConnection)
        super().loseConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        super().connectionLost(reason)


class Door(WrappingFactory[_Connection]):
    """Lets connections in to a site."""

    noisy = False
    protocol = _Connection

    def __init__(self, site: IProtocolFactory, reactor: Any) -> None:
        super().__init__(site)
        self.reactor = reactor
        self._logged_at = -_QUIET
        self._closed: Deferred[None] | None = None
        self._abort: IDelayedCall | None = None

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.protocols) < MOST:
            return super().buildProtocol(addr)
        now = self.reactor.seconds()
        if now - self._logged_at >= _QUIET:
            self._logged_at = now
            log.warn("admin: there are {count} connections; no more are taken", count=MOST)
        return None

    @override
    def unregisterProtocol(self, p: _Connection) -> None:
        super().unregisterProtocol(p)
        self._is_empty()

    def close(self) -> Deferred[None]:
        """
        End all connections.

        Websockets that are closing get a moment for their close frames, and so does what
        was written already.
        """
        self._closed = closed = Deferred[None]()
        self._abort = self.reactor.callLater(CLOSING, self._abort_all)
        for each in list(self.protocols):
            if isinstance(each.wrappedProtocol, HTTPChannel):
                each.wrappedProtocol.loseConnection()
        self._is_empty()
        return closed

    def _abort_all(self) -> None:
        for each in list(self.protocols):
            each.abortConnection()

    def _is_empty(self) -> None:
        if self._closed is None or self.protocols:
            return
        closed, self._closed = self._closed, None
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        closed.callback(None)
