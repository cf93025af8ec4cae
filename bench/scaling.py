"""
The figures of docs/scaling.rst, made from those of docs/performance.rst and docs/scaling.json.

``python -m bench.scaling docs/`` puts the tables between their comments on the page, and writes the
picture of the storms.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import redis_load, storm_tables, workers
from bench.records import recorded
from bench.screen import number
from bench.sizing import PROFILES, Machine, Need, needs
from bench.sources import Sources
from bench.tables import insert, list_table
from wsrelay.cluster.limits import RENEWED
from wsrelay.cluster.presence import BEATS
from wsrelay.cluster.reports import EVERY

__all__ = ["BLOCKS", "PICTURE", "asked_of_redis", "filled"]

PICTURE: Final = "scaling-storms.svg"
MIB: Final = 2.0**20
KIB: Final = 2.0**10


def _core(sources: Sources) -> Iterator[str]:
    head = ["load", "CPU", "one core, all of it", "figure from"]
    rows = [
        *_echoes(sources),
        _handshakes("handshakes: connect, 101, close", _plain_us(sources), "performance"),
        _handshakes("the same with TLS (ECDSA, no resumption)", sources.tls_us, "capacity"),
        *_idle(sources.records["capacity"]["idle"]),
    ]
    yield from list_table("What one core carries", head, rows)


def _plain_us(sources: Sources) -> float:
    return sources.cpu_us("connect, 101, close; 16 at a time")


def _echoes(sources: Sources) -> Iterator[list[str]]:
    for row in (
        "64 B echo, 1,000 connections",
        "1 KiB echo, 1,000 connections",
        "64 B echo over TLS, 100 connections",
        "64 B echo, 2,000 a second over 100 connections",
    ):
        trip = sources.cpu_us(row)
        rate = f"{number(2e6 / trip)} messages/s"
        yield [row, f"{number(trip)} µs a round trip", rate, "performance"]
    for row in ("1 MiB echo, 8 connections", "1 MiB echo over TLS, 8 connections"):
        trip = sources.cpu_us(row)
        rate = f"{2 * MIB / trip / 1000:.1f} GB/s"
        yield [row, f"{number(trip)} µs a round trip", rate, "performance"]


def _handshakes(title: str, cpu: float, source: str) -> list[str]:
    return [title, f"{number(cpu)} µs each", f"{number(1e6 / cpu)} a second", source]


def _idle(idle: Mapping[str, float]) -> Iterator[list[str]]:
    each = idle["cpu_share"] / idle["sessions"] * 1e6
    size, kernel = idle["resident_bytes"] / KIB, idle["kernel_bytes"] / KIB
    source = "capacity"
    yield [
        f"idle sessions, both legs pinged every {idle['keepalive_s']:g} s",
        f"{number(each)} µs a second each",
        f"{number(1e6 / each)} sessions",
        source,
    ]
    yield [
        "memory of an idle session",
        "",
        f"{size:.1f} KiB, and {kernel:.1f} KiB of the kernel's",
        source,
    ]
    yield ["descriptors of a session", "", f"{idle['files']:.0f}", source]


def _machine(sources: Sources) -> Iterator[str]:
    rows = [
        ["performance", _cell(sources, "date"), _cell(sources, "machine"), _cell(sources, "Python")]
    ]
    for name, each in sorted(sources.records.items()):
        machine = each["machine"]
        hardware = f"{machine['cpu']}, {machine['cores']} cores"
        rows.append([name, each["date"], hardware, f"{machine['python']}, {machine['openssl']}"])
    yield from list_table("Where each figure is from", ["", "taken", "machine", "Python"], rows)


def _cell(sources: Sources, row: str) -> str:
    found = re.search(rf"\* - {row}\n     - (.*)", sources.performance)
    if found is None:
        raise ValueError(f"docs/performance.rst does not say what {row} it is from")
    return found[1]


def _sizes(sources: Sources, sessions: int) -> Iterator[str]:
    machine = Machine()
    head = [
        "",
        "cores busy: messages + pings + handshakes",
        "cores to have",
        f"relays of {machine.cores} cores, one to lose",
        "asked for by",
        "sessions on each, their memory",
        "upstream addresses",
        "drain over",
    ]
    found = [(profile, needs(profile, sessions, sources.core, machine)) for profile in PROFILES]
    rows = ([profile.title, *_need(need)] for profile, need in found)
    yield from list_table(f"{sessions:,} sessions", head, rows)


def _need(need: Need) -> list[str]:
    busy = " + ".join(number(each) for each in need.busy.values())
    memory = f"{need.memory / 2**30:.1f} GiB"
    return [
        busy,
        f"{need.cores:,}",
        f"{need.relays:,}",
        need.first,
        f"{need.sessions:,}, {memory}",
        str(need.upstream_addresses),
        f"{math.ceil(need.drain)} s",
    ]


def _workers(sources: Sources) -> Iterator[str]:
    found = sources.records["workers"]
    name = str(found["workers"])
    head = ["load", "CPU of a unit, 1 worker", f"{name} workers", "balance", f"{name} cores carry"]
    rows = []
    for load, rounds in found["cost"].items():
        costs = [f"{number(workers.median(rounds, each, 'cpu_us'))} µs" for each in ("1", name)]
        even, limited = f"{workers.evenness(rounds, name):.2f}", load in found["limited"]
        carried = f"{workers.carried(rounds, name):.2f} times one" if limited else ""
        rows.append([found["titles"][load], *costs, even, carried])
    yield from list_table(f"One worker and {name}, on one core together", head, rows)
    yield from _direct(found, name)


def _direct(found: Mapping[str, Any], name: str) -> Iterator[str]:
    head = ["load", "a second, 1 worker", f"{name} workers", "is", "used of their shares, at least"]
    rows = []
    for load, rounds in found["direct"].items():
        rates = [f"{workers.median(rounds, each, 'per_s'):,.0f}" for each in ("1", name)]
        used = [f"{workers.least_used(rounds, each, found['share']):.0%}" for each in ("1", name)]
        carried = f"{workers.ratio(rounds, name):.2f} times one"
        rows.append([found["titles"][load], *rates, carried, ", ".join(used)])
    yield from list_table(f"{found['share']:.0%} of a core for each worker", head, rows)


def _redis(sources: Sources) -> Iterator[str]:
    costs = sources.records["redis"]["cpu_us"]
    rows = (
        [redis_load.ASKED[name].title, f"{cost:.1f} µs", f"{1e6 / cost:,.0f}"]
        for name, cost in costs.items()
    )
    title = f"What Redis {sources.records['redis']['version']} is asked"
    yield from list_table(title, ["", "CPU of Redis", "a second, all of a core"], rows)


def _redis_load(sources: Sources) -> Iterator[str]:
    costs, machine = sources.records["redis"]["cpu_us"], Machine()
    head = ["", "handshakes and ends", "counts renewed", "signs of life", "reports", "of one core"]
    rows = []
    for sessions in (100_000, 10_000_000):
        for profile in PROFILES:
            need = needs(profile, sessions, sources.core, machine)
            asked = asked_of_redis(need, sessions, machine)
            busy = sum(rate * costs[name] for name, rate in asked.items()) / 1e6
            rates = [asked["admit"] + asked["count"], *(asked[name] for name in PERIODIC)]
            words = f"{sessions:,}: {profile.title}"
            rows.append([words, *(f"{rate:,.0f}/s" for rate in rates), f"{busy:.1%}"])
    yield from list_table("What the relays ask in a second", head, rows)


PERIODIC: Final = ("renewed", "beat", "report")


def asked_of_redis(need: Need, sessions: int, machine: Machine) -> dict[str, float]:
    """Return how often relays ask Redis in a second, by the names of `bench.redis_load.ASKED`."""
    processes = need.relays * (machine.cores + 1)
    return {
        "admit": need.handshakes,
        "count": need.handshakes,
        "renewed": sessions / RENEWED,  # each from an address of its own
        "beat": processes / BEATS,
        "report": need.relays**2 / EVERY,
    }


Block = Callable[[Sources], Iterator[str]]
BLOCKS: Final[Mapping[str, Block]] = {
    "core": _core,
    "machine": _machine,
    "100 thousand": lambda sources: _sizes(sources, 100_000),
    "10 million": lambda sources: _sizes(sources, 10_000_000),
    "storms": storm_tables.ways,
    "relays": storm_tables.sites,
    "blind": storm_tables.fronts,
    "reconnects": storm_tables.reality,
    "workers": _workers,
    "redis": _redis,
    "redis load": _redis_load,
}
"""What stands between the comments of the page that have its name."""


def filled(page: str, sources: Sources) -> str:
    """Return the page with all its tables made anew."""
    for name, block in BLOCKS.items():
        begin = f".. Figures ({name}) begin here: python -m bench.scaling makes them.\n"
        end = f".. Figures ({name}) end here.\n"
        page = insert(page, "\n".join(block(sources)), begin, end)
    return page


def main(arguments: Sequence[str]) -> None:
    """Fill the page in a folder."""
    folder = Path(arguments[0])
    performance = (folder / "performance.rst").read_text("utf-8")
    sources = Sources(performance, recorded(folder / "scaling.json"))
    page = folder / "scaling.rst"
    page.write_text(filled(page.read_text("utf-8"), sources), "utf-8")
    (folder / PICTURE).write_text(storm_tables.picture(sources), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
