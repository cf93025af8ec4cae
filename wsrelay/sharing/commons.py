"""`wsrelay.commons.Commons` over memory that processes share."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import override

from wsrelay.commons import Buckets, Commons, Counts, Memory, Tally
from wsrelay.sharing.counting import CountTable, SharedCounts, SharedTally
from wsrelay.sharing.digests import Kind
from wsrelay.sharing.region import Region
from wsrelay.sharing.timing import SharedBuckets, SharedMemory, TimeTable

__all__ = ["SharedCommons"]


class SharedCommons(Commons):
    """
    What one process of several counts.

    Numbers with a name, clients with sessions, clients that came lately, and sessions have a
    table each, so that none can fill another's.

    :param index: the number of this process; no other that lives has it, and the column of
        one that had it is cleared, see `Region.clear`.
    """

    def __init__(self, region: Region, index: int) -> None:
        if not 0 <= index < region.columns:
            raise ValueError(f"index={index}: there are {region.columns} processes")
        layout = region.layout
        self._region = region
        self._index = index
        self._secret = region.secret
        self._names = CountTable(region, layout.names, index)
        self._clients = CountTable(region, layout.clients, index)
        self._rates = TimeTable(region, layout.rates)
        self._sessions = TimeTable(region, layout.sessions)

    @property
    @override
    def index(self) -> int:
        return self._index

    @property
    @override
    def overflows(self) -> int:
        return self._region.overflows

    @override
    def tally(self, *name: str) -> Tally:
        return SharedTally(self._names, Kind(self._secret, *name).key())

    @override
    def counts(self, route: str) -> Counts:
        return SharedCounts(self._clients, Kind(self._secret, route))

    @override
    def buckets(self, route: str, per_second: float, size: float) -> Buckets:
        return SharedBuckets(self._rates, Kind(self._secret, route), per_second, size)

    @override
    def memory(
        self, pool: str, table: str, seconds: Callable[[], float], ttl: float, size: int
    ) -> Memory:
        return SharedMemory(self._sessions, Kind(self._secret, pool, table), seconds, ttl)
