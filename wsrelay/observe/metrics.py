"""
What is counted of requests, sessions and pings: plain numbers, in the reactor's thread.

Nothing here formats or locks; `wsrelay.observe.exporter` makes metrics of it when
somebody asks.  No label is anything that a client sent: no path, query, host, address, id,
user agent, origin or method.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from functools import partial
from typing import Final, Literal, Protocol

from attrs import define, field
from typing_extensions import override

from wsrelay.observe.bounds import Counts, Distinct, UpstreamKey
from wsrelay.relay.causes import Cause
from wsrelay.relay.facts import Exchanged, Facts, Nobody
from wsrelay.relay.published import RESULTS
from wsrelay.relay.pump import Side
from wsrelay.relay.refusals import REFUSALS
from wsrelay.relay.session import Session

HANDSHAKE_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
PING_BUCKETS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
)
SESSION_BUCKETS: Final = (
    *(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 604800.0),
)
"""Seconds: from a page that is left at once to a device that stays for a week."""

PHASES: Final = ("request", "policies", "queue", "connect", "answer", "total")
"""Parts of a handshake, or of a plain request; see `Facts.phases`."""

PRIVATE_CODES: Final = 50
"""Distinct close codes above the standard ones that are counted by themselves."""

_STANDARD_CODES: Final = range(1000, 1016)

Where = tuple[str, str, str, str, int]
"""Listener, route, pool, upstream and status."""


@define(eq=False)
class Histogram:
    """
    Counts seconds in buckets.

    :param bounds: upper bounds, rising; each belongs to its bucket.
    :ivar counts: how many were in each bucket; the last has no bound.
    """

    bounds: tuple[float, ...]
    sum: float = field(default=0.0, init=False)
    counts: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count a time; one before the beginning, by a clock that was set back, is none."""
        if seconds > 0:
            self.counts[bisect_left(self.bounds, seconds)] += 1
            self.sum += seconds
        else:
            self.counts[0] += 1


class ClusterMeters(Protocol):
    """What `wsrelay.cluster` counts."""

    up: bool
    relays: int
    errors: Counter[str]
    seconds: Histogram


@define(eq=False)
class Metrics(Nobody):
    """
    An observer that counts; its attributes are what `families` says, by the same names.

    Keys of counters are the labels' values in order.
    """

    handshakes: Counts[Where] = field(factory=Counts, init=False)
    http_requests: Counts[Where] = field(factory=Counts, init=False)
    rejected: Counter[str] = field(init=False)
    closes: Counts[tuple[str, str, str]] = field(factory=Counts, init=False)
    pings: Counter[tuple[str, str]] = field(init=False)
    retries: Counter[str] = field(factory=Counter, init=False)
    health_transitions: Counts[tuple[str, str, str]] = field(factory=Counts, init=False)
    reloads: Counter[str] = field(init=False)
    published: Counter[str] = field(init=False)
    ping_rtt: dict[Side, Histogram] = field(init=False)
    handshake_seconds: defaultdict[str, Histogram] = field(init=False)
    http_request_seconds: defaultdict[str, Histogram] = field(init=False)
    session_seconds: Histogram = field(init=False)
    cluster: ClusterMeters | None = field(default=None, init=False)
    """What is counted of the way to other relays, where there is one."""
    _private_codes: Distinct = field(factory=partial(Distinct, PRIVATE_CODES), init=False)

    def __attrs_post_init__(self) -> None:
        self.rejected = Counter(dict.fromkeys(sorted(REFUSALS), 0))
        self.pings = Counter(
            {(side.value, result): 0 for side in Side for result in ("answered", "late")}
        )
        self.reloads = Counter({"ok": 0, "refused": 0})
        self.published = Counter(dict.fromkeys(RESULTS, 0))
        self.ping_rtt = {side: Histogram(PING_BUCKETS) for side in Side}
        self.handshake_seconds = _by_phase()
        self.http_request_seconds = _by_phase()
        self.session_seconds = Histogram(SESSION_BUCKETS)

    # the observer

    @override
    def session_opened(self, facts: Facts, session: Session) -> None:
        self._finished(facts, facts.handshake_ms / 1000)

    @override
    def session_ended(self, facts: Facts, session: Session) -> None:
        if session.cause is not None:
            code = self._code_of(session.cause)
            self.closes.add((facts.route, code, session.cause.initiator))
        self.session_seconds.observe(session.reactor.seconds() - session.opened_at)

    @override
    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        self._finished(facts, what.duration)

    @override
    def refused(self, facts: Facts, reason: str) -> None:
        self._finished(facts, facts.handshake_ms / 1000)
        if facts.refusal:
            self.rejected[facts.refusal] += 1

    @override
    def retried(self, pool: str) -> None:
        self.retries[pool] += 1

    @override
    def pinged(self, side: Side, seconds: float | None) -> None:
        if seconds is None:
            self.pings[side.value, "late"] += 1
        else:
            self.pings[side.value, "answered"] += 1
            self.ping_rtt[side].observe(seconds)

    @override
    def health_changed(self, pool: str, upstream: str, to: str) -> None:
        self.health_transitions.add((pool, upstream, to))

    # told by the service

    def reloaded(self, result: Literal["ok", "refused"]) -> None:
        """Count a reload of the configuration."""
        self.reloads[result] += 1

    # upstreams that are gone

    @property
    def upstreams(self) -> Iterable[UpstreamKey]:
        """Those that something is kept of."""
        for requests in (self.handshakes, self.http_requests):
            for _, _, pool, upstream, _ in requests:
                if upstream:
                    yield pool, upstream
        for pool, upstream, _ in self.health_transitions:
            yield pool, upstream

    def forget(self, upstreams: Container[UpstreamKey]) -> None:
        """Keep nothing more of some upstreams."""
        for requests in (self.handshakes, self.http_requests):
            for request in [each for each in requests if each[2:4] in upstreams]:
                del requests[request]
        for change in [each for each in self.health_transitions if each[:2] in upstreams]:
            del self.health_transitions[change]

    def _finished(self, facts: Facts, total: float) -> None:
        requests, by_phase = self.handshakes, self.handshake_seconds
        if facts.method:
            requests, by_phase = self.http_requests, self.http_request_seconds
        requests.add((facts.listener, facts.route, facts.pool, facts.upstream, facts.status))
        for phase, seconds in facts.phases.items():
            by_phase[phase].observe(seconds)
        if facts.attempts:  # what is refused at once would make all others look fast
            by_phase["total"].observe(total)

    def _code_of(self, cause: Cause) -> str:
        """Return a close code's label: peers can choose from two thousand."""
        code = str(cause.code)
        if cause.code in _STANDARD_CODES or cause.initiator.startswith("relay:"):
            return code
        return self._private_codes.name(code)


def _by_phase() -> defaultdict[str, Histogram]:
    of_phase = partial(Histogram, HANDSHAKE_BUCKETS)
    return defaultdict(of_phase, {phase: of_phase() for phase in PHASES})
