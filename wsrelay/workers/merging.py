"""
What several processes say of themselves, as one relay would say it.  Pure.

*own* is always what the parent says: it knows the configuration, the states and the health,
and has no clients.  *parts* are what workers say, of which only the numbers are of interest.
See docs/api.rst for what is in each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from heapq import merge
from itertools import islice
from typing import Any, Final

__all__ = [
    "Json",
    "Lasting",
    "lasting",
    "merged_closing",
    "merged_pool",
    "merged_publication",
    "merged_sessions",
    "merged_status",
    "merged_upstream",
    "part_of",
]

Json = dict[str, Any]

Lasting = Counter[tuple[str, ...]]
"""Numbers that never fall, by where they stand in a status."""

_COUNTED: Final = ("handshakes", "refused", "refusals", "http")
_COUNTED_OF_UPSTREAMS: Final = (
    *("handshakes", "answered", "failures"),
    *("messages_up", "messages_down", "bytes_up", "bytes_down"),
)
_PRESENT: Final = ("connections", "openings", "sessions", "requests")
_OF_ROUTES: Final = ("sessions", "requests", "http")
_OF_POOLS: Final = ("sessions", "requests", "queue")
_OF_UPSTREAMS: Final = (
    *("sessions", "openings", "requests", "idle_connections"),
    *_COUNTED_OF_UPSTREAMS,
)


# a status


def merged_status(own: Json, parts: Sequence[Json]) -> Json:
    """Return the status of the whole relay."""
    return {
        **_with_sums(own, parts, (*_PRESENT, *_COUNTED)),
        "accepting": any(each.get("accepting") for each in parts) or not parts,
        "lag_s": max(each.get("lag_s", 0.0) for each in (own, *parts)),
        "drain": merged_closing(each.get("drain") for each in (own, *parts)),
        "listeners": _named(own, parts, "listeners", _with_connections),
        "routes": _named(own, parts, "routes", _with_numbers_of_a_route),
        "pools": merged_pools(own, parts),
    }


def merged_pools(own: Json, parts: Sequence[Json]) -> list[Json]:
    """Return the pools of a status."""
    return _named(own, parts, "pools", merged_pool)


def merged_pool(own: Json, parts: Sequence[Json]) -> Json:
    """Return what is known of a pool."""
    return {
        **_with_sums(own, parts, _OF_POOLS),
        "drain": merged_closing(each.get("drain") for each in (own, *parts)),
        "rebalance": merged_closing(each.get("rebalance") for each in (own, *parts)),
        "upstreams": _merged_upstreams(own, parts),
    }


def _merged_upstreams(own: Json, parts: Sequence[Json]) -> list[Json]:
    """Merge those of the parent, and those that are gone, which only their sessions keep."""
    known = {_identity(each): [each] for each in own["upstreams"]}
    for each in (each for part in parts for each in part.get("upstreams", ())):
        if _identity(each) in known:
            known[_identity(each)].append(each)
        elif each.get("source") == "gone":
            known[_identity(each)] = [each]
    return [merged_upstream(first, rest) for first, *rest in known.values()]


def merged_upstream(own: Json, parts: Sequence[Json]) -> Json:
    """Return what is known of an upstream."""
    problems = [each.get("last_problem") for each in (own, *parts)]
    trips = [each["rtt_ms"] for each in (own, *parts) if each.get("rtt_ms") is not None]
    return {
        **_with_sums(own, parts, _OF_UPSTREAMS),
        "rtt_ms": trips[0] if trips else None,
        "last_problem": next(filter(None, problems), ""),
        "drain": merged_closing(each.get("drain") for each in (own, *parts)),
    }


def _identity(upstream: Json) -> tuple[str, str]:
    return upstream["name"], upstream["url"]


def _with_connections(own: Json, parts: Sequence[Json]) -> Json:
    return _with_sums(own, parts, ("connections",))


def _with_numbers_of_a_route(own: Json, parts: Sequence[Json]) -> Json:
    return _with_sums(own, parts, _OF_ROUTES)


def _with_sums(own: Json, parts: Sequence[Json], keys: Iterable[str]) -> Json:
    return {**own, **{key: _sum(each.get(key) for each in (own, *parts)) for key in keys}}


def _sum(values: Iterable[Any]) -> Any:
    return reduce(_plus, (each for each in values if each is not None), 0)


def _plus(one: Any, other: Any) -> Any:
    """Add numbers, or objects key by key."""
    if not isinstance(other, dict):
        return one + other
    before = one if isinstance(one, dict) else {}
    return {**before, **{key: _plus(before.get(key, 0), each) for key, each in other.items()}}


def _named(
    own: Json, parts: Sequence[Json], key: str, merged: Callable[[Json, Sequence[Json]], Json]
) -> list[Json]:
    """Merge a list of objects by their names, which are those that the parent knows."""
    found: dict[str, list[Json]] = {each["name"]: [] for each in own[key]}
    for each in (each for part in parts for each in part.get(key, ())):
        if each["name"] in found:
            found[each["name"]].append(each)
    return [merged(each, found[each["name"]]) for each in own[key]]


# drains


def merged_closing(parts: Iterable[Json | None]) -> Json | None:
    """Say how far a drain is of which each process has a part; None: nobody has one."""
    found = [each for each in parts if each is not None]
    return reduce(_both_closings, found) if found else None


def _both_closings(one: Json, other: Json) -> Json:
    """The deadline is the later one of those that go on."""
    first, second = (other, one) if one["done"] and not other["done"] else (one, other)
    deadlines = [first["deadline_s"]]
    if first["done"] == second["done"]:
        deadlines.append(second["deadline_s"])
    known = [each for each in deadlines if each is not None]
    return {
        **first,
        **{key: one[key] + other[key] for key in ("total", "closed", "left")},
        "elapsed_s": max(one["elapsed_s"], other["elapsed_s"]),
        "deadline_s": max(known) if known else None,
        "done": one["done"] and other["done"],
    }


# what remains of the dead


def lasting(status: Json) -> Lasting:
    """Return the numbers of a status that never fall while the relay lives."""
    found: Lasting = Counter()
    for key in _COUNTED:
        _note(found, (key,), status.get(key, 0))
    for route in status.get("routes", ()):
        _note(found, ("route", route["name"]), route["http"])
    for pool in status.get("pools", ()):
        for upstream in pool["upstreams"]:
            for key in _COUNTED_OF_UPSTREAMS:
                _note(found, ("upstream", pool["name"], *_identity(upstream), key), upstream[key])
    return found


def _note(found: Lasting, place: tuple[str, ...], value: Any) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _note(found, (*place, key), each)
    elif value:
        found[place] = value


def part_of(numbers: Lasting, own: Json) -> Json:
    """Write numbers as one more part, as far as the parent still knows what they are about."""
    return {
        **{
            key: _read(numbers, (key,), own.get(key, 0))
            for key in ("handshakes", "refused", "http")
        },
        "refusals": {place[1]: n for place, n in numbers.items() if place[0] == "refusals"},
        "routes": [
            {"name": each["name"], "http": _read(numbers, ("route", each["name"]), each["http"])}
            for each in own["routes"]
        ],
        "pools": [
            {
                "name": pool["name"],
                "upstreams": [_upstream_of(numbers, pool, each) for each in pool["upstreams"]],
            }
            for pool in own["pools"]
        ],
    }


def _upstream_of(numbers: Lasting, pool: Json, upstream: Json) -> Json:
    name, url = _identity(upstream)
    place = ("upstream", pool["name"], name, url)
    counts = {key: numbers.get((*place, key), 0) for key in _COUNTED_OF_UPSTREAMS}
    return {"name": name, "url": url, **counts}


def _read(numbers: Lasting, place: tuple[str, ...], like: Any) -> Any:
    if isinstance(like, dict):
        return {key: numbers.get((*place, key), 0) for key in like}
    return numbers.get(place, 0)


# sessions and messages


def merged_sessions(parts: Sequence[tuple[int, Json]], limit: int) -> Json:
    """
    Return a list of sessions, the oldest first, each with the number of its worker.

    :param parts: by worker; each lists its own oldest sessions, *limit* at most.
    """
    rows = [[{**row, "worker": who} for row in part["sessions"]] for who, part in sorted_by(parts)]
    oldest = islice(merge(*rows, key=lambda row: row["opened"]), limit)
    return {"total": sum(part["total"] for _, part in parts), "sessions": list(oldest)}


def sorted_by(parts: Sequence[tuple[int, Json]]) -> list[tuple[int, Json]]:
    """Return answers in the order of the workers' numbers."""
    return sorted(parts, key=lambda part: part[0])


def merged_publication(parts: Sequence[Json]) -> Json:
    """Return to how many sessions a message was sent, and to how many not."""
    return {
        "sent": sum(each["sent"] for each in parts),
        "skipped": _sum([{}, *(each["skipped"] for each in parts)]),
    }
