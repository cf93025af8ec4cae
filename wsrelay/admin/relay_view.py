"""What the admin endpoint shows of a relay."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, field

from wsrelay import __version__
from wsrelay.admin.control import Refused
from wsrelay.admin.news import FILTERS
from wsrelay.admin.recent import RecentLog
from wsrelay.admin.words import (
    Calendar,
    Json,
    check_words,
    closing_words,
    date,
    http_words,
    legs_words,
    passed_words,
    pool_words,
    route_words,
    session_words,
    upstream_words,
)
from wsrelay.config.errors import unknown_name
from wsrelay.observe.bounds import UpstreamKey
from wsrelay.observe.exporter import Exporter
from wsrelay.observe.lag import Lag
from wsrelay.observe.metrics import Metrics, Where
from wsrelay.observe.samples import Samples
from wsrelay.observe.traffic import NO_BODIES, NOTHING, Passed, Traffic
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.closing import Closing
from wsrelay.relay.session import Session

if TYPE_CHECKING:
    from wsrelay.service import RelayService


@define(eq=False)
class RelayView:
    """
    Shows one relay: the half of a `Control` that changes nothing.

    :param service: the relay.
    :param counts: of its handshakes and plain requests; *traffic*: what passed; *lag*: of
        its reactor.
    :param recent: the end of its log.
    """

    service: RelayService
    counts: Metrics
    traffic: Traffic
    lag: Lag
    recent: RecentLog
    calendar: Calendar = field(init=False)
    _exporter: Exporter = field(init=False)

    def __attrs_post_init__(self) -> None:
        relay = self.service.relay
        self.calendar = Calendar(relay.reactor.seconds)
        self._exporter = Exporter(relay, self.counts, self.traffic, self.lag)

    def start(self) -> None:
        """Do nothing: everything is here."""

    def stop(self) -> None:
        """Do nothing."""

    # what is there

    def status(self) -> Json:
        """Return the whole state."""
        service, relay = self.service, self.service.relay
        not_ready = self.not_ready()
        opened, refused = _opened_and_refused(self.counts)
        inside = relay.doors.by_name()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": date(service.started_at),
            "uptime_s": round(service.uptime, 1),
            "now": date(time.time()),
            "config": service.file,
            "pump": service.pumps.words,
            "ready": not not_ready,
            "not_ready": not_ready,
            "drain": closing_words(relay.drains.find(relay)) if relay.is_draining else None,
            "connections": relay.doors.inside,
            "max_connections": relay.config.max_connections,
            "accepting": relay.descriptors.is_accepting,
            "openings": len(relay.openings),
            "sessions": len(relay.sessions),
            "requests": len(relay.exchanges),
            "handshakes": opened,
            "refused": refused,
            "refusals": {why: count for why, count in self.counts.rejected.items() if count},
            "http": http_words(self.counts.http_requests.items()),
            "lag_s": round(self.lag.seconds, 4),
            "last_reload": self._last_reload(),
            "listeners": [
                {
                    "name": each.name,
                    "address": address,
                    "tls": each.is_secure,
                    "connections": inside[each.name],
                    "max_connections": each.max_connections,
                }
                for each, address in service.listeners.addresses()
            ],
            "routes": self._routes(),
            "pools": self.pools(),
            "workers": [],
            "cluster": self.cluster() if self.service.config.cluster is not None else None,
        }

    def not_ready(self) -> str:
        """Say why nobody new should come; empty when all is well."""
        relay = self.service.relay
        if relay.is_draining:
            return "the relay is draining"
        if not relay.descriptors.is_accepting:
            return "file descriptors are short, and nobody is let in"
        if all(pool.is_down for pool in relay.pools.values()):
            return "no pool has an upstream that is ready and up"
        return ""

    def pools(self) -> list[Json]:
        """Return what is known of the pools."""
        return [self.pool_words_of(each) for each in self.service.relay.pools.values()]

    def sessions(self, wanted: Mapping[str, str], limit: int) -> Json:
        """List the sessions that match."""
        for name in wanted:
            if name not in FILTERS:
                raise Refused(400, unknown_name("filter", name, FILTERS))
        found = [each for each in self.service.relay.sessions.values() if _matches(each, wanted)]
        listed = [session_words(each, self.calendar) for each in islice(found, limit)]
        return {"total": len(found), "sessions": listed}

    def session(self, id: str) -> Json:
        """Return all that is known of a session."""
        session = self.session_called(id)
        facts = session.facts
        tls = {each.name: each.is_secure for each in self.service.config.listeners}
        return {
            **session_words(session, self.calendar),
            "tls": tls.get(facts.listener, False),
            "handshake_ms": round(facts.handshake_ms, 1),
            "attempts": facts.attempts,
            "legs": legs_words(session),
        }

    def metrics(self) -> bytes:
        """Return the metrics."""
        from wsrelay.observe.prometheus import render

        return render(self.samples())

    def samples(self, gone: Collection[UpstreamKey] | None = None) -> Samples:
        """Return what the metrics are made of; see `Exporter.samples`."""
        return self._exporter.samples(gone)

    def cluster(self) -> Json:
        """Return what is known of the relays that share with this one."""
        cluster = self.service.cluster
        return {"redis": None, "relays": []} if cluster is None else cluster.words

    def log_since(self, number: int) -> list[Json]:
        """Return the recent lines of the log."""
        return self.recent.since(number)

    # who is meant

    def pool_called(self, name: str) -> Pool:
        """Return a pool; raise `Refused` if there is none of this name."""
        pools = self.service.relay.pools
        if name not in pools:
            raise Refused(404, unknown_name("pool", name, pools))
        return pools[name]

    def upstream_called(self, pool: str, name: str) -> tuple[Pool, Upstream]:
        """Return an upstream and its pool; raise `Refused` if there is none."""
        home = self.pool_called(pool)
        known = {each.name: each for each in home.upstreams}
        if name not in known:
            raise Refused(404, unknown_name(f"upstream of pool {pool}", name, known))
        return home, known[name]

    def session_called(self, id: str) -> Session:
        """Return a live session; raise `Refused` if there is none."""
        session = self.service.relay.sessions.get(id)
        if session is None:
            raise Refused(404, f"There is no session {id}; it may have ended.")
        return session

    def sessions_of(self, kind: str, name: str) -> Collection[Session]:
        """
        Return the live sessions of a route or a pool, or with a tag, as *kind* says.

        Raise `Refused` if there is no such route or pool; tags come and go.
        """
        relay = self.service.relay
        if kind == "tag":
            return relay.tags.sessions(name)
        if kind == "pool":
            self.pool_called(name)
        elif name not in (known := [each.name for each in self.service.config.routes]):
            raise Refused(404, unknown_name("route", name, known))
        return [each for each in relay.sessions.values() if getattr(each.facts, kind) == name]

    # words

    def pool_words_of(self, pool: Pool) -> Json:
        """Say all that is known of a pool."""
        drains = self.service.relay.drains
        members = [*pool.upstreams, *pool.gone]
        return {
            **pool_words(pool),
            "drain": closing_words(
                _shown(drains.running.get(pool), pool.upstreams, drains.find(pool))
            ),
            "rebalance": closing_words(drains.find(("rebalance", pool))),
            "problem": self._problem_of(pool),
            "upstreams": [self.upstream_words_of(pool, each) for each in members],
        }

    def upstream_words_of(self, pool: Pool, upstream: Upstream) -> Json:
        """Say all that is known of an upstream."""
        drains = self.service.relay.drains
        closing = _shown(drains.running.get(upstream), [upstream], drains.find(upstream))
        words = upstream_words(upstream, self.calendar, closing, self._check(pool, upstream))
        dialer = self.service.relay.dialers.get(upstream)  # None: it is gone
        passed, key = self._passed(), (pool.name, upstream.name)
        totals = passed.upstreams.get(key, NOTHING)
        bodies = passed.upstream_bodies.get(key, NO_BODIES)
        return {
            **words,
            "idle_connections": 0 if dialer is None else len(dialer.idle),
            **passed_words(totals, bodies),
        }

    def _passed(self) -> Passed:
        relay = self.service.relay
        return self.traffic.collect(relay.sessions.values(), relay.exchanges)

    def _check(self, pool: Pool, upstream: Upstream) -> Json | None:
        upkeep = self.service.upkeeps.get(pool)
        found = None if upkeep is None else upkeep.results.get(upstream)
        return None if found is None else check_words(found[0], self.calendar.at(found[1]))

    def _problem_of(self, pool: Pool) -> str:
        upkeep = self.service.upkeeps.get(pool)
        return "" if upkeep is None or upkeep.source is None else upkeep.source.problem

    def _routes(self) -> list[Json]:
        relay = self.service.relay
        sessions = Counter(each.route.name for each in relay.sessions.values())
        requests = Counter(each.place[0] for each in relay.exchanges)
        http: dict[str, list[tuple[Where, int]]] = {}
        for where, count in self.counts.http_requests.items():
            http.setdefault(where[1], []).append((where, count))
        return [
            route_words(
                each, sessions[each.name], requests[each.name], http_words(http.get(each.name, ()))
            )
            for each in self.service.config.routes
        ]

    def _last_reload(self) -> Json | None:
        last = self.service.last_reload
        if last is None:
            return None
        return {
            "at": date(last.at),
            "ok": not last.errors,
            "changes": list(last.changes),
            "errors": list(last.errors),
        }


def _opened_and_refused(counts: Metrics) -> tuple[int, int]:
    """Count the handshakes that made a session, and the others."""
    opened = sum(n for (*_, status), n in counts.handshakes.items() if status == 101)
    return opened, sum(counts.handshakes.values()) - opened


def _matches(session: Session, wanted: Mapping[str, str]) -> bool:
    facts: Any = session.facts
    for name, text in wanted.items():
        if name == "client":
            is_meant = facts.client.startswith(text)
        else:
            is_meant = text in facts.tags if name == "tag" else getattr(facts, name) == text
        if not is_meant:
            return False
    return True


def _shown(
    running: Closing | None, upstreams: Iterable[Upstream], last: Closing | None
) -> Closing | None:
    """Return the drain that is shown: one that runs, or whose upstreams are still drained."""
    if running is not None:
        return running
    return last if all(each.state == "drain" for each in upstreams) else None
