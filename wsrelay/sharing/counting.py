"""Numbers of which each process has a part: tallies, and the sessions of clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from wsrelay.sharing.digests import TAG, Kind
from wsrelay.sharing.region import KEY, WIDTH, Cells, Region

__all__ = ["CountTable", "SharedCounts", "SharedPlace", "SharedTally"]

_WORD: Final = 4
_NOWHERE: Final = -1
_BUCKET: Final = KEY * WIDTH


class CountTable:
    """
    One table of counts, as one process sees it.

    A slot has a key and a count of each process.  While any count is above 0 the slot is its
    key's; when all are 0 another key of the same bucket may take it over, and nothing need
    be cleaned up.  So, whoever has a part of its own may change it without a lock, as nobody
    can take the slot from it; only who has none must hold the bucket's lock while it looks
    for the key, or claims a slot for it, and writes its first part.

    A process may die anywhere: before it has written its part a slot that it claimed is free;
    a key that is half written is one that nobody looks for.

    :ivar stride: words from one process' counts to the next one's.
    :ivar own: this process' counts.
    :ivar spilled: what this process counts for itself, by key; see `Region.overflows`.
    """

    def __init__(self, region: Region, cells: Cells, index: int) -> None:
        self.region = region
        self.map = region.map
        self.index = index
        self.keys = cells.keys
        self.buckets = cells.slots // WIDTH
        self.stride = cells.stride // _WORD
        self._first = cells.columns // _WORD
        self._end = self._first + region.columns * self.stride
        self.words = region.words
        self.mine = self._first + index * self.stride
        self.spilled: dict[bytes, int] = {}

    def bucket(self, key: bytes) -> int:
        """Return where the bucket of a key is, in bytes, which is what is locked."""
        return self.keys + int.from_bytes(key[TAG : TAG + 8], "little") % self.buckets * _BUCKET

    def find(self, key: bytes, bucket: int) -> int:
        """Return the slot of a key, or -1."""
        at = self.map.find(key, bucket, bucket + _BUCKET)
        return _NOWHERE if at < 0 else (at - self.keys) // KEY

    def across(self, slot: int) -> slice:
        """Return where the counts of a slot are, in `words`."""
        return slice(self._first + slot, self._end, self.stride)

    def claim(self, key: bytes, bucket: int) -> int:
        """Return the slot of a key, a free one that becomes its own, or -1; hold the lock."""
        slot = self.find(key, bucket)
        if slot != _NOWHERE:
            return slot
        first = (bucket - self.keys) // KEY
        for free in range(first, first + WIDTH):
            if not any(self.words[self.across(free)]):
                at = self.keys + free * KEY
                self.map[at : at + KEY] = key
                return free
        return _NOWHERE

    def spill(self, key: bytes, n: int) -> None:
        """Count for this process alone."""
        self.region.overflows += n > 0
        count = self.spilled.get(key, 0) + n
        if count:
            self.spilled[key] = count
        else:
            del self.spilled[key]


class SharedTally:
    """
    A number of which each process has a part.

    It remembers the slot where its key was last: any other key that is there by now is seen.
    """

    __slots__ = ("_across", "_at", "_bucket", "_key", "_slot", "_table")

    def __init__(self, table: CountTable, key: bytes) -> None:
        self._table = table
        self._key = key
        self._bucket = table.bucket(key)
        self._move((self._bucket - table.keys) // KEY)

    @property
    def own(self) -> int:
        """The part of this process."""
        table, slot = self._table, self._find()
        count = 0 if slot == _NOWHERE else table.words[table.mine + slot]
        return count + table.spilled.get(self._key, 0)

    @property
    def total(self) -> int:
        """All parts, of other processes as they were a moment ago; those that spilled are not."""
        table = self._table
        count = sum(table.words[self._across])
        if table.map[self._at] != self._key:  # it is asked last: it may have changed meanwhile
            count = sum(self._counts())
        return count + table.spilled.get(self._key, 0) if table.spilled else count

    @property
    def parts(self) -> Sequence[int]:
        """Each process' part, in the order of their numbers."""
        table, parts = self._table, self._counts()
        parts[table.index] += table.spilled.get(self._key, 0)
        return parts

    def add(self, n: int) -> None:
        """Change this process' part; it never gets below 0."""
        if n < 0:
            self._lower(-n)
        elif n and not self._raise(n) and not self._begin(n, None):
            self._table.spill(self._key, n)

    def add_below(self, most: int) -> bool:
        """
        Add one, unless the total is *most* already; exact, whatever other processes do.

        When a bucket is full, or the lock is not to be had, at least no process goes beyond.
        """
        done = self._begin(1, most)
        if done is None:
            done = self.total < most
            if done:
                self._table.spill(self._key, 1)
        return done

    def _raise(self, n: int) -> bool:
        """Add to a part that there is: the slot cannot be taken over."""
        table, slot = self._table, self._find()
        if slot == _NOWHERE or not table.words[table.mine + slot]:
            return False
        table.words[table.mine + slot] += n
        return True

    def _begin(self, n: int, most: int | None) -> bool | None:
        """Add under the lock.  False: there are *most*; None: there is no lock, or no slot."""
        table = self._table
        if not table.region.lock(self._bucket):
            return None
        try:
            slot = table.claim(self._key, self._bucket)
            if slot == _NOWHERE:
                return None
            self._move(slot)
            if most is not None and self.total >= most:
                return False
            table.words[table.mine + slot] += n
            return True
        finally:
            table.region.unlock(self._bucket)

    def _lower(self, n: int) -> None:
        table = self._table
        if spilled := min(table.spilled.get(self._key, 0), n):
            table.spill(self._key, -spilled)
        slot = self._find()
        if slot != _NOWHERE:
            mine = table.mine + slot
            table.words[mine] = max(table.words[mine] - (n - spilled), 0)

    def _counts(self) -> list[int]:
        """Return the parts that are in a slot, which was the key's before and after."""
        table = self._table
        while self._find() != _NOWHERE:
            counts = table.words[self._across].tolist()
            if table.map[self._at] == self._key:
                return counts
        return [0] * table.region.columns

    def _find(self) -> int:
        """Return the slot of the key, or -1."""
        if self._table.map[self._at] == self._key:
            return self._slot
        slot = self._table.find(self._key, self._bucket)
        if slot != _NOWHERE:
            self._move(slot)
        return slot

    def _move(self, slot: int) -> None:
        at = self._table.keys + slot * KEY
        self._slot, self._at = slot, slice(at, at + KEY)
        self._across = self._table.across(slot)


