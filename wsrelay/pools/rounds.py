"""Calls those who wait for an upstream every now and then, as nobody says when one is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from wsrelay.pools.pool import Pool
from wsrelay.pools.queue import Place

__all__ = ["Rounds"]

ROUND: Final = 0.25
"""Seconds between two tries of an upstream that looks down, by those who wait for it."""


@define(eq=False)
class Rounds:
    """Keeps the queues of all pools moving while somebody stands there."""

    _reactor: IReactorTime
    _running: set[Pool] = field(factory=set, init=False)

    def join(self, pool: Pool, call: Callable[[], None]) -> Place:
        """Wait at the end of a pool's queue; see `WaitingLine.join`."""
        self._need_turns(pool)
        return pool.line.join(call)

    def come_back(self, pool: Pool, place: Place) -> None:
        """Wait again; see `WaitingLine.come_back`."""
        self._need_turns(pool)
        pool.line.come_back(place)

    def _need_turns(self, pool: Pool) -> None:
        if pool not in self._running:
            self._running.add(pool)
            self._reactor.callLater(ROUND, self._turn, pool)

    def _turn(self, pool: Pool) -> None:
        self._running.discard(pool)
        pool.call_waiting(again=True)
        if len(pool.line):
            self._need_turns(pool)
