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

from attrs import evolve, frozen

from bench.curves import Case, curves
from bench.records import recorded
from bench.screen import number
from bench.sizing import PROFILES, Core, Machine, Need, needs
from bench.storm import (
    FULL_JITTER,
    IMMEDIATE,
    SOCKET_IO,
    SPREAD_OUT,
    Loss,
    Site,
    Storm,
    simulate,
)
from bench.tables import insert, list_table

__all__ = ["BLOCKS", "PICTURE", "Sources", "cell", "filled", "picture"]

PICTURE: Final = "scaling-storms.svg"
NATIVE: Final = "wsrelay, native pump"
CPU: Final = "CPU of the proxy, µs a unit (ratio to nginx)"
MIB: Final = 2.0**20
KIB: Final = 2.0**10
CORES: Final = 2
"""Of each relay in the storms."""

RATE: Final = 500.0
LONG: Final = 100.0

KINDS: Final = (
    ("killed; clients try again and again", Loss(), IMMEDIATE),
    ("killed; Socket.IO's defaults", Loss(), SOCKET_IO),
    ("killed; full jitter from 1 s up to 30 s", Loss(), FULL_JITTER),
    ("killed; the first wait is up to 30 s, too", Loss(), SPREAD_OUT),
    ("drained over 30 s; Socket.IO's defaults", Loss(30.0), SOCKET_IO),
    ("drained over 30 s; clients try at once", Loss(30.0), IMMEDIATE),
    ("drain_rate 500/s for 100 s; Socket.IO's", Loss(LONG, RATE), SOCKET_IO),
    ("drain_rate 500/s, cut off after 30 s", Loss(30.0, RATE), SOCKET_IO),
)

BLIND: Final = (
    (0.0, False, "0 s"),
    (6.0, False, "6 s; connections are refused"),
    (6.0, True, "6 s; connections are not answered"),
    (60.0, False, "60 s; connections are refused"),
    (60.0, True, "60 s; connections are not answered"),
)


@frozen
class Sources:
    """
    What the page is made from.

    :ivar performance: the text of docs/performance.rst.
    :ivar records: docs/scaling.json; see `bench.records`.
    """

    performance: str
    records: Mapping[str, Any]

    def cpu_us(self, row: str) -> float:
        """Return the CPU of one unit, from docs/performance.rst."""
        return float(cell(self.performance, CPU, row, NATIVE).split()[0].replace(",", ""))

    @property
    def tls_us(self) -> float:
        """CPU of a session with TLS, from its beginning to its end."""
        return float(self.records["capacity"]["handshakes"]["tls"]["cpu_us"])

    @property
    def core(self) -> Core:
        """What one core carries, TLS included."""
        idle = self.records["capacity"]["idle"]
        return Core(
            message_us=self.cpu_us("64 B echo, 1,000 connections") / 2,
            handshake_us=self.tls_us,
            session_us=idle["cpu_share"] / idle["sessions"] * 1e6,
            session_bytes=idle["resident_bytes"] + idle["kernel_bytes"],
        )

    @property
    def site(self) -> Site:
        """Where the storms are."""
        return Site(relays=4, sessions=50_000, capacity=CORES * 1e6 / self.tls_us)


def cell(page: str, title: str, row: str, column: str) -> str:
    """
    Return a cell of a list-table, by its table's title and the first cells of row and column.

    :raises ValueError: there is none.
    """
    _, found, rest = page.partition(f".. list-table:: {title}\n")
    table = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
    rows = [
        [each.strip() for each in re.split(r"\n     -", chunk.strip(" -"))]
        for chunk in re.split(r"\n   \*", table)[1:]
    ]
    for each in rows:
        if found and each[0] == row and column in rows[0]:
            return each[rows[0].index(column)]
    raise ValueError(f"There is no {row!r}, {column!r} in the table {title!r}")


def storms(site: Site) -> list[Case]:
    """Lose a relay in every way."""
    return [Case(title, simulate(site, loss, backoff)) for title, loss, backoff in KINDS]


def picture(sources: Sources) -> str:
    """Draw the storms."""
    return curves("Losing one relay of four", storms(sources.site))


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
        "| memory of an idle session",
        "",
        f"{size:.1f} KiB, and {kernel:.1f} KiB of the kernel's",
        source,
    ]
    yield ["| descriptors of a session", "", f"{idle['files']:.0f}", source]


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


def _storms(sources: Sources) -> Iterator[str]:
    head = ["", *OUTCOME]
    rows = ([case.title, *_outcome(case.storm)] for case in storms(sources.site))
    site = sources.site
    title = (
        f"One of {site.relays} relays is lost, with {site.sessions:,} sessions; "
        f"each does {number(site.capacity)} handshakes a second"
    )
    yield from list_table(title, head, rows)


OUTCOME: Final = (
    "most in a second, to what the others can do",
    "seconds with more than half of it",
    "connections for each client",
    "away: half of them, the last",
    "all back after",
)


def _outcome(storm: Storm) -> list[str]:
    middle, last = storm.away[len(storm.away) // 2], storm.away[-1]
    return [
        number(storm.peak),
        f"{storm.busy:.0f}",
        number(storm.total("offered") / storm.site.sessions),
        f"{middle:.1f} s, {last:.1f} s",
        "never" if storm.back_at is None else f"{storm.back_at:.0f} s",
    ]


def _relays(sources: Sources) -> Iterator[str]:
    rows = []
    for relays in (2, 4, 10):
        for title, loss, backoff in (KINDS[1], KINDS[4]):
            storm = simulate(evolve(sources.site, relays=relays), loss, backoff)
            rows.append([str(relays), title, *_outcome(storm)])
    yield from list_table(
        "The same with fewer and with more relays", ["relays", "", *OUTCOME], rows
    )


def _blind(sources: Sources) -> Iterator[str]:
    rows = []
    for blind, silent, title in BLIND:
        site = evolve(sources.site, blind=blind, silent=silent)
        storm = simulate(site, Loss(), SOCKET_IO)
        rows.append([title, f"{storm.total('refused'):,}", *_outcome(storm)])
    head = ["the front notices after", "sent to the lost one", *OUTCOME]
    title = "The front still sends clients to the lost relay; killed, Socket.IO's defaults"
    yield from list_table(title, head, rows)


Block = Callable[[Sources], Iterator[str]]
BLOCKS: Final[Mapping[str, Block]] = {
    "core": _core,
    "machine": _machine,
    "100 thousand": lambda sources: _sizes(sources, 100_000),
    "10 million": lambda sources: _sizes(sources, 10_000_000),
    "storms": _storms,
    "relays": _relays,
    "blind": _blind,
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
    (folder / PICTURE).write_text(picture(sources), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
