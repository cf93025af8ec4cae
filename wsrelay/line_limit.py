"""How many lines of one kind a log takes in a second; the others are counted, and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

__all__ = ["LineLimit", "Missed"]

MOST: Final = 10
"""Lines of one cause in a second; what a person can read."""

CAUSES: Final = 1000
"""Causes in a second that are told apart; what comes on top of them counts as one."""

WHO: Final = 100
"""Of whom it is counted how often each of them caused a line, for each cause."""


@define(eq=False)
class Missed:
    """
    The lines of one cause that were not written.

    :ivar sample: the first of them, or whatever its writer wants to keep of it.
    :ivar who: how many each of the first hundred clients caused.
    """

    count: int = 0
    sample: Any = None
    who: Counter[str] = field(factory=Counter)

    def add(self, who: str) -> None:
        """Count one more."""
        self.count += 1
        if who and (who in self.who or len(self.who) < WHO):
            self.who[who] += 1


@define(eq=False)
class LineLimit:
    """
    Lets the first ten lines of each cause through in a second, and counts the others.

    There is a timer only while there is something to sum up.

    :param sum_up: called at the end of such a second: with the cause, what was missed and
        the seconds that it took.  It may not raise.
    """

    reactor: Any
    sum_up: Callable[[Any, Missed, float], None]
    _begun: float = field(default=0.0, init=False)
    _passed: dict[Hashable, int] = field(factory=dict, init=False)
    _missed: dict[Hashable, Missed] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def missed(self, cause: Hashable, who: str = "") -> Missed | None:
        """
        Count a line.

        :param who: caused it, if known.
        :returns: None if it may be written; else that which it belongs to now.
        """
        now = self.reactor.seconds()
        if not 0 <= now - self._begun < 1.0:
            self.end()
            self._begun = now
        if cause not in self._passed and len(self._passed) >= CAUSES:
            cause = None
        passed = self._passed[cause] = self._passed.get(cause, 0) + 1
        if passed <= MOST:
            return None
        if self._timer is None:
            self._timer = self.reactor.callLater(self._begun + 1.0 - now, self.end)
        missed = self._missed.setdefault(cause, Missed())
        missed.add(who)
        return missed

    def end(self) -> None:
        """Sum up now what was missed, and begin anew."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        missed, self._missed = self._missed, {}
        self._passed.clear()
        seconds = max(self.reactor.seconds() - self._begun, 0.0)  # a clock may be set back
        for cause, each in missed.items():
            self.sum_up(cause, each, seconds)
