"""What keeps the number of label sets bounded, whatever peers and discoveries come up with."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Final, TypeVar

from attrs import define, field

MAX_LABEL_SETS: Final = 10_000
"""Label sets of one family: as many as one scrape can carry without holding the relay up."""

FORGOTTEN_AFTER: Final = 3600.0
"""Seconds that an upstream has to be gone for, before its counters go, too: enough for every
scrape to have seen their last values."""

OTHER: Final = "other"

Key = TypeVar("Key")
UpstreamKey = tuple[str, str]
"""An upstream for all pools: the pool's name, and its own."""


class Counts(dict[Key, int]):
    """
    Counters by their labels' values, in order.

    When there are too many, the one that was made first goes: for Prometheus that is a
    counter that began anew.
    """

    def add(self, labels: Key) -> None:
        """Count one."""
        try:
            self[labels] += 1
        except KeyError:
            make_room(self)
            self[labels] = 1


def make_room(table: dict[Any, Any]) -> None:
    """Let a table hold one more entry, without the oldest one if it is full."""
    if len(table) >= MAX_LABEL_SETS:
        del table[next(iter(table))]


@define(eq=False)
class Distinct:
    """The first *limit* values that peers come up with; every other one is `OTHER`."""

    limit: int
    _values: set[str] = field(factory=set, init=False)

    def name(self, value: str) -> str:
        """Return what a value is counted as."""
        if value in self._values:
            return value
        if len(self._values) >= self.limit:
            return OTHER
        self._values.add(value)
        return value


@define(eq=False)
class Departures:
    """Remembers since when upstreams are gone."""

    _since: dict[UpstreamKey, float] = field(factory=dict, init=False)

    def overdue(
        self, known: Iterable[UpstreamKey], present: Container[UpstreamKey], now: float
    ) -> frozenset[UpstreamKey]:
        """
        Return those of *known* that have been gone for `FORGOTTEN_AFTER`.

        :param known: all that something is kept of.
        :param present: all that are there, or have sessions left.
        :param now: seconds.
        """
        gone = (each for each in known if each not in present)
        self._since = {each: self._since.get(each, now) for each in gone}
        return frozenset(
            each for each, since in self._since.items() if now - since >= FORGOTTEN_AFTER
        )
