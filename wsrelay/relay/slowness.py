"""The Python pump's eye on legs that take nothing, though something waits for them."""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from wsrelay.relay.python_leg import PythonLeg
from wsrelay.relay.transports import untaken

LOOKS: Final = 4
"""
How often a leg is looked at in the time for which it may take nothing.

They are counted, not timed: a clock that is set forward must not make anybody slow.
"""


@define(eq=False)
class Slowness:
    """
    Looks at a leg from time to time while it is blocked.

    What it takes is seen at the next look, so it may be slow for up to a quarter of *patience*
    longer, and never for less.

    :param patience: seconds for which it may take nothing.
    """

    _leg: PythonLeg = field(repr=False)
    _patience: float
    _timer: IDelayedCall | None = field(default=None, init=False)
    _taken: int = field(default=0, init=False)
    _in_vain: int = field(default=0, init=False)  # looks since it was seen to take something
    _is_over: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Look: the leg takes no more for now."""
        if self._timer is not None or self._is_over:
            return
        self._taken, self._in_vain = self._takes(), 0
        self._plan()

    def end(self) -> None:
        """Look no more: it takes more, or has ended."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _takes(self) -> int:
        return self._leg.sent - untaken(self._leg.transport)

    def _plan(self) -> None:
        self._timer = self._leg.reactor.callLater(self._patience / LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        taken = self._takes()
        self._in_vain = 0 if taken > self._taken else self._in_vain + 1
        self._taken = taken
        if self._in_vain < LOOKS:
            self._plan()
            return
        self._is_over = True
        try:
            self._leg.owner.leg_slow(self._leg.side)
        except Exception:
            self._leg.owner.pump_failed()
