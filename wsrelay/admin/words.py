"""What is known of pools, upstreams and sessions, as JSON for an operator; see docs/api.rst."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import frozen

from wsrelay.config.model import PluginCall, RouteConfig
from wsrelay.health.check import Result
from wsrelay.observe.metrics import Where
from wsrelay.observe.traffic import Bodies
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.closing import Closing
from wsrelay.relay.pump import Side, Totals
from wsrelay.relay.session import Session

Json = dict[str, Any]

_SIGNS: Final = {"exact": "= ", "prefix": "", "regex": "~ "}


@frozen
class Calendar:
    """
    Turns the reactor's seconds into dates.

    :param seconds: the reactor's; *now*: seconds since the epoch.
    """

    seconds: Callable[[], float]
    now: Callable[[], float] = time.time

    def at(self, then: float) -> str:
        """Return the date of a moment of the reactor's."""
        return date(self.now() - (self.seconds() - then))

    def ago(self, then: float) -> float:
        """Return how many seconds ago that was."""
        return round(self.seconds() - then, 1)


def date(instant: float) -> str:
    """Write seconds since the epoch as RFC 3339 does, in UTC."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(instant))
    return f"{text}.{int(instant % 1 * 1000):03d}Z"


def milliseconds(seconds: float | None) -> float | None:
    """Write a short time, such as a round trip."""
    return None if seconds is None else round(seconds * 1000, 2)


def closing_words(closing: Closing | None) -> Json | None:
    """Say how far a drain is."""
    if closing is None:
        return None
    left = closing.seconds_left
    return {
        "what": closing.terms.what,
        "why": closing.terms.why,
        "total": closing.total,
        "closed": closing.closed,
        "left": closing.left,
        "elapsed_s": round(closing.elapsed, 1),
        "deadline_s": None if left is None else round(left, 1),
        "done": closing.is_over,
    }


def upstream_words(
    upstream: Upstream, calendar: Calendar, closing: Closing | None, check: Json | None
) -> Json:
    """Say what is known of an upstream, but for its connections and what passed through it."""
    return {
        "name": upstream.name,
        "url": upstream.url,
        "source": upstream.source,
        "state": upstream.state,
        "health": upstream.health,
        "health_s": calendar.ago(upstream.since),
        "weight": upstream.weight,
        "max_connections": upstream.max_connections,
        "backup": upstream.backup,
        "sessions": upstream.sessions,
        "openings": upstream.openings - (upstream.requests - upstream.answering),
        "requests": upstream.requests,
        "rtt_ms": milliseconds(upstream.rtt),
        "drain": closing_words(closing),
        "handshakes": upstream.handshakes,
        "answered": upstream.answers,
        "failures": upstream.failures,
        "last_problem": upstream.last_problem,
        "check": check,
        "history": [
            {"at": calendar.at(each.at), "to": each.to, "why": each.why}
            for each in upstream.history
        ],
    }


def passed_words(totals: Totals, bodies: Bodies) -> Json:
    """Say what passed through an upstream: messages of sessions, and bytes of everything."""
    return {
        "messages_up": totals.client_messages,
        "messages_down": totals.upstream_messages,
        "bytes_up": totals.client_payload + bodies.up,
        "bytes_down": totals.upstream_payload + bodies.down,
    }


def http_words(requests: Iterable[tuple[Where, int]]) -> Json:
    """Say how many plain requests are over, and how they were answered."""
    words = {"total": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0}
    for (*_, status), count in requests:
        words["total"] += count
        kind = f"{status // 100}xx"
        if kind in words:
            words[kind] += count
    return words


def route_words(route: RouteConfig, sessions: int, requests: int, http: Json) -> Json:
    """Say what is known of a route; *http* is of `http_words`."""
    return {
        "name": route.name,
        "host": route.host,
        "path": f"{_SIGNS[route.path.kind]}{route.path.value}",
        "pool": route.pool,
        "static": None if route.static is None else str(route.static),
        "redirect": route.redirect,
        "sessions": sessions,
        "requests": requests,
        "http": http,
    }


def check_words(result: Result, at: str) -> Json:
    """Say how the last health check of an upstream went."""
    return {
        "ok": result.ok,
        "what": result.what,
        "ms": milliseconds(result.seconds),
        "at": at,
    }


def pool_words(pool: Pool) -> Json:
    """Say what is known of a pool, but for its upstreams and drains."""
    config, members = pool.config, (*pool.upstreams, *pool.gone)
    return {
        "name": pool.name,
        "balancer": _call_text(config.balancer),
        "sticky": None if config.sticky is None else "cookie",
        "discover": None if config.discover is None else _call_text(config.discover),
        "health_check": None if config.health_check is None else config.health_check.kind,
        "sessions": sum(each.sessions for each in members),
        "requests": sum(each.requests for each in members),
        "queue": len(pool.line),
    }


def _call_text(call: PluginCall) -> str:
    """Write a plugin's name and options as in relay.ini."""
    return " ".join([call.name, *[f"{name}={value}" for name, value in call.options.items()]])


def session_words(session: Session, calendar: Calendar) -> Json:
    """Say what the table of sessions shows of one."""
    facts, totals, rtt = session.facts, session.pump.totals(), session.rtt.get(Side.CLIENT)
    cause = session.cause
    return {
        "id": session.id,
        "listener": facts.listener,
        "route": facts.route,
        "pool": facts.pool,
        "upstream": facts.upstream,
        "client": facts.client,
        "host": facts.host,
        "path": facts.path,
        "origin": facts.origin,
        "user_agent": facts.user_agent,
        "subprotocol": facts.subprotocol,
        "extensions": facts.extensions,
        "tags": sorted(facts.tags),
        "opened": calendar.at(session.opened_at),
        "age_s": calendar.ago(session.opened_at),
        "idle_s": calendar.ago(max(session.pump.last_data(), session.opened_at)),
        "messages_up": totals.client_messages,
        "messages_down": totals.upstream_messages,
        "bytes_up": totals.client_payload,
        "bytes_down": totals.upstream_payload,
        "rtt_ms": milliseconds(rtt),
        "closing": None if cause is None else f"{cause.code} by {cause.initiator}: {cause.reason}",
    }


def legs_words(session: Session) -> Json:
    """Say how each leg of a session is."""
    pump, totals = session.pump, session.pump.totals()
    return {
        side.value: {
            "received": getattr(totals, f"{side.value}_received"),
            "sent": getattr(totals, f"{side.value}_sent"),
            "messages": getattr(totals, f"{side.value}_messages"),
            "binary_messages": getattr(totals, f"{side.value}_binary_messages"),
            "payload": getattr(totals, f"{side.value}_payload"),
            "pauses": getattr(totals, f"{side.value}_pauses"),
            "rtt_ms": milliseconds(session.rtt.get(side)),
            "paused": pump.is_paused(side),
            "waiting": pump.is_waiting(side),
            "stalls": pump.stalls(side),
            "throttles": totals.throttles if side is Side.CLIENT else 0,
        }
        for side in Side
    }
