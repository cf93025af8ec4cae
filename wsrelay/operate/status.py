"""``wsrelay status``: the relay and its pools, once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.facts import Json, count, items, member, number, text
from wsrelay.operate.table import Cell, Column, table, without
from wsrelay.operate.text import Style
from wsrelay.operate.units import milliseconds, some, span, whole
from wsrelay.operate.workers import worker_lines

__all__ = [
    "COLOURS",
    "has_plain_http",
    "progress",
    "show_status",
    "state_of",
    "status_lines",
    "under_way",
]

COLOURS = {"up": "green", "ready": "green", "down": "red", "drain": "yellow", "gone": "yellow"}
"""A state or a health -> what it is painted in."""

_COLUMNS = (
    Column("upstream", elastic=True),
    Column("state"),
    Column("health"),
    Column("weight", right=True),
    Column("sessions", right=True),
    Column("requests", right=True),
    Column("handshakes", right=True),
    Column("answered", right=True),
    Column("failures", right=True),
    Column("rtt", right=True),
    Column("last check", elastic=True),
)
_OF_PLAIN_HTTP = ("requests", "answered")
"""Columns that are left out of a pool that has had no plain request."""


def show_status(_options: Namespace, relay: Client, console: Console) -> int:
    """Print the relay's status."""
    status = relay.status()
    if console.as_json:
        console.document(status)
    else:
        console.lines(status_lines(status, console.style))
    return 0


def status_lines(status: Json, style: Style) -> list[str]:
    """Lay the whole of status.json out."""
    lines = [style.safe(line) for line in _head(status)]
    lines[0] = style.paint(lines[0], "bold")
    if workers := worker_lines(status, style):
        lines += ["", *workers]
    if cluster := member(status, "cluster"):
        lines += ["", *_cluster(cluster, style)]
    for pool in items(status, "pools"):
        lines += ["", *_pool(pool, style)]
    return lines


_RELAYS = (
    Column("relay", elastic=True),
    Column("host", elastic=True),
    Column("state"),
    Column("version"),
    Column("up", right=True),
    Column("sessions", right=True),
    Column("handshakes", right=True),
    Column("said", right=True),
)


def _cluster(cluster: Json, style: Style) -> list[str]:
    """Lay out the relays that share with this one."""
    since = span(number(cluster, "since_s"))
    there = "is there" if cluster.get("up") else f"is away: {text(cluster, 'problem')}"
    words = f"cluster: {text(cluster, 'redis')} {there}, for {since}"
    rows = [
        [
            Cell(text(each, "name") + "*" * (each.get("name") == cluster.get("name"))),
            Cell(text(each, "host")),
            Cell("ready", "green") if each.get("ready") else Cell("not ready", "yellow"),
            Cell(text(each, "version")),
            Cell(span(number(each, "uptime_s"))),
            Cell(whole(count(each, "sessions"))),
            Cell(whole(count(each, "handshakes"))),
            Cell(f"{span(number(each, 'age_s'))} ago"),
        ]
        for each in items(cluster, "relays")
    ]
    return [style.safe(words), *(table(_RELAYS, rows, style) if rows else [])]


def _head(status: Json) -> Iterator[str]:
    ready = "ready" if status.get("ready") else f"not ready: {text(status, 'not_ready')}"
    up = f"up {span(number(status, 'uptime_s'))} since {text(status, 'started')}"
    yield f"wsrelay {text(status, 'version')}, pid {count(status, 'pid')}, {up}, {ready}"
    yield ", ".join(filter(None, (text(status, "config"), text(status, "pump"))))
    names = ("session", "connection", "opening", "handshake")
    amounts = [some(count(status, f"{name}s"), name) for name in names]
    yield ", ".join([*amounts, f"{count(status, 'refused')} refused"])
    if refusals := member(status, "refusals"):
        yield f"refused: {', '.join(_refusals(refusals))}"
    yield from _plain_http(status)
    for listener in items(status, "listeners"):
        tls = ", TLS" if listener.get("tls") else ""
        yield f"listener {text(listener, 'name')}: {text(listener, 'address')}{tls}"
    for route in items(status, "routes"):
        yield _route(route)
    yield from _reload(member(status, "last_reload"))
    if drain := member(status, "drain"):
        yield under_way("drain", drain)


def _refusals(refusals: Json) -> Iterator[str]:
    """Say how many were refused for each reason, the most frequent one first."""
    for reason in sorted(refusals, key=lambda each: -count(refusals, each)):
        yield f"{count(refusals, reason)} {reason}"


def _plain_http(status: Json) -> Iterator[str]:
    """Tell of plain requests, if there were any."""
    requests, http = count(status, "requests"), member(status, "http")
    if requests or count(http, "total"):
        yield f"plain HTTP: {some(requests, 'request')} under way, {_answers(http)}"


def _answers(http: Json) -> str:
    kinds = [f"{count(http, kind)} {kind}" for kind in ("2xx", "3xx", "4xx", "5xx")]
    return f"{count(http, 'total')} over: {', '.join(kinds)}"


