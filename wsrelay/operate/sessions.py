"""``wsrelay sessions``: who is connected to what."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.facts import Json, count, items, number, text
from wsrelay.operate.table import Cell, Column, table, without
from wsrelay.operate.target import path_of
from wsrelay.operate.text import Style
from wsrelay.operate.troubles import BadSetting
from wsrelay.operate.units import milliseconds, size, some, span, whole

__all__ = ["detail_lines", "session_lines", "show_sessions"]

_COLUMNS = (
    Column("id"),
    Column("client"),
    Column("upstream", elastic=True),
    Column("age", right=True),
    Column("idle", right=True),
    Column("messages up", right=True),
    Column("down", right=True),
    Column("bytes up", right=True),
    Column("down", right=True),
    Column("rtt", right=True),
    Column("worker", right=True),
    Column("route"),
    Column("path", elastic=True),
)
_OF_WORKERS = ("worker",)
"""Columns that are left out of a relay of one process."""


def show_sessions(options: Namespace, relay: Client, console: Console) -> int:
    """Print the sessions that were asked for, or all about one."""
    answer = relay.ask("GET", _path(options))
    facts = answer if isinstance(answer, dict) else {}
    if console.as_json:
        console.document(answer)
    elif options.id:
        console.lines(detail_lines(facts, console.style))
    else:
        console.lines(session_lines(facts, console.style))
    return 0


def _path(options: Namespace) -> str:
    names = ("pool", "upstream", "route", "client", "tag", "limit")
    wanted = {name: getattr(options, name) for name in names}
    if options.id:
        if given := [name for name, value in wanted.items() if value is not None]:
            raise BadSetting(f"--id tells about one session; leave --{given[0]} out")
        return path_of("sessions", options.id)
    return path_of("sessions", **wanted)


def session_lines(answer: Json, style: Style) -> list[str]:
    """Lay sessions out, and how many there are."""
    sessions = items(answer, "sessions")
    total = max(count(answer, "total"), len(sessions))
    hidden = () if any("worker" in each for each in sessions) else _OF_WORKERS
    rows = [_row(each) for each in sessions]
    lines = table(*without(hidden, _COLUMNS, rows), style) if rows else []
    if len(sessions) < total:
        return [*lines, f"{len(sessions)} of {total} sessions; --limit N shows more"]
    return [*lines, some(total, "session")]


def _row(session: Json) -> list[Cell]:
    cells = (
        text(session, "id"),
        text(session, "client"),
        f"{text(session, 'pool')}/{text(session, 'upstream')}",
        span(number(session, "age_s")),
        span(number(session, "idle_s")),
        whole(number(session, "messages_up")),
        whole(number(session, "messages_down")),
        size(number(session, "bytes_up")),
        size(number(session, "bytes_down")),
        milliseconds(number(session, "rtt_ms")),
        whole(number(session, "worker")),
        text(session, "route"),
        text(session, "path"),
    )
    return [Cell(each) for each in cells]


def detail_lines(session: Json, style: Style) -> list[str]:
    """Lay out all that is known about one session, and about each of its legs."""
    legs = session.get("legs")
    facts = [_fact(key, value) for key, value in session.items() if key not in ("id", "legs")]
    lines = table((Column("session"), Column(text(session, "id"))), facts, style)
    if not isinstance(legs, dict) or not legs:
        return lines
    return [
        *lines,
        "",
        *_legs({key: leg for key, leg in legs.items() if isinstance(leg, dict)}, style),
    ]


def _legs(legs: dict[str, Json], style: Style) -> list[str]:
    columns = [Column("leg"), *(Column(f"{name} leg") for name in legs)]
    keys = dict.fromkeys(key for leg in legs.values() for key in leg)
    rows = [
        [Cell(_name(key)), *(_value(key, leg.get(key)) for leg in legs.values())] for key in keys
    ]
    return table(columns, rows, style)


def _fact(key: str, value: Any) -> list[Cell]:
    return [Cell(_name(key)), _value(key, value)]


def _name(key: str) -> str:
    return key.removesuffix("_s").removesuffix("_ms").replace("_", " ")


def _value(key: str, value: Any) -> Cell:
    """Write one fact; its unit is at the end of its key."""
    amount = number({key: value}, key)
    if amount is None:
        return Cell(_word(value))
    if key.endswith("_s"):
        return Cell(span(amount))
    if key.endswith("_ms"):
        return Cell(milliseconds(amount))
    return Cell(f"{amount:g}" if isinstance(amount, float) else str(amount))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "-"
    return "-" if value is None or value == "" else str(value)
