"""Records of sessions that go on: one of each every so often, for ``[log] tick``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from wsrelay.relay.session import Session

AT_ONCE: Final = 500
"""Records that are written in one turn of the reactor."""


@define(eq=False)
class Ticks:
    """
    Has a record written of every live session each interval.

    :param sessions: returns the live ones; *write* writes a record of one.
    """

    reactor: Any
    sessions: Callable[[], Iterable[Session]]
    write: Callable[[Session], None]
    _interval: float | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def start(self, interval: float | None) -> None:
        """Begin, or go on with another interval, in seconds; None: write none."""
        self.stop()
        self._interval = interval
        self._plan()

    def stop(self) -> None:
        """Write no more."""
        self._interval = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _plan(self) -> None:
        if self._interval is not None:
            self._timer = self.reactor.callLater(self._interval, self._tick)

    def _tick(self) -> None:
        self._plan()
        self._write(list(self.sessions()))

    def _write(self, sessions: Sequence[Session]) -> None:
        for session in sessions[:AT_ONCE]:
            if not session.is_over:
                self.write(session)
        if len(sessions) > AT_ONCE:
            self.reactor.callLater(0, self._write, sessions[AT_ONCE:])
