"""How late the reactor is: the time that everything else has to wait for its turn."""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL: Final = 0.5
"""Seconds between two looks."""

WINDOW: Final = 10
"""Looks that share a maximum; the last two maxima count."""


@define(eq=False)
class Lag:
    """
    Has the reactor call it twice a second, and notes how late that is.

    A reactor that is late for one timer is late for every frame, so the largest lag of the
    last five to ten seconds says what a user felt.
    """

    reactor: IReactorTime
    _timer: IDelayedCall | None = field(default=None, init=False)
    _due: float = field(default=0.0, init=False)
    _looks: int = field(default=0, init=False)
    _largest: float = field(default=0.0, init=False)
    _largest_before: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Begin to look, with nothing noted; harmless when it has begun."""
        self.stop()
        self._looks = 0
        self._largest = self._largest_before = 0.0
        self._plan()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    @property
    def seconds(self) -> float:
        """The largest lag of late; that of a look which should have been already counts."""
        overdue = self._lateness() if self._timer is not None else 0.0
        return max(self._largest_before, self._largest, overdue)

    def _lateness(self) -> float:
        return max(self.reactor.seconds() - self._due, 0.0)

    def _plan(self) -> None:
        self._due = self.reactor.seconds() + INTERVAL
        self._timer = self.reactor.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        if self._looks == WINDOW:
            self._looks, self._largest_before, self._largest = 0, self._largest, 0.0
        self._looks += 1
        self._largest = max(self._largest, self._lateness())
        self._plan()
