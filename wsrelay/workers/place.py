"""A number, and the process that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from wsrelay.workers.backoff import Backoff
from wsrelay.workers.process import Worker

__all__ = ["Place", "cancel"]


@define(eq=False)
class Place:
    """A worker's number; between two of its processes there may be a *pause*."""

    number: int
    worker: Worker | None = None
    pause: IDelayedCall | None = None
    _backoff: Backoff = field(factory=Backoff, init=False)

    @property
    def is_waiting(self) -> bool:
        """Whether the next spare process is for it."""
        return self.worker is None and self.pause is None

    def died(self, reactor: Any, lived: float, then: Callable[[], None]) -> float:
        """
        Note that its process has died that *lived* so many seconds.

        :param then: called after the pause, if there has to be one.
        :returns: how many seconds the pause is long; 0, there is none.
        """

        def go_on() -> None:
            self.pause = None
            then()

        if pause := self._backoff.died(lived):
            self.pause = reactor.callLater(pause, go_on)
        return pause


def cancel(timer: IDelayedCall | None) -> None:
    """Cancel *timer*, if it is there and still to come."""
    if timer is not None and timer.active():
        timer.cancel()
