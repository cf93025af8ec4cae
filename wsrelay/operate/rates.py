"""Two looks at a relay -> what happens in a second.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import asdict, fields, frozen

from wsrelay.operate.facts import Json, items, number, text

__all__ = ["SORTS", "Pace", "Row", "rates_document", "rows_of", "total_of"]


@frozen
class Pace:
    """How much there is of each a second; None is not known."""

    handshakes: float | None = None
    answered: float | None = None
    messages_up: float | None = None
    messages_down: float | None = None
    bytes_up: float | None = None
    bytes_down: float | None = None


_COUNTERS: Final = tuple(field.name for field in fields(Pace))


@frozen
class Row:
    """An upstream, as status.json has it, and its pace."""

    pool: str
    name: str
    facts: Json
    pace: Pace


def rows_of(before: Json | None, now: Json) -> list[Row]:
    """
    Return every upstream of *now*, in the order of the relay.

    :param before: an earlier status; None, or one of before a restart: no pace is known.
    """
    seconds = _elapsed(before, now)
    earlier = dict(_upstreams(before)) if before and seconds else {}
    return [
        Row(pool, name, facts, _pace(earlier.get((pool, name)), facts, seconds))
        for (pool, name), facts in _upstreams(now)
    ]


def _elapsed(before: Json | None, now: Json) -> float:
    """Return the seconds between, by the relay's own clock; 0: they cannot be compared."""
    if before is None or _life(before) != _life(now):
        return 0.0
    return max((number(now, "uptime_s") or 0.0) - (number(before, "uptime_s") or 0.0), 0.0)


def _life(status: Json) -> tuple[Any, Any]:
    return status.get("pid"), status.get("started")


def _upstreams(status: Json) -> Iterable[tuple[tuple[str, str], Json]]:
    for pool in items(status, "pools"):
        for upstream in items(pool, "upstreams"):
            yield (text(pool, "name"), text(upstream, "name")), upstream


def _pace(before: Json | None, now: Json, seconds: float) -> Pace:
    if before is None:
        return Pace()
    return Pace(*(_rate(number(before, key), number(now, key), seconds) for key in _COUNTERS))


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    # A counter that goes back is another upstream's, of the same name.
    if before is None or now is None or now < before or seconds <= 0:
        return None
    return (now - before) / seconds


def total_of(rows: Iterable[Row]) -> Pace:
    """Add what is known up."""
    paces = [asdict(row.pace) for row in rows]
    return Pace(*(_sum(pace[key] for pace in paces) for key in _COUNTERS))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(*keys: Callable[[Row], float | None]) -> Callable[[Row], tuple[float, str, str]]:
    """Return a sort key for the greatest first; what is not known comes last."""

    def sort_key(row: Row) -> tuple[float, str, str]:
        values = [value for value in (key(row) for key in keys) if value is not None]
        return (-sum(values) if values else float("inf"), row.pool, row.name)

    return sort_key


SORTS: Final[dict[str, Callable[[Row], Any] | None]] = {
    "pool": None,
    "name": lambda row: (row.name, row.pool),
    "sessions": _most(lambda row: number(row.facts, "sessions")),
    "opened": _most(lambda row: row.pace.handshakes),
    "requests": _most(lambda row: row.pace.answered),
    "messages": _most(lambda row: row.pace.messages_up, lambda row: row.pace.messages_down),
    "bytes": _most(lambda row: row.pace.bytes_up, lambda row: row.pace.bytes_down),
    "rtt": _most(lambda row: number(row.facts, "rtt_ms")),
    "failures": _most(lambda row: number(row.facts, "failures")),
}
"""What ``top --sort`` takes -> the key; None leaves the relay's own order."""


_SHOWN: Final = ("state", "health", "sessions", "requests", "rtt_ms")


def rates_document(status: Json, rows: list[Row]) -> Json:
    """Return what ``top --json`` prints; the names end in ``_per_s``."""
    return {
        "at": status.get("now"),
        "sessions": status.get("sessions"),
        "requests": status.get("requests"),
        "total": _per_second(total_of(rows)),
        "upstreams": [
            {"pool": row.pool, "name": row.name}
            | {key: row.facts.get(key) for key in _SHOWN}
            | _per_second(row.pace)
            for row in rows
        ],
    }


def _per_second(pace: Pace) -> Json:
    return {f"{name}_per_s": value for name, value in asdict(pace).items()}
