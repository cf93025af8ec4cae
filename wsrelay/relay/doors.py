"""Who may come in: ``max_connections`` of the listeners and of the relay."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Final

from attrs import define, field

from wsrelay.descriptors import A_CLIENT

if TYPE_CHECKING:
    from wsrelay.commons import Tally
    from wsrelay.relay.listener import Listener
    from wsrelay.relay.relay import Relay

__all__ = ["FULL", "Doors", "Place"]

FULL: Final = "The relay has as many clients as it takes; try again later."

AT_LEAST: Final = 64
"""Clients that are being told so at a time, besides one in a hundred of those who may come."""


class Place(Enum):
    """Where a connection is from its beginning to its end."""

    INSIDE = "inside"
    """It is a client, and counts."""
    REFUSED = "refused"
    """It is being answered that there is no room."""
    NOWHERE = "nowhere"
    """There is nobody free to answer it."""


@define(eq=False)
class Doors:
    """
    Counts the clients of a relay, from when they are accepted to the end of the connection.

    Whoever has a connection asks for a `Place` when it begins, and gives it back once.
    """

    relay: Relay
    inside: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    tally: Tally = field(init=False)
    """The clients of all processes."""
    _by_listener: Counter[Listener] = field(factory=Counter, init=False)
    _tallies: dict[Listener, Tally] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.tally = self.relay.commons.tally("clients")

    def enter(self, listener: Listener) -> Place:
        """Find a place for a new connection."""
        most, here = self.relay.config.max_connections, listener.config.max_connections
        if self._has_room(listener, most, here):
            self.inside += 1
            self._by_listener[listener] += 1
            return Place.INSIDE
        if self.refused < AT_LEAST + max(most or 0, here or 0) // 100:
            self.refused += 1
            return Place.REFUSED
        return Place.NOWHERE

    def _has_room(self, listener: Listener, most: int | None, here: int | None) -> bool:
        """Count one more, in all processes, if there is room."""
        if not _add(self.tally, most):
            return False
        tally = self._tallies.get(listener)
        if tally is None:
            tally = self.relay.commons.tally("clients", listener.config.name)
        if not _add(tally, here):
            self.tally.add(-1)
            return False
        self._tallies[listener] = tally
        return True

    def leave(self, listener: Listener, place: Place) -> None:
        """Give a place back."""
        if place is Place.REFUSED:
            self.refused -= 1
        elif place is Place.INSIDE:
            self.inside -= 1
            self._by_listener[listener] -= 1
            self.tally.add(-1)
            self._tallies[listener].add(-1)
            if not self._by_listener[listener]:  # a reload may have taken it away
                del self._by_listener[listener], self._tallies[listener]

    def descriptors(self) -> int:
        """Count the file descriptors that those who are here have, or will need."""
        return A_CLIENT * self.inside + self.refused

    def by_name(self) -> Counter[str]:
        """Return the clients of each listener, by its name; those without any are left out."""
        counts: Counter[str] = Counter()
        for listener, count in self._by_listener.items():
            counts[listener.config.name] += count
        return counts


def _add(tally: Tally, most: int | None) -> bool:
    if most is not None:
        return tally.add_below(most)
    tally.add(1)
    return True
