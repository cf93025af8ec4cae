"""Whose turn it is to accept, where several processes listen on the same sockets."""

from __future__ import annotations

from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from wsrelay.commons import Tally

__all__ = ["Turns"]

SLACK: Final = 2
"""Clients that a process may have more than the one with the fewest, besides one in fifty."""

PAUSE: Final = 0.002
"""Seconds for which a process leaves new clients to the others."""

LOOK: Final = 0.001
"""Seconds after which a client that comes has not waited for the others."""


class Port(Protocol):
    """What Twisted's listening ports have in common."""

    connected: Any
    disconnecting: Any

    def startReading(self) -> None: ...  # noqa: N802  Twisted's
    def stopReading(self) -> None: ...  # noqa: N802  Twisted's


@define(eq=False)
class Turns:
    """
    Lets the processes of a relay have equal numbers of clients.

    All wait at the same sockets, so that no client waits for a process that is busy or gone,
    and the first one that looks accepts.  Sessions last: without more ado one process could
    have most of them for hours.  So whoever has more clients than another looks away for a
    moment; one who waits then all the same is taken in any case: the others are busy.

    :param clients: those of each process.
    :param present: 1 for each process that accepts.
    """

    reactor: IReactorTime
    clients: Tally
    present: Tally
    _ports: set[Port] = field(factory=set, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _is_free: bool = field(default=False, init=False)
    _reset: IDelayedCall | None = field(default=None, init=False)

    def watch(self, port: Port) -> None:
        """Stop and start a port, too."""
        self._ports.add(port)
        if self._timer is not None:
            port.stopReading()

    def forget(self, port: Any) -> None:
        """Learn that a port listens no more; any number of times."""
        self._ports.discard(port)
        if not self._ports:
            for timer in (self._timer, self._reset):
                if timer is not None:
                    timer.cancel()
            self._timer = self._reset = None

    def may_accept(self) -> bool:
        """Say whether a client may be accepted now; else ports are stopped for a moment."""
        if self._timer is not None:
            return False
        if self._is_free or not self._has_more():
            self._is_free = False
            return True
        for port in self._ports:
            port.stopReading()
        self._timer = self.reactor.callLater(PAUSE, self._look)
        return False

    def _has_more(self) -> bool:
        clients = self.clients.parts
        fewest = min(
            (clients[number] for number, is_here in enumerate(self.present.parts) if is_here),
            default=0,
        )
        return self.clients.own > fewest + SLACK + fewest // 50

    def _look(self) -> None:
        self._timer = None
        self._is_free = True
        self._reset = self.reactor.callLater(LOOK, self._be_fair)
        for port in self._ports:
            if port.connected and not port.disconnecting:
                port.startReading()

    def _be_fair(self) -> None:
        self._reset = None
        self._is_free = False
