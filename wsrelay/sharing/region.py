"""The memory that processes share: its layout, its locks, and what becomes of the dead."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from time import monotonic, sleep
from typing import Final, Self

from attrs import asdict, astuple, field, frozen, validators

__all__ = ["KEY", "WIDTH", "Cells", "Region", "RegionError", "Sizes", "Times"]

KEY: Final = 16
"""Bytes of a key: a digest of what is counted."""

WIDTH: Final = 16
"""Slots of a bucket: all that a key may be in."""

MOST_COLUMNS: Final = 4096
"""Processes, at most."""

PATIENCE: Final = 0.25
"""
Seconds for which a lock is waited for.

It is held for microseconds; for tens of milliseconds when the machine is busy and its holder
is not running; for longer only when that is stopped.
"""

_SOON: Final = 0.00002
_MAGIC: Final = b"wsrelay\x01"  # the last byte is the version of the layout
_HEADER: Final = struct.Struct("=8sIIIII16s")
_WORD: Final = 4
_TIME: Final = 8


class RegionError(Exception):
    """There is no memory to share, or it is not ours; with a sentence for the operator."""


def _slots(default: int) -> int:
    return field(
        default=default,
        validator=[validators.ge(WIDTH), validators.le(1 << 24), _fills_buckets],
    )


def _fills_buckets(_sizes: Sizes, _attribute: object, value: int) -> None:
    if value % WIDTH:
        raise ValueError(f"{value} slots are no whole number of buckets of {WIDTH}")


@frozen
class Sizes:
    """
    Slots of each table.

    A key may be in the `WIDTH` slots of one bucket only, so that some buckets are full before
    the table is: at a quarter of its slots none is, at half of them one in 250.  Memory is
    taken as slots are used, a page at a time.
    """

    names: int = _slots(16_384)
    """Numbers that have a name: sessions of upstreams, clients of listeners, who waits."""
    clients: int = _slots(262_144)
    """Clients that have sessions, of all routes (``connections_per_ip``)."""
    rates: int = _slots(262_144)
    """Clients that have come lately, of all routes (``handshakes_per_ip``)."""
    sessions: int = _slots(262_144)
    """Sessions that balancers remember, of all pools (``sticky-sid``)."""


@frozen
class Cells:
    """Where a table of counts is: bytes from the beginning."""

    slots: int
    keys: int
    columns: int
    """The first process' counts."""
    stride: int
    """Bytes from one process' counts to the next one's."""


@frozen
class Times:
    """Where a table of times is: bytes from the beginning."""

    slots: int
    keys: int
    until: int
    values: int


@frozen
class _Layout:
    names: Cells
    clients: Cells
    rates: Times
    sessions: Times
    length: int

    @classmethod
    def of(cls, columns: int, sizes: Sizes) -> Self:
        end = _pages(_HEADER.size)

        def part(size: int, count: int = 1) -> int:
            nonlocal end
            start, end = end, end + _pages(size) * count
            return start

        def cells(slots: int) -> Cells:
            stride = _pages(slots * _WORD)
            return Cells(slots, part(slots * KEY), part(stride, columns), stride)

        def times(slots: int) -> Times:
            return Times(slots, part(slots * KEY), part(slots * _TIME), part(slots * _TIME))

        counts = cells(sizes.names), cells(sizes.clients)
        return cls(*counts, times(sizes.rates), times(sizes.sessions), end)