def _route(route: Json) -> str:
    facts = [some(count(route, "sessions"), "session")] if text(route, "pool") else []
    http = member(route, "http")
    if count(http, "total"):
        facts.append(f"{some(count(route, 'requests'), 'request')}, {_answers(http)}")
    where = text(route, "host") + text(route, "path")
    return f"route {text(route, 'name')}: {', '.join([f'{where} {_leads(route)}', *facts])}"


def _leads(route: Json) -> str:
    """Say what serves a route."""
    if text(route, "static"):
        return f"to files in {text(route, 'static')}"
    if text(route, "redirect"):
        return f"redirects to {text(route, 'redirect')}"
    return f"to pool {text(route, 'pool')}"


def _reload(reload: Json) -> Iterator[str]:
    if not reload:
        return
    what = "change" if reload.get("ok") else "error"
    lines = reload.get(f"{what}s")
    sentences = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
    refused = "" if reload.get("ok") else "refused, "
    yield f"last reload at {text(reload, 'at')}: {refused}{some(len(sentences), what)}"
    for sentence in sentences:
        yield f"  {sentence}"


def _pool(pool: Json, style: Style) -> list[str]:
    how = ", ".join(
        filter(
            None,
            (
                text(pool, "balancer"),
                _said("sticky", pool, "sticky"),
                _said("health check", pool, "health_check"),
                _said("discovery", pool, "discover"),
            ),
        )
    )
    upstreams = items(pool, "upstreams")
    hidden = () if has_plain_http(upstreams) else _OF_PLAIN_HTTP
    amounts = [some(count(pool, "sessions"), "session")]
    amounts += [] if hidden else [some(count(pool, "requests"), "request")]
    numbers = ", ".join([*amounts, f"queue {count(pool, 'queue')}"])
    title = style.fit(style.safe(f"pool {text(pool, 'name')} ({how}): {numbers}"))
    lines = [style.paint(title, "bold")]
    rows = [_row(each) for each in upstreams]
    lines += table(*without(hidden, _COLUMNS, rows), style, "  ") if rows else ["  no upstreams"]
    closings = [("drain", member(pool, "drain"), ""), ("rebalanc", member(pool, "rebalance"), "")]
    closings += [("drain", member(each, "drain"), f" {text(each, 'name')}") for each in upstreams]
    lines += [style.safe(f"  {under_way(*each)}") for each in closings if count(each[1], "total")]
    return lines


def _said(what: str, facts: Json, key: str) -> str:
    said = text(facts, key)
    return said and f"{what} {said}"


def _row(upstream: Json) -> list[Cell]:
    state, health = state_of(upstream), text(upstream, "health")
    since = number(upstream, "health_s")
    most = number(upstream, "max_connections")
    sessions = whole(number(upstream, "sessions"))
    cells = (
        Cell(text(upstream, "name")),
        Cell(state + (", backup" if upstream.get("backup") else ""), COLOURS.get(state, "")),
        Cell(health if since is None else f"{health} {span(since)}", COLOURS.get(health, "")),
        Cell(whole(number(upstream, "weight"))),
        Cell(sessions if most is None else f"{sessions}/{whole(most)}"),
        Cell(whole(number(upstream, "requests"))),
        Cell(whole(number(upstream, "handshakes"))),
        Cell(whole(number(upstream, "answered"))),
        Cell(whole(number(upstream, "failures"))),
        Cell(milliseconds(number(upstream, "rtt_ms"))),
        _last_check(upstream),
    )
    return list(cells)


def has_plain_http(upstreams: Iterable[Json]) -> bool:
    """Tell whether one of them has had a plain request."""
    return any(count(each, "requests") or count(each, "answered") for each in upstreams)


def state_of(upstream: Json) -> str:
    """Return ready, drain, down, or gone for one that only its sessions keep."""
    return "gone" if text(upstream, "source") == "gone" else text(upstream, "state")


def _last_check(upstream: Json) -> Cell:
    check = member(upstream, "check")
    if check:
        return Cell(text(check, "what"), "" if check.get("ok") else "red")
    problem = text(upstream, "last_problem")
    return Cell(problem and f"last problem: {problem}")


def under_way(stem: str, facts: Json, whose: str = "") -> str:
    """Say what goes on, or went on: *stem* is ``drain`` for ``draining`` and ``drained``."""
    return f"{stem}{'ed' if facts.get('done') else 'ing'}{whose}: {progress(facts)}"


def progress(facts: Json) -> str:
    """Say how far a drain or a rebalancing is."""
    total, elapsed = count(facts, "total"), span(number(facts, "elapsed_s"))
    if not total:
        return "there is nothing to close"
    so_far = f"{count(facts, 'closed')} of {some(total, 'session')} closed"
    if facts.get("done"):
        return f"{so_far} in {elapsed}"
    deadline = number(facts, "deadline_s")
    rest = "" if deadline is None else f", at most {span(deadline)} to go"
    return f"{so_far} after {elapsed}{rest}"
