"""What is true for a time: buckets of tokens that are not full, sessions that are remembered."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from wsrelay.commons import MARK_SIZE
from wsrelay.sharing.digests import TAG, Kind
from wsrelay.sharing.region import KEY, WIDTH, Region, Times

__all__ = ["SharedBuckets", "SharedMemory", "TimeTable"]

_NOWHERE: Final = -1
_BUCKET: Final = KEY * WIDTH
_TIME: Final = 8
_NEARLY: Final = 1e-3
"""Of a token: a clock of so many seconds as a machine runs is no more exact."""

_RATE: Final = struct.Struct("=d")


class TimeTable:
    """
    A table of values that are true until a time each has, as one process sees it.

    A slot is free once its time has come.  When a bucket is full, the entry that would end
    first gives way, of the kind that has most there: who floods a pool with session ids that
    it makes up, or a route with handshakes, pushes out his own.

    Who writes holds the bucket's lock; who reads holds none, and reads the time, the value and
    the key, in this order.  A slot that gets another key gets first a time that is over, then
    the key, the value, and its time last: so nobody takes one's value for another's, and a
    process may die anywhere.
    """

    def __init__(self, region: Region, times: Times) -> None:
        self.region = region
        self._map = region.map
        self._keys = times.keys
        self._buckets = times.slots // WIDTH
        self._until = times.until // _TIME
        self._values = times.values
        self._times = region.times

    def get(self, key: bytes, now: float) -> tuple[float, bytes] | None:
        """Return until when a key has a value, and this value; None: it has none now."""
        slot = self._find(key)
        if slot == _NOWHERE:
            return None
        until = self._times[self._until + slot]
        value = self._map[self._value(slot)]
        if until <= now or self._map[self._key(slot)] != key:
            return None
        return until, value

    def put(self, key: bytes, now: float, until: float, value: bytes) -> None:
        """Give a key a value; hold the lock."""
        slot = self._find(key)
        if slot == _NOWHERE:
            slot = self._make_room(key, now)
            self._times[self._until + slot] = 0.0
            self._map[self._key(slot)] = key
        self._map[self._value(slot)] = value
        self._times[self._until + slot] = until

    def lock(self, key: bytes) -> bool:
        """
        Keep other processes out of a key's bucket.

        Not to have it does no harm that matters, see `Region.lock`: of two who write at once
        one is forgotten.
        """
        if self.region.lock(self._bucket(key)):
            return True
        self.region.overflows += 1
        return False

    def unlock(self, key: bytes) -> None:
        """Let them in again."""
        self.region.unlock(self._bucket(key))

    def _make_room(self, key: bytes, now: float) -> int:
        first = (self._bucket(key) - self._keys) // KEY
        times = self._times[self._until + first : self._until + first + WIDTH].tolist()
        soonest = min(times)
        if soonest <= now:
            return first + times.index(soonest)
        tags = [self._tag(first + number) for number in range(WIDTH)]
        many = Counter(tags)
        own = key[:TAG]
        loser = max(many, key=lambda tag: (many[tag], tag == own))
        return first + min((n for n in range(WIDTH) if tags[n] == loser), key=times.__getitem__)

    def _bucket(self, key: bytes) -> int:
        number = int.from_bytes(key[TAG : TAG + 8], "little") % self._buckets
        return self._keys + number * _BUCKET

    def _find(self, key: bytes) -> int:
        start = self._bucket(key)
        at = self._map.find(key, start, start + _BUCKET)
        return _NOWHERE if at < 0 else (at - self._keys) // KEY

    def _key(self, slot: int) -> slice:
        at = self._keys + slot * KEY
        return slice(at, at + KEY)

    def _tag(self, slot: int) -> bytes:
        at = self._keys + slot * KEY
        return self._map[at : at + TAG]

    def _value(self, slot: int) -> slice:
        at = self._values + slot * MARK_SIZE
        return slice(at, at + MARK_SIZE)


class SharedBuckets:
    """
    A bucket of tokens for each client, of all processes.

    Kept as in `wsrelay.guards.rates`: the time at which it is full, and of a full one
    nothing.  Beside it is the rate at which it fills.  So nothing is to be done when limits
    change, which every process hears on its own: whoever comes next to a bucket of another
    rate knows what is missing there, and goes on with its own rate.

    The clock is the machine's monotonic one, the same in all processes; if it were set back,
    no more than a whole bucket would be missing.
    """

    def __init__(self, table: TimeTable, kind: Kind, per_second: float, size: float) -> None:
        self._table = table
        self._kind = kind
        self.per_second, self.size = per_second, size

    def take(self, key: bytes, now: float) -> float:
        """
        Take a token, if there is one.

        :param key: whose; see `wsrelay.guards.keys.key_of`.
        :returns: 0: it was taken; else seconds until there is one, and nothing was taken.
        """
        client = self._kind.key(key)
        is_locked = self._table.lock(client)
        try:
            return self._take(client, now)
        finally:
            if is_locked:
                self._table.unlock(client)

    def change(self, per_second: float, size: float) -> None:
        """Go on with other limits; who has taken tokens has taken them."""
        self.per_second, self.size = per_second, size

    def _take(self, client: bytes, now: float) -> float:
        missing, is_known = self._missing(client, now)
        is_empty = missing + 1 > self.size + _NEARLY
        if not is_empty:
            missing += 1
        elif is_known:
            return (missing + 1 - self.size) / self.per_second
        full_at = now + missing / self.per_second
        self._table.put(client, now, full_at, _RATE.pack(self.per_second))
        return (missing + 1 - self.size) / self.per_second if is_empty else 0.0

    def _missing(self, client: bytes, now: float) -> tuple[float, bool]:
        """Return the tokens that a client lacks, and whether its bucket has our rate."""
        entry = self._table.get(client, now)
        if entry is None:
            return 0.0, True
        full_at, packed = entry
        (rate,) = _RATE.unpack(packed)
        missing = (full_at - now) * rate
        return min(missing, self.size), rate == self.per_second and missing <= self.size


class SharedMemory:
    """
    Where sessions belong, of all processes.

    Its size is the region's, for all pools together, whatever size a pool asks for: that is
    for one process alone, where it bounds memory that each table takes for itself.

    :param seconds: the monotonic time; *ttl*: seconds for which a session is remembered.
    """

    def __init__(
        self, table: TimeTable, kind: Kind, seconds: Callable[[], float], ttl: float
    ) -> None:
        self._table = table
        self._kind = kind
        self._seconds = seconds
        self._ttl = ttl

    def get(self, key: str) -> bytes | None:
        """Return the mark that was put there, or None."""
        entry = self._table.get(self._key(key), self._seconds())
        return None if entry is None else entry[1]

    def put(self, key: str, mark: bytes) -> None:
        """Remember a mark of `MARK_SIZE` bytes."""
        session, now = self._key(key), self._seconds()
        is_locked = self._table.lock(session)
        try:
            self._table.put(session, now, now + self._ttl, mark)
        finally:
            if is_locked:
                self._table.unlock(session)

    def keep(self, marks: Collection[bytes]) -> None:
        """
        Do nothing: marks that mean nobody are ignored by who asks, and end by themselves.

        Processes hear of a change one after the other.  The one that does not know of an
        upstream yet would forget what others have just learnt of it.  An upstream that
        leaves and comes back within the time finds those of its sessions that went nowhere
        else meanwhile; alone it would not.
        """

    def _key(self, key: str) -> bytes:
        return self._kind.key(key.encode("utf-8", "surrogatepass"))
