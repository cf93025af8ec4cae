"""The plain requests that are under way, and how a relay that stops waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from wsrelay.log import Logger

log = Logger()

LOOK_EVERY: Final = 0.1
"""
Seconds between two looks at the clients that leave, while a relay stops.

TLS does not say when all is sent, only when the client has ended it, too; which one that
does not look at its connection before it has something to ask will not do.
"""


class Leaving(Protocol):
    """A client that is still being sent its last answer."""

    @property
    def has_all(self) -> bool:
        """Whether nothing that was written for it is held here any more."""

    def break_off(self) -> None:
        """End now."""


class UnderWay(Protocol):
    """A plain request whose answer is not over."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Its route, pool and upstream; empty where there is none, or none yet."""

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes of the request's body and of the answer's; none before there is an answer."""

    def break_off(self) -> None:
        """End now, and tell the relay of the end."""


@define(eq=False)
class Exchanges:
    """
    All plain requests of a relay that are not answered to the end.

    Iterating yields them; a relay that stops waits for the clients that leave, too.
    """

    reactor: Any
    _under_way: set[UnderWay] = field(factory=set, init=False)
    _leaving: set[Leaving] = field(factory=set, init=False)
    _drained: Deferred[None] | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _next_look: IDelayedCall | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[UnderWay]:
        return iter(list(self._under_way))

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, exchange: UnderWay) -> None:
        """Take in one that begins."""
        self._under_way.add(exchange)

    def end(self, exchange: UnderWay) -> None:
        """Forget one that is over."""
        self._under_way.discard(exchange)
        self._look()

    def leaves(self, client: Leaving) -> None:
        """Wait for a client, too, that has not been sent all of its last answer."""
        self._leaving.add(client)

    def left(self, client: Leaving) -> None:
        """Wait no more for a client; any number of times."""
        if client in self._leaving:
            self._leaving.remove(client)
            self._look()

    @property
    def _is_empty(self) -> bool:
        return not self._under_way and not self._leaving

    def _look(self) -> None:
        if self._is_empty and self._drained is not None:
            # Not at once: the client of an answer that is over is about to leave.
            self.reactor.callLater(0, self._finish)

    def drain(self, seconds: float) -> Deferred[None]:
        """Let those that are under way end; what is left after so many seconds is cut off."""
        if self._is_empty:
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred()
            self._timer = self.reactor.callLater(seconds, self.hurry)
            self._look_around()
        return self._drained

    def _look_around(self) -> None:
        self._next_look = self.reactor.callLater(LOOK_EVERY, self._look_around)
        for client in [each for each in self._leaving if each.has_all]:
            self.left(client)

    def call_off(self) -> None:
        """Let those that are under way take their time after all."""
        if self._drained is not None:
            self._conclude()

    def hurry(self) -> None:
        """Cut off all that are under way."""
        if self._under_way:
            log.warn("aborting {count} plain requests", count=len(self._under_way))
        leaving = tuple(self._leaving)  # not those who are about to be told why they have to
        for each in tuple(self._under_way):
            each.break_off()
        for client in leaving:
            client.break_off()

    def _finish(self) -> None:
        if self._is_empty:
            self._conclude()

    def _conclude(self) -> None:
        drained, self._drained = self._drained, None
        for timer in (self._timer, self._next_look):
            if timer is not None and timer.active():
                timer.cancel()
        if drained is not None:
            drained.callback(None)