def _pages(size: int) -> int:
    """Round up, so that what is one process' own can be given back to the system."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class Region:
    """
    Memory that a parent makes and its workers attach to by a descriptor.

    It is a memfd: it has no name and no file, and is gone with the last process that has it.
    Each process has a column of every table of counts, which nobody else writes, so that
    what a process leaves that dies at any moment is its own column (see `clear`), a lock that
    the kernel takes from it, and a slot that was claimed and holds nothing: free for all.

    Locks are record locks of the kernel, of single bytes: that of a bucket is on the first
    byte of its keys.  They are a process' own: its threads do not exclude each other, so that
    one thread only may use a region; and all of them are gone when it closes *any*
    descriptor of the memory, so that a process must have one region, until it ends.

    :ivar columns: for how many processes it is.
    :ivar secret: of all digests, drawn anew for each region: nobody outside can choose clients
        or sessions so that they meet in one bucket.
    :ivar overflows: how often this process could not count together with the others, because
        a bucket was full or a lock was not to be had, and counted for itself.
    """

    def __init__(self, fd: int, columns: int, sizes: Sizes, secret: bytes) -> None:
        self.columns = columns
        self.sizes = sizes
        self.secret = secret
        self.layout = _Layout.of(columns, sizes)
        self.overflows = 0
        self._fd = fd
        self.map = mmap.mmap(fd, self.layout.length)
        self._bytes = memoryview(self.map)
        self.words = self._bytes.cast("I")
        self.times = self._bytes.cast("d")

    @classmethod
    def create(cls, columns: int, sizes: Sizes | None = None) -> Self:
        """
        Make one, for the parent; all of its counts are 0.

        :param columns: for how many processes, the parent too if it counts.
        :raises RegionError: the system has none to give.
        """
        if not 1 <= columns <= MOST_COLUMNS:
            raise ValueError(f"columns={columns}: expected 1 to {MOST_COLUMNS}")
        sizes, secret = sizes or Sizes(), secrets.token_bytes(16)
        fd = -1
        try:
            fd = os.memfd_create("wsrelay", os.MFD_CLOEXEC)
            os.ftruncate(fd, _Layout.of(columns, sizes).length)
            os.pwrite(fd, _HEADER.pack(_MAGIC, columns, *astuple(sizes), secret), 0)
            return cls(fd, columns, sizes, secret)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise RegionError(
                f"The system gives no memory that processes can share ({error}); "
                "set workers = 1, or allow memfd_create."
            ) from error

    @classmethod
    def attach(cls, fd: int) -> Self:
        """
        Use one that the parent has made, for a worker.

        :param fd: the descriptor; it is the region's from now on.
        :raises RegionError: it is something else; it is left open.
        """
        try:
            header, length = os.pread(fd, _HEADER.size, 0), os.fstat(fd).st_size
        except OSError as error:
            raise RegionError(f"Descriptor {fd} is no memory of a relay ({error}).") from error
        if len(header) < _HEADER.size or header[:7] != _MAGIC[:7]:
            raise RegionError(f"Descriptor {fd} is no memory of a relay; the parent gave another.")
        magic, columns, *slots, secret = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise RegionError(
                f"The shared memory has layout {magic[7]}, and this process knows {_MAGIC[7]}: "
                "parent and workers are of different versions; restart the whole relay."
            )
        try:
            sizes = Sizes(*slots)
            expected = _Layout.of(columns, sizes).length
        except ValueError as error:
            raise RegionError(f"The shared memory has a damaged header ({error}).") from error
        if not 1 <= columns <= MOST_COLUMNS or length != expected:
            raise RegionError(
                f"The shared memory has {length} bytes, and {expected} are needed for {columns} "
                f"processes and tables of {asdict(sizes)}; restart the whole relay."
            )
        try:
            os.set_inheritable(fd, False)
            return cls(fd, columns, sizes, secret)
        except OSError as error:
            raise RegionError(f"The shared memory cannot be mapped ({error}).") from error

    def fileno(self) -> int:
        """Return the descriptor, which workers get."""
        return self._fd

    def clear(self, index: int) -> None:
        """
        Make all parts of a process 0: it is dead.

        For the parent, and before a successor of that number begins to count.  Needs no lock:
        nobody else writes them, and who reads meanwhile sees them or 0.
        """
        if not 0 <= index < self.columns:
            raise ValueError(f"index={index}: there are {self.columns} processes")
        for cells in (self.layout.names, self.layout.clients):
            start = cells.columns + index * cells.stride
            try:  # gives the memory back, too
                self.map.madvise(mmap.MADV_REMOVE, start, cells.stride)
            except OSError:
                self.map[start : start + cells.stride] = bytes(cells.stride)

    def lock(self, at: int) -> bool:
        """
        Keep other processes out of a bucket; the same process never waits for itself.

        False: a process that has it does not go on (it is being stopped or frozen), and after
        `PATIENCE` it is better to count for oneself than to stand still, too.

        :param at: the bucket's first byte.
        """
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except BlockingIOError:
            return self._wait_for(at)
        return True

    def _wait_for(self, at: int) -> bool:
        end = monotonic() + PATIENCE
        while monotonic() < end:
            sleep(_SOON)
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
            except BlockingIOError:
                continue
            return True
        return False

    def unlock(self, at: int) -> None:
        """Let them in again."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, at)

    def close(self) -> None:
        """Let go of the memory; nobody may count any more.  Only the first call counts."""
        if self._fd < 0:
            return
        self.words.release()
        self.times.release()
        self._bytes.release()
        self.map.close()
        os.close(self._fd)
        self._fd = -1
