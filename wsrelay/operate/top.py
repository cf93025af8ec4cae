"""``wsrelay top``: what happens right now, again and again."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable

from attrs import define, evolve

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.facts import Json, count, member, number, text
from wsrelay.operate.rates import SORTS, Pace, Row, rates_document, rows_of, total_of
from wsrelay.operate.screen import Left, Screen
from wsrelay.operate.status import COLOURS, has_plain_http, state_of, under_way
from wsrelay.operate.table import Cell, Column, table, without
from wsrelay.operate.text import Style
from wsrelay.operate.troubles import Unreachable
from wsrelay.operate.units import milliseconds, pace, size, some, span, whole
from wsrelay.operate.workers import worker_words

__all__ = ["show_top", "top_lines"]

_COLUMNS = (
    Column("upstream", elastic=True),
    Column("state"),
    Column("health"),
    Column("sessions", right=True),
    Column("requests", right=True),
    Column("opened/s", right=True),
    Column("answered/s", right=True),
    Column("messages/s up", right=True),
    Column("down", right=True),
    Column("bytes/s up", right=True),
    Column("down", right=True),
    Column("rtt", right=True),
    Column("failures", right=True),
)
_OF_PLAIN_HTTP = ("requests", "answered/s")
"""Columns that are left out where there was no plain request."""


@define
class _Watch:
    """
    What was last seen of the relay.

    :ivar problem: why nothing was seen this time; "" if something was.
    """

    relay: Client
    before: Json | None = None
    now: Json | None = None
    problem: str = ""

    def look(self, idle: Callable[[], None] | None = None) -> None:
        """Look again; a relay that is away may come back, one that refuses will not change."""
        try:
            self.before, self.now = self.now, self.relay.status(idle)
            self.problem = ""
        except Unreachable as error:
            self.problem = f"trying again: {error}"


def show_top(options: Namespace, relay: Client, console: Console) -> int:
    """Show what happens: drawn on a terminal, printed where there is none."""
    watch = _Watch(relay)
    try:
        if console.live and options.count is None and not console.as_json:
            _draw(options, watch, console)
            return 0
        return _print(options, watch, console)
    except (KeyboardInterrupt, Left):
        return 0


def _print(options: Namespace, watch: _Watch, console: Console) -> int:
    watch.look()
    printed = 0
    while options.count is None or printed < options.count:
        time.sleep(options.interval)
        watch.look()
        printed += 1
        if console.as_json:
            console.record(_document(watch, options.sort))
        elif watch.problem:
            console.complain(f"wsrelay: {watch.problem}")
        else:
            console.lines(
                [*top_lines(watch.before, watch.now or {}, options.sort, console.style), ""]
            )
    return Unreachable.exit_code if watch.problem else 0


def _document(watch: _Watch, sort: str) -> Json:
    if watch.problem or watch.now is None:
        return {"error": watch.problem}
    return rates_document(watch.now, _sorted(rows_of(watch.before, watch.now), sort))


def _draw(options: Namespace, watch: _Watch, console: Console) -> None:
    with Screen(sys.stdin.fileno(), console.out) as screen:
        while True:
            watch.look(screen.look_at_keys)
            drawn_for = _draw_once(options, watch, console, screen)
            while not screen.pause(options.interval, drawn_for):
                drawn_for = _draw_once(options, watch, console, screen)


def _draw_once(
    options: Namespace, watch: _Watch, console: Console, screen: Screen
) -> tuple[int, int]:
    """Draw what is known; return the columns and lines that it was drawn for."""
    columns, height = screen.size()
    style = evolve(console.style, columns=columns)
    lines = []
    if watch.problem:
        lines.append(style.paint(style.fit(style.safe(watch.problem)), "red"))
    if watch.now is not None:
        lines += top_lines(watch.before, watch.now, options.sort, style)
    screen.draw(_in_height(lines, height, style))
    return columns, height


def _in_height(lines: list[str], height: int, style: Style) -> list[str]:
    if len(lines) <= height:
        return lines
    kept = max(height - 1, 0)
    return [*lines[:kept], style.fit(f"{style.ellipsis} {len(lines) - kept} more")]


def top_lines(before: Json | None, now: Json, sort: str, style: Style) -> list[str]:
    """Lay the relay, the sum of its upstreams and each of them out."""
    rows = rows_of(before, now)
    drain = now.get("drain")
    lines = [style.paint(style.fit(style.safe(_head(now))), "bold")]
    if isinstance(drain, dict) and drain:
        lines.append(style.paint(style.fit(under_way("drain", drain)), "yellow"))
    cells = [_total(now, rows), *(_row(row) for row in _sorted(rows, sort))]
    hidden = () if has_plain_http(row.facts for row in rows) else _OF_PLAIN_HTTP
    return [*lines, *table(*without(hidden, _COLUMNS, cells), style)]


def _head(status: Json) -> str:
    ready = "ready" if status.get("ready") else f"not ready: {text(status, 'not_ready')}"
    lag = number(status, "lag_s")
    behind = milliseconds(None if lag is None else lag * 1000)
    up = f"up {span(number(status, 'uptime_s'))}"
    amounts = [some(count(status, "sessions"), "session")]
    if count(member(status, "http"), "total"):
        amounts.append(some(count(status, "requests"), "request"))
    amounts += worker_words(status)
    facts = [f"wsrelay {text(status, 'version')}", up, ready, *amounts, f"lag {behind}"]
    return ", ".join(facts)


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    key = SORTS[sort]
    return rows if key is None else sorted(rows, key=key)


def _total(status: Json, rows: list[Row]) -> list[Cell]:
    sessions = Cell(whole(number(status, "sessions")))
    # Not the relay's own number: some of those are for files, or have no upstream yet.
    requests = Cell(whole(sum(count(row.facts, "requests") for row in rows)))
    paces = _paces(total_of(rows))
    return [Cell("all"), Cell(""), Cell(""), sessions, requests, *paces, Cell(""), Cell("")]


def _row(row: Row) -> list[Cell]:
    state, health = state_of(row.facts), text(row.facts, "health")
    return [
        Cell(f"{row.pool}/{row.name}"),
        Cell(state, COLOURS.get(state, "")),
        Cell(health, COLOURS.get(health, "")),
        Cell(whole(number(row.facts, "sessions"))),
        Cell(whole(number(row.facts, "requests"))),
        *_paces(row.pace),
        Cell(milliseconds(number(row.facts, "rtt_ms"))),
        Cell(whole(number(row.facts, "failures"))),
    ]


def _paces(of: Pace) -> list[Cell]:
    paces = (of.handshakes, of.answered, of.messages_up, of.messages_down)
    return [Cell(each) for each in [*map(pace, paces), size(of.bytes_up), size(of.bytes_down)]]
