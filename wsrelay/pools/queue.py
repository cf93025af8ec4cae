"""Clients that wait for an upstream: first come, first served.  Pure."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable
from operator import attrgetter

from attrs import define, field

from wsrelay.commons import OwnTally, Tally

__all__ = ["Place", "WaitingLine"]


@define(eq=False)
class Place:
    """
    One client's place in a line.

    :param number: those who came later have a higher one.
    :ivar is_resting: it has just tried in vain, and is not called before the next round.
    """

    line: WaitingLine
    call: Callable[[], None]
    number: int
    is_resting: bool = field(default=False, init=False)

    def leave(self) -> None:
        """Go away; harmless when the client was called, or has left before."""
        self.line.leave(self)


@define(eq=False)
class WaitingLine:
    """
    The clients that wait for an upstream of one pool, in this process.

    :param tally: how many wait, in all processes.
    """

    tally: Tally = field(factory=OwnTally)
    _places: deque[Place] = field(factory=deque, init=False)
    _joined: int = field(default=0, init=False)  # how many, since there is the line

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._places)

    @property
    def total(self) -> int:
        """How many wait, in all processes."""
        return self.tally.total

    @property
    def others(self) -> int:
        """How many wait in other processes."""
        return self.tally.total - self.tally.own

    def join(self, call: Callable[[], None]) -> Place:
        """
        Wait at the end of the line.

        :param call: called once, when it is this client's turn; by then it has left.
        """
        self._joined += 1
        place = Place(self, call, self._joined)
        self._places.append(place)
        self.tally.add(1)
        return place

    def come_back(self, place: Place) -> None:
        """Wait again, behind those who came before: who was called in vain keeps its place."""
        place.is_resting = True
        self.tally.add(1)
        self._places.insert(bisect(self._places, place.number, key=attrgetter("number")), place)

    def leave(self, place: Place) -> None:
        """Take a place out, wherever it is; one that is not there any more is let be."""
        if place in self._places:
            self._places.remove(place)
            self.tally.add(-1)

    def begin_round(self) -> None:
        """Let those be called again who have tried in vain."""
        for place in self._places:
            place.is_resting = False

    def call_next(self) -> bool:
        """Call the first in the line; False when nobody may be called now."""
        if not self._places or self._places[0].is_resting:
            return False
        self.tally.add(-1)
        self._places.popleft().call()
        return True
