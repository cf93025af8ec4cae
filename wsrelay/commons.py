"""
What the processes of one relay count together; a relay of one process has plain numbers.

Pure.  `Alone` is for one process; `wsrelay.sharing` has the same over shared memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from attrs import define, field
from typing_extensions import override

from wsrelay.guards.counts import Counts as OwnCounts
from wsrelay.guards.rates import Buckets as OwnBuckets

__all__ = [
    "ALONE",
    "MARK_SIZE",
    "Alone",
    "Buckets",
    "Commons",
    "Counts",
    "Memory",
    "OwnMemory",
    "OwnTally",
    "Place",
    "Tally",
]

MARK_SIZE: Final = 8
"""Bytes of a mark in a `Memory`."""


class Place(Protocol):
    """One session's part of a count."""

    def release(self) -> None:
        """Give it back; only the first call counts, so every way out may call it."""


class Tally(Protocol):
    """A number of which each process has a part."""

    @property
    def own(self) -> int:
        """The part of this process."""

    @property
    def total(self) -> int:
        """All parts, of other processes as they were a moment ago."""

    @property
    def parts(self) -> Sequence[int]:
        """Each process' part, in the order of their numbers."""

    def add(self, n: int) -> None:
        """Change this process' part; it never gets below 0."""

    def add_below(self, most: int) -> bool:
        """Add one, unless the total is *most* already; exact, whatever other processes do."""


class Counts(Protocol):
    """``connections_per_ip``: how many sessions each client has."""

    def __len__(self) -> int:
        """Return the number of clients that have any in this process."""

    def of(self, key: bytes) -> int:
        """Return how many a client has; see `wsrelay.guards.keys.key_of`."""

    def take(self, key: bytes, most: int | None = None) -> Place | None:
        """Count one more, until its place is given back; None: there are *most* already."""


class Buckets(Protocol):
    """``handshakes_per_ip``: how often each client may come."""

    def take(self, key: bytes, now: float) -> float:
        """Take a token; 0: it was taken, else the seconds until there is one."""

    def change(self, per_second: float, size: float) -> None:
        """Go on with other limits; who has taken tokens has taken them."""


class Memory(Protocol):
    """Where sessions belong, by their ids; bounded in size, and in time after the last use."""

    def get(self, key: str) -> bytes | None:
        """Return the mark that was put there, or None."""

    def put(self, key: str, mark: bytes) -> None:
        """Remember a mark of `MARK_SIZE` bytes."""

    def keep(self, marks: Collection[bytes]) -> None:
        """What has another mark may be forgotten: it means nobody any more."""


class Commons(Protocol):
    """What a relay asks for; the same names mean the same numbers in all its processes."""

    @property
    def index(self) -> int:
        """The number of this process, from 0."""

    @property
    def overflows(self) -> int:
        """How often this process had to count for itself."""

    def tally(self, *name: str) -> Tally:
        """Return a number."""

    def counts(self, route: str) -> Counts:
        """Return the sessions of the clients of a route."""

    def buckets(self, route: str, per_second: float, size: float) -> Buckets:
        """Return the buckets of the clients of a route."""

    def memory(
        self, pool: str, table: str, seconds: Callable[[], float], ttl: float, size: int
    ) -> Memory:
        """
        Return a table of sessions.

        :param seconds: the monotonic time; *ttl*: seconds; *size*: the most sessions, for
            a process that is alone: what processes share has a size of its own.
        """


@define(eq=False)
class OwnTally:
    """A number of a process that is alone."""

    own: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.own

    @property
    def parts(self) -> Sequence[int]:
        """All of it, in one part."""
        return (self.own,)

    def add(self, n: int) -> None:
        """Change it."""
        self.own = max(self.own + n, 0)

    def add_below(self, most: int) -> bool:
        """Add one, unless it is *most* already."""
        if self.own >= most:
            return False
        self.own += 1
        return True


@define(eq=False)
class OwnMemory:
    """A table of a process that is alone."""

    _seconds: Callable[[], float]
    _ttl: float
    _size: int
    _entries: OrderedDict[str, tuple[bytes, float]] = field(factory=OrderedDict, init=False)

    def get(self, key: str) -> bytes | None:
        """Return the mark that was put there, or None."""
        entry = self._entries.get(key)
        if entry is None or self._seconds() - entry[1] >= self._ttl:
            return None
        return entry[0]

    def put(self, key: str, mark: bytes) -> None:
        """Remember a mark."""
        now, entries = self._seconds(), self._entries
        entries[key] = mark, now
        entries.move_to_end(key)
        while len(entries) > self._size or now - next(iter(entries.values()))[1] >= self._ttl:
            entries.popitem(last=False)

    def keep(self, marks: Collection[bytes]) -> None:
        """Forget all that has another mark."""
        kept = [(key, entry) for key, entry in self._entries.items() if entry[0] in marks]
        if len(kept) < len(self._entries):
            self._entries = OrderedDict(kept)


class Alone(Commons):
    """A process that has nothing in common with others: each number is new."""

    @property
    @override
    def index(self) -> int:
        return 0

    @property
    @override
    def overflows(self) -> int:
        return 0

    @override
    def tally(self, *name: str) -> Tally:
        return OwnTally()

    @override
    def counts(self, route: str) -> Counts:
        return OwnCounts()

    @override
    def buckets(self, route: str, per_second: float, size: float) -> Buckets:
        return OwnBuckets(per_second, size)

    @override
    def memory(
        self, pool: str, table: str, seconds: Callable[[], float], ttl: float, size: int
    ) -> Memory:
        return OwnMemory(seconds, ttl, size)


ALONE: Final = Alone()
