"""What passed, by route and by upstream: the pumps' numbers, summed up when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable
from operator import add
from typing import Final, TypeVar

from attrs import define, field, frozen
from typing_extensions import override

from wsrelay.observe.bounds import UpstreamKey, make_room
from wsrelay.relay.facts import Facts, Nobody
from wsrelay.relay.pump import Totals
from wsrelay.relay.session import Session

KEPT_FOR: Final = 1.0
"""Seconds for which everybody who asks gets the same sums."""

NOTHING: Final = Totals(*[0] * len(Totals._fields))

Key = TypeVar("Key", bound=Hashable)


@frozen
class Passed:
    """
    The numbers of all sessions, ended and live; *buffered* of the live ones alone.

    *sessions* counts the live ones by route, pool and upstream.
    """

    everything: Totals
    routes: dict[str, Totals]
    upstreams: dict[UpstreamKey, Totals]
    sessions: dict[tuple[str, str, str], int]


@define(eq=False)
class _Group:
    """The live sessions of one route on one upstream."""

    count: int = 0
    totals: Totals = NOTHING


@define(eq=False)
class Traffic(Nobody):
    """
    An observer that keeps the numbers of ended sessions, and adds those of live ones.

    A frame costs nothing here, a session's end some microseconds, and a question about one
    for each live session, at most once a second.

    :param seconds: the reactor's time.
    """

    _seconds: Callable[[], float]
    _routes: dict[str, Totals] = field(factory=dict, init=False)
    _upstreams: dict[UpstreamKey, Totals] = field(factory=dict, init=False)
    _passed: Passed | None = field(default=None, init=False)
    _passed_at: float = field(default=0.0, init=False)

    @override
    def session_ended(self, facts: Facts, session: Session) -> None:
        totals, upstream = session.pump.totals(), (facts.pool, facts.upstream)
        if upstream not in self._upstreams:
            make_room(self._upstreams)
        _add(self._routes, facts.route, totals)
        _add(self._upstreams, upstream, totals)

    @property
    def upstreams(self) -> Iterable[UpstreamKey]:
        """Those that something is kept of."""
        return self._upstreams.keys()

    def forget(self, upstreams: Container[UpstreamKey]) -> None:
        """Keep nothing more of some upstreams; what passed through them stays with its route."""
        for each in [each for each in self._upstreams if each in upstreams]:
            del self._upstreams[each]

    def collect(self, sessions: Iterable[Session]) -> Passed:
        """
        Sum up, or return the sums of the last second.

        :param sessions: those that live, of which none was told as ended yet.
        """
        now = self._seconds()
        if self._passed is None or not 0 <= now - self._passed_at < KEPT_FOR:
            self._passed = self._sum_up(sessions)
            self._passed_at = now
        return self._passed

    def _sum_up(self, sessions: Iterable[Session]) -> Passed:
        routes, upstreams = self._routes.copy(), self._upstreams.copy()
        groups = _grouped(sessions)
        for (route, pool, upstream), group in groups.items():
            _add(routes, route, group.totals)
            _add(upstreams, (pool, upstream), group.totals)
        everything = NOTHING
        for totals in routes.values():
            everything = _sum(everything, totals)
        counts = {key: group.count for key, group in groups.items()}
        return Passed(everything, routes, upstreams, counts)


def _grouped(sessions: Iterable[Session]) -> dict[tuple[str, str, str], _Group]:
    groups: dict[tuple[str, str, str], _Group] = {}
    for session in sessions:
        facts = session.facts
        key = facts.route, facts.pool, facts.upstream
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group()
        group.count += 1
        group.totals = _sum(group.totals, session.pump.totals())
    return groups


def _add(table: dict[Key, Totals], key: Key, totals: Totals) -> None:
    table[key] = _sum(table.get(key, NOTHING), totals)


def _sum(one: Totals, other: Totals) -> Totals:
    return Totals._make(map(add, one, other))
