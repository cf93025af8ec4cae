"""What the admin endpoint shows of a relay, and does to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred

from wsrelay import __version__
from wsrelay.admin.control import Refused
from wsrelay.admin.recent import RecentLog
from wsrelay.admin.words import (
    Calendar,
    Json,
    check_words,
    closing_words,
    date,
    legs_words,
    pool_words,
    session_words,
    upstream_words,
)
from wsrelay.config.errors import unknown_name
from wsrelay.config.lines import upstream as parse_upstream
from wsrelay.config.model import Rate
from wsrelay.observe.lag import Lag
from wsrelay.observe.metrics import Metrics
from wsrelay.observe.prometheus import Exporter
from wsrelay.observe.traffic import NOTHING, Traffic
from wsrelay.pools.choosing import announce
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.closing import Closing
from wsrelay.relay.session import Session

if TYPE_CHECKING:
    from wsrelay.service import RelayService

FILTERS: Final = ("pool", "upstream", "route", "listener", "client")


@define(eq=False)
class RelayControl:
    """
    Shows and steers one relay; a `Control`.

    :param service: the relay.
    :param counts: of its handshakes; *traffic*: what passed; *lag*: of its reactor.
    :param recent: the end of its log.
    """

    service: RelayService
    counts: Metrics
    traffic: Traffic
    lag: Lag
    recent: RecentLog
    _calendar: Calendar = field(init=False)
    _exporter: Exporter = field(init=False)

    def __attrs_post_init__(self) -> None:
        relay = self.service.relay
        self._calendar = Calendar(relay.reactor.seconds)
        self._exporter = Exporter(relay, self.counts, self.traffic, self.lag)

    # what is there

    def status(self) -> Json:
        """Return the whole state."""
        service, relay = self.service, self.service.relay
        not_ready = self.not_ready()
        opened, refused = _opened_and_refused(self.counts)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": date(service.started_at),
            "uptime_s": round(time.time() - service.started_at, 1),
            "now": date(time.time()),
            "config": service.file,
            "pump": service.pumps.words,
            "ready": not not_ready,
            "not_ready": not_ready,
            "drain": closing_words(relay.drains.find(relay)) if relay.is_draining else None,
            "connections": len(relay.connections),
            "openings": len(relay.openings),
            "sessions": len(relay.sessions),
            "handshakes": opened,
            "refused": refused,
            "lag_s": round(self.lag.seconds, 4),
            "last_reload": self._last_reload(),
            "listeners": [
                {"name": each.name, "address": address, "tls": each.certificate is not None}
                for each, address in service.listeners.addresses()
            ],
            "routes": self._routes(),
            "pools": self.pools(),
        }

    def not_ready(self) -> str:
        """Say why nobody new should come; empty when all is well."""
        relay = self.service.relay
        if relay.is_draining:
            return "the relay is draining"
        if all(pool.is_down for pool in relay.pools.values()):
            return "no pool has an upstream that is ready and up"
        return ""

    def pools(self) -> list[Json]:
        """Return what is known of the pools."""
        return [self._pool(each) for each in self.service.relay.pools.values()]

    def sessions(self, wanted: Mapping[str, str], limit: int) -> Json:
        """List the sessions that match."""
        for name in wanted:
            if name not in FILTERS:
                raise Refused(400, unknown_name("filter", name, FILTERS))
        found = [each for each in self.service.relay.sessions.values() if _matches(each, wanted)]
        listed = [session_words(each, self._calendar) for each in islice(found, limit)]
        return {"total": len(found), "sessions": listed}

    def session(self, id: str) -> Json:
        """Return all that is known of a session."""
        session = self._session(id)
        facts = session.facts
        tls = {each.name: each.certificate is not None for each in self.service.config.listeners}
        return {
            **session_words(session, self._calendar),
            "tls": tls.get(facts.listener, False),
            "handshake_ms": round(facts.handshake_ms, 1),
            "attempts": facts.attempts,
            "legs": legs_words(session),
        }

    def metrics(self) -> bytes:
        """Return the metrics."""
        return self._exporter.render()

    def log_since(self, number: int) -> list[Json]:
        """Return the recent lines of the log."""
        return self.recent.since(number)

    # what can be done

    def close_session(self, id: str, code: int, reason: str) -> Json:
        """Close both legs."""
        session = self._session(id)
        if session.is_ending:
            raise Refused(409, f"Session {id} is closing already.")
        session.close(code, reason, "admin")
        return session_words(session, self._calendar)

    def change_upstream(self, pool: str, name: str, state: str | None, weight: int | None) -> Json:
        """Set state and weight of an upstream."""
        home, upstream = self._upstream(pool, name)
        if weight is not None and weight != upstream.weight:
            upstream.weight = weight
            announce(home)
        if state is not None:
            self._set_state(home, upstream, state)
        return self._words_of(home, upstream)

    def _set_state(self, pool: Pool, upstream: Upstream, state: str) -> None:
        drains = self.service.relay.drains
        if state == "ready":
            was_out, upstream.state = upstream.state != "ready", "ready"
            drains.stop(upstream)
            if was_out:
                upstream.begin_slowly()
            pool.call_waiting(again=True)
        elif state == "drain":
            upstream.state = "drain"
            drains.drain_upstream(pool, upstream)
        else:
            upstream.state = "down"
            drains.lose(pool, upstream, pool.config.on_down, "down")

    def add_upstream(self, pool: str, line: str) -> Json:
        """Add an upstream."""
        home = self._pool_called(pool)
        try:
            config = parse_upstream(line)
        except ValueError as error:
            raise Refused(400, f"{error}.") from error
        if any(each.name == config.name for each in home.upstreams):
            what = f"Pool {pool} has an upstream {config.name} already"
            raise Refused(409, f"{what}; give this one another name with name=.")
        home.show(config.name)
        changes = home.set_members("api", (*home.said("api"), config))
        self.service.relay.members_changed(home, changes)
        return self._words_of(*self._upstream(pool, config.name))

    def remove_upstream(self, pool: str, name: str) -> Json:
        """Take an upstream away; its sessions end as ``on_removed`` says."""
        home, upstream = self._upstream(pool, name)
        self.service.relay.members_changed(home, home.hide(name))
        return self._words_of(home, upstream)

    def rebalance(self, pool: str, per_second: float) -> Json:
        """Close sessions of the fullest upstreams until they are level."""
        home = self._pool_called(pool)
        closing = self.service.relay.drains.rebalance(home, Rate(per_second))
        return closing_words(closing) or {}

    def drain(self, pool: str | None) -> Json:
        """Drain a pool, or the relay."""
        drains = self.service.relay.drains
        if pool is None:
            return closing_words(drains.drain_relay()) or {}
        home = self._pool_called(pool)
        for upstream in home.upstreams:
            upstream.state = "drain"
        return closing_words(drains.drain_pool(home)) or {}

    def ready(self, pool: str | None) -> Json:
        """Take a drain back."""
        relay = self.service.relay
        if pool is None:
            if not self.service.running:
                raise Refused(409, "The relay is stopping; that cannot be taken back.")
            relay.drains.undrain_relay()
            return {"ready": not self.not_ready()}
        home = self._pool_called(pool)
        relay.drains.stop(home)
        for upstream in home.upstreams:
            self._set_state(home, upstream, "ready")
        return self._pool(home)

    def reload(self) -> Deferred[list[str]]:
        """Read relay.ini again."""
        from wsrelay.service import ReloadRefused

        async def reload() -> list[str]:
            try:
                return await self.service.reload()
            except ReloadRefused as error:
                what = "The configuration is refused; nothing has changed."
                raise Refused(422, what, error.errors) from error

        return Deferred.fromCoroutine(reload())

    # who is meant

    def _pool_called(self, name: str) -> Pool:
        pools = self.service.relay.pools
        if name not in pools:
            raise Refused(404, unknown_name("pool", name, pools))
        return pools[name]

    def _upstream(self, pool: str, name: str) -> tuple[Pool, Upstream]:
        home = self._pool_called(pool)
        known = {each.name: each for each in home.upstreams}
        if name not in known:
            raise Refused(404, unknown_name(f"upstream of pool {pool}", name, known))
        return home, known[name]

    def _session(self, id: str) -> Session:
        session = self.service.relay.sessions.get(id)
        if session is None:
            raise Refused(404, f"There is no session {id}; it may have ended.")
        return session

    # words

    def _pool(self, pool: Pool) -> Json:
        drains = self.service.relay.drains
        members = [*pool.upstreams, *pool.gone]
        return {
            **pool_words(pool),
            "drain": closing_words(
                _shown(drains.running.get(pool), pool.upstreams, drains.find(pool))
            ),
            "rebalance": closing_words(drains.find(("rebalance", pool))),
            "problem": self._problem_of(pool),
            "upstreams": [self._words_of(pool, each) for each in members],
        }

    def _words_of(self, pool: Pool, upstream: Upstream) -> Json:
        drains = self.service.relay.drains
        closing = _shown(drains.running.get(upstream), [upstream], drains.find(upstream))
        words = upstream_words(upstream, self._calendar, closing, self._check(pool, upstream))
        passed = self.traffic.collect(self.service.relay.sessions.values())
        totals = passed.upstreams.get((pool.name, upstream.name), NOTHING)
        return {
            **words,
            "messages_up": totals.client_messages,
            "messages_down": totals.upstream_messages,
            "bytes_up": totals.client_payload,
            "bytes_down": totals.upstream_payload,
        }

    def _check(self, pool: Pool, upstream: Upstream) -> Json | None:
        upkeep = self.service.upkeeps.get(pool)
        found = None if upkeep is None else upkeep.results.get(upstream)
        return None if found is None else check_words(found[0], self._calendar.at(found[1]))

    def _problem_of(self, pool: Pool) -> str:
        upkeep = self.service.upkeeps.get(pool)
        return "" if upkeep is None or upkeep.source is None else upkeep.source.problem

    def _routes(self) -> list[Json]:
        counts: dict[str, int] = {}
        for session in self.service.relay.sessions.values():
            counts[session.route.name] = counts.get(session.route.name, 0) + 1
        signs = {"exact": "= ", "prefix": "", "regex": "~ "}
        return [
            {
                "name": each.name,
                "host": each.host,
                "path": f"{signs[each.path.kind]}{each.path.value}",
                "pool": each.pool,
                "sessions": counts.get(each.name, 0),
            }
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
    return all(
        facts.client.startswith(text) if name == "client" else getattr(facts, name) == text
        for name, text in wanted.items()
    )


def _shown(
    running: Closing | None, upstreams: Iterable[Upstream], last: Closing | None
) -> Closing | None:
    """Return the drain that is shown: one that runs, or whose upstreams are still drained."""
    if running is not None:
        return running
    return last if all(each.state == "drain" for each in upstreams) else None
