"""Storms as tables and as a picture: a relay is lost in every way, and at different sites."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

from attrs import evolve

from bench.curves import Case, curves
from bench.screen import number
from bench.sources import Sources
from bench.storm import (
    FULL_JITTER,
    IMMEDIATE,
    SOCKET_IO,
    SPREAD_OUT,
    Backoff,
    Loss,
    Site,
    Storm,
    simulate,
)
from bench.tables import list_table

__all__ = ["fronts", "picture", "reality", "sites", "ways"]

RATE: Final = 250.0
LONG: Final = 100.0

KINDS: Final = (
    ("killed; clients try again and again", Loss(), IMMEDIATE),
    ("killed; Socket.IO's defaults", Loss(), SOCKET_IO),
    ("killed; full jitter from 1 s up to 30 s", Loss(), FULL_JITTER),
    ("killed; the first wait is up to 30 s, too", Loss(), SPREAD_OUT),
    ("drained over 30 s; Socket.IO's defaults", Loss(30.0), SOCKET_IO),
    ("drained over 30 s; clients try at once", Loss(30.0), IMMEDIATE),
    ("drain_rate 250/s for 100 s; Socket.IO's", Loss(LONG, RATE), SOCKET_IO),
    ("drain_rate 250/s, cut off after 30 s", Loss(30.0, RATE), SOCKET_IO),
)

BLIND: Final = (
    (0.0, False, "0 s"),
    (6.0, False, "6 s; connections are refused"),
    (6.0, True, "6 s; connections are not answered"),
    (60.0, False, "60 s; connections are refused"),
    (60.0, True, "60 s; connections are not answered"),
)


@functools.cache
def lost(site: Site, loss: Loss, backoff: Backoff) -> Storm:
    """Lose a relay; the tables and the picture show the same storms."""
    return simulate(site, loss, backoff)


def storms(site: Site) -> list[Case]:
    """Lose a relay in every way."""
    return [Case(title, lost(site, loss, backoff)) for title, loss, backoff in KINDS]


def picture(sources: Sources) -> str:
    """Draw the storms."""
    return curves("Losing one relay of four", storms(sources.site))


def ways(sources: Sources) -> Iterator[str]:
    """Tell what came of each way to lose a relay."""
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


def sites(sources: Sources) -> Iterator[str]:
    """Tell what the number of relays does."""
    rows = []
    for relays in (2, 4, 10):
        for title, loss, backoff in (KINDS[1], KINDS[4]):
            storm = lost(evolve(sources.site, relays=relays), loss, backoff)
            rows.append([str(relays), title, *_outcome(storm)])
    yield from list_table(
        "The same with fewer and with more relays", ["relays", "", *OUTCOME], rows
    )


def fronts(sources: Sources) -> Iterator[str]:
    """Tell what it does that clients are still sent to the lost relay."""
    rows = []
    for blind, silent, title in BLIND:
        site = evolve(sources.site, blind=blind, silent=silent)
        storm = lost(site, Loss(), SOCKET_IO)
        rows.append([title, f"{storm.total('refused'):,}", *_outcome(storm)])
    head = ["the front notices after", "sent to the lost one", *OUTCOME]
    title = "The front still sends clients to the lost relay; killed, Socket.IO's defaults"
    yield from list_table(title, head, rows)


def reality(sources: Sources) -> Iterator[str]:
    """Set measured storms beside simulated ones."""
    found = sources.records["reconnects"]
    head = [
        "",
        "all back after: measured, simulated",
        "half were away for: measured, simulated",
        "curves apart",
    ]
    rows = (
        [
            each["title"],
            f"{each['measured_back_s']:.1f} s, {each['simulated_back_s']:.1f} s",
            f"{each['measured_away_s']:.1f} s, {each['simulated_away_s']:.1f} s",
            f"{each['distance']:.0%}",
        ]
        for each in found["trials"]
    )
    title = (
        f"{found['trials'][0]['sessions']:,} clients of a real relay; the other one does "
        f"{found['capacity']:.0f} handshakes a second, backlog {found['backlog']}"
    )
    yield from list_table(title, head, rows)