@define(eq=False)
class SharedPlace:
    """One session's part of a count."""

    _counts: SharedCounts
    _client: bytes
    _held: bool = field(default=True, init=False)

    def release(self) -> None:
        """Give it back; only the first call counts, so every way out may call it."""
        if self._held:
            self._held = False
            self._counts._give_back(self._client)


class SharedCounts:
    """Sessions at once, by client, of all processes."""

    def __init__(self, table: CountTable, kind: Kind) -> None:
        self._table = table
        self._kind = kind
        self._own: dict[bytes, SharedTally] = {}

    def __len__(self) -> int:
        """Return the number of clients that have any in this process."""
        return len(self._own)

    def of(self, key: bytes) -> int:
        """Return how many a client has; see `wsrelay.guards.keys.key_of`."""
        return self._tally(key).total

    def take(self, key: bytes, most: int | None = None) -> SharedPlace | None:
        """Count one more, until its place is given back; None: there are *most* already."""
        tally = self._tally(key)
        if most is None:
            tally.add(1)
        elif not tally.add_below(most):
            return None
        self._own[key] = tally
        return SharedPlace(self, key)

    def _tally(self, key: bytes) -> SharedTally:
        return self._own.get(key) or SharedTally(self._table, self._kind.key(key))

    def _give_back(self, key: bytes) -> None:
        tally = self._own.get(key)
        if tally is not None:
            tally.add(-1)
            if not tally.own:
                del self._own[key]
