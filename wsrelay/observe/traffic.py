"""What passed, by route and by upstream: the pumps' numbers, summed up when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable
from operator import add
from typing import Final, NamedTuple, TypeVar

from attrs import define, field, frozen
from typing_extensions import override

from wsrelay.http.exchanges import UnderWay
from wsrelay.observe.bounds import UpstreamKey, make_room
from wsrelay.relay.facts import Exchanged, Facts, Nobody
from wsrelay.relay.pump import Totals
from wsrelay.relay.session import Session

KEPT_FOR: Final = 1.0
"""Seconds for which everybody who asks gets the same sums."""

NOTHING: Final = Totals(*[0] * len(Totals._fields))

Key = TypeVar("Key", bound=Hashable)
Place = tuple[str, str, str]
"""Route, pool and upstream."""


class Bodies(NamedTuple):
    """Bytes of the bodies of plain requests, and of their answers."""

    up: int = 0
    down: int = 0


NO_BODIES: Final = Bodies()


@frozen
class Passed:
    """
    The numbers of all sessions and plain requests; *buffered* of the live sessions alone.

    *sessions* and *requests* count those that are live, by route, pool and upstream.
    """

    everything: Totals
    routes: dict[str, Totals]
    upstreams: dict[UpstreamKey, Totals]
    sessions: dict[Place, int]
    route_bodies: dict[str, Bodies]
    upstream_bodies: dict[UpstreamKey, Bodies]
    requests: dict[Place, int]


@define(eq=False)
class _Group:
    """The live sessions of one route on one upstream."""

    count: int = 0
    totals: Totals = NOTHING


@define(eq=False)
class Traffic(Nobody):
    """
    An observer that keeps the numbers of what ended, and adds those of what is live.

    A frame costs nothing here, the end of a session or a request a microsecond or some, and a
    question about one for each that is live, at most once a second.

    :param seconds: the reactor's time.
    """

    _seconds: Callable[[], float]
    _routes: dict[str, Totals] = field(factory=dict, init=False)
    _upstreams: dict[UpstreamKey, Totals] = field(factory=dict, init=False)
    _route_bodies: dict[str, Bodies] = field(factory=dict, init=False)
    _upstream_bodies: dict[UpstreamKey, Bodies] = field(factory=dict, init=False)
    _passed: Passed | None = field(default=None, init=False)
    _passed_at: float = field(default=0.0, init=False)

    @override
    def session_ended(self, facts: Facts, session: Session) -> None:
        totals, upstream = session.pump.totals(), (facts.pool, facts.upstream)
        if upstream not in self._upstreams:
            make_room(self._upstreams)
        _add(self._routes, facts.route, totals)
        _add(self._upstreams, upstream, totals)

    @override
    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        bodies, upstream = (what.bytes_up, what.bytes_down), (facts.pool, facts.upstream)
        _add_bodies(self._route_bodies, facts.route, bodies)
        if not facts.upstream:
            return
        if upstream not in self._upstream_bodies:
            make_room(self._upstream_bodies)
        _add_bodies(self._upstream_bodies, upstream, bodies)

    @property
    def upstreams(self) -> Iterable[UpstreamKey]:
        """Those that something is kept of."""
        return self._upstreams.keys() | self._upstream_bodies.keys()

    def forget(self, upstreams: Container[UpstreamKey]) -> None:
        """Keep nothing more of some upstreams; what passed through them stays with its route."""
        for table in (self._upstreams, self._upstream_bodies):
            for each in [each for each in table if each in upstreams]:
                del table[each]

    def collect(self, sessions: Iterable[Session], exchanges: Iterable[UnderWay]) -> Passed:
        """
        Sum up, or return the sums of the last second.

        :param sessions: those that live, of which none was told as ended yet; *exchanges*:
            the plain requests under way, likewise.
        """
        now = self._seconds()
        if self._passed is None or not 0 <= now - self._passed_at < KEPT_FOR:
            self._passed = self._sum_up(sessions, exchanges)
            self._passed_at = now
        return self._passed

    def _sum_up(self, sessions: Iterable[Session], exchanges: Iterable[UnderWay]) -> Passed:
        routes, upstreams = self._routes.copy(), self._upstreams.copy()
        groups = _grouped(sessions)
        for (route, pool, upstream), group in groups.items():
            _add(routes, route, group.totals)
            _add(upstreams, (pool, upstream), group.totals)
        everything = NOTHING
        for totals in routes.values():
            everything = _sum(everything, totals)
        counts = {key: group.count for key, group in groups.items()}
        return Passed(everything, routes, upstreams, counts, *self._sum_up_http(exchanges))

    def _sum_up_http(
        self, exchanges: Iterable[UnderWay]
    ) -> tuple[dict[str, Bodies], dict[UpstreamKey, Bodies], dict[Place, int]]:
        routes, upstreams = self._route_bodies.copy(), self._upstream_bodies.copy()
        counts: dict[Place, int] = {}
        for each in exchanges:
            route, pool, upstream = place = each.place
            counts[place] = counts.get(place, 0) + 1
            _add_bodies(routes, route, each.passed)
            if upstream:
                _add_bodies(upstreams, (pool, upstream), each.passed)
        return routes, upstreams, counts


def _grouped(sessions: Iterable[Session]) -> dict[Place, _Group]:
    groups: dict[Place, _Group] = {}
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


def _add_bodies(table: dict[Key, Bodies], key: Key, more: tuple[int, int]) -> None:
    up, down = table.get(key, NO_BODIES)
    table[key] = Bodies(up + more[0], down + more[1])
