"""
Write docs/faults.rst: what was done to a relay, and what came of it, in the figures of one run.

``FAULTS_RECORD=docs/faults.json python -m pytest tests/faults`` takes the figures;
``python docs/make_faults.py > docs/faults.rst`` makes the page of them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

HEAD = """\
Faults: what was broken on purpose
==================================

Each row is a test that runs with every change: real processes, one harm, both pumps.  Beside
those that are hit there are sessions that have nothing to do with the harm.  In them, every
message has a number and a checksum, and both ends check them: none may be missing, damaged, out
of order or there twice.  Afterwards the relay has to hold what it held before: no session, no
descriptor, no timer and no object of a session may be left, and its memory may have grown by what
Python keeps for the next time: 6 MiB at most, 12 MiB after two thousand clients.

"""

NOTES = """
"hit" and "not hit" are sessions; "messages" are those of the sessions that were not hit, both ways,
and "lost" are the ones of them that did not arrive as they should have.  "after" is the time from
the harm until what is said in italics below.  "descriptors" and "timers" are counted before the
first session and after the last one, without the pipes that the native pump keeps; so is "memory",
the resident size.  The figures are of one run, on a machine with two cores that had other work as
well: how long a step took there says little, and that nothing was lost, a lot.

A relay under load for longer
-----------------------------

``make soak MINUTES=10`` (10 is the default) runs 60 clients for as long as one likes: text and
binary, short and long, fragmented and compressed messages, readers that are slow, clients that
vanish, plain requests, plain TCP and TLS.  Of three upstreams two are restarted in turn, and the
relay reloads.  All messages are checked as above.  It ends with a table, and with exit code 1
if a message was lost, a session ended without a reason, or a session, a descriptor or memory is
left.  ``SOAK_ARGS="--data-path python"`` chooses the pump.  It needs no more than two cores.

What clients see
----------------
"""

FIGURES = Path(__file__).resolve().parent / "faults.json"
PUMPS = ("native", "python")
MIB = 1 << 20


@frozen
class Scenario:
    """
    One harm.

    *until* is what "after" means; empty where there is nothing to wait for.
    """

    name: str
    title: str
    test: str
    seen: str
    until: str = ""


_UPSTREAMS = "tests/faults/test_upstreams.py"
_NETWORK = "tests/faults/test_network.py"
_MACHINE = "tests/faults/test_machine.py"

SCENARIOS = (
    Scenario(
        "upstream_killed",
        "upstream killed (SIGKILL)",
        _UPSTREAMS,
        "Clients of that upstream get a close frame with 1011 at once.  Who comes back is led to "
        "another one; when it is up again it gets its share.",
        "the last of its clients was told",
    ),
    Scenario(
        "upstream_frozen",
        "upstream frozen (SIGSTOP)",
        _UPSTREAMS,
        'Its clients get 1011, "no pong from the upstream", after ``keepalive`` and '
        "``keepalive_timeout``: 1s and 3s here, 25s and 20s by default.  A handshake that it does "
        "not answer goes to another upstream after ``upstream_handshake_timeout``.",
        "the last of its clients was told",
    ),
    Scenario(
        "reset_in_mid_frame",
        "upstream resets in mid-frame",
        _UPSTREAMS,
        "Inside a frame up to ``whole_frames`` (16 KiB): the client gets nothing of it, and a "
        "close frame with 1011.  Inside a longer one the client has got a part, so no close frame "
        "can follow: its connection ends.",
        "the last client's connection had ended",
    ),
    Scenario(
        "a_byte_a_second",
        "upstream sends a byte a second",
        _UPSTREAMS,
        "A handshake that is answered so slowly gets 504 after ``upstream_handshake_timeout``.  A "
        "session goes on: what comes, however slowly, shows that the upstream lives, also while "
        "it answers no ping; the client gets the frame whole.",
        "the handshake was answered",
    ),
    Scenario(
        "clients_cut_off",
        "clients cut off (half-open)",
        _NETWORK,
        "Every packet between these clients and the relay is lost, and nobody is told.  The "
        'upstream gets 1011, "no pong from the client".  Clients that are back on the network '
        "find their connection closed or reset when they next send.",
        "the last of their sessions had ended",
    ),
    Scenario(
        "upstream_cut_off",
        "upstream cut off (half-open)",
        _NETWORK,
        'Its clients get 1011, "no pong from the upstream".  Who comes back is led to another '
        "upstream after ``connect_timeout`` at most.",
        "the last of its clients was told",
    ),
    Scenario(
        "disk_full",
        "disk under the logs full",
        _MACHINE,
        "Nothing.  Lines that find no room are lost, never a part of one; the service's log says "
        "so once.  When there is room again, lines are written again, without a reload.",
        "the log had said so",
    ),
    Scenario(
        "descriptors_exhausted",
        "descriptors exhausted",
        _MACHINE,
        "A relay with 64 descriptors, 40 clients at once.  Who has a session keeps it.  Others are "
        "refused, cut off, or wait to be let in; all of them that try again are served once there "
        'is room.  "hit" are those that had to try more than once.',
        "everybody had had a session",
    ),
    Scenario(
        "clock_set_ahead",
        "clock set ahead by 2 hours",
        _MACHINE,
        "Nothing.  Sessions, pings and time limits follow a clock that nobody can set.",
    ),
    Scenario(
        "clock_set_back",
        "clock set back by 2 hours",
        _MACHINE,
        "Nothing, likewise.",
    ),
    Scenario(
        "everybody_at_once",
        "2,000 clients come back at once",
        "tests/faults/test_crowd.py",
        "The one upstream of 2,000 clients is killed and started anew.  All get 1011 and come back "
        "at once.  With ``queue_timeout`` they wait for the upstream instead of being refused.",
        "the last of them had a session again, and an answer in it",
    ),
)

HEADS = (
    "harm",
    "pump",
    "hit",
    "not hit",
    "messages",
    "lost",
    "after",
    "descriptors",
    "timers",
    "memory",
)


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD + "\n".join(table()), NOTES, *seen()])


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    figures = {
        (each["scenario"], each["pump"]): each for each in json.loads(FIGURES.read_text("utf-8"))
    }
    yield from (".. list-table::", "   :header-rows: 1", "")
    yield from row(HEADS)
    for scenario in SCENARIOS:
        for pump in PUMPS:
            found = figures[scenario.name, pump]
            yield from row((scenario.title if pump == PUMPS[0] else "", pump, *words(found)))


def row(cells: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a row."""
    for at, cell in enumerate(cells):
        yield f"   {'-' if at else '* -'} {cell}".rstrip().replace("   -", "     -", 1)


def words(found: dict[str, Any]) -> tuple[str, ...]:
    """Write the figures of a row."""
    noticed = found["noticed"]
    before, after = found["memory"]
    return (
        f"{found['hit']:,}",
        f"{found['not_hit']:,}",
        f"{found['messages']:,}",
        str(found["losses"]),
        "" if noticed is None else f"{noticed:.1f} s",
        "{} → {}".format(*found["descriptors"]),
        "{} → {}".format(*found["timers"]),
        f"{before / MIB:.1f} → {after / MIB:.1f} MiB",
    )


def seen() -> Iterator[str]:
    """Yield what clients see."""
    for each in SCENARIOS:
        yield each.title[0].upper() + each.title[1:]
        until = f"  *After: until {each.until}.*" if each.until else ""
        text = f"{each.seen}{until}  ``{each.test}``"
        yield from textwrap.wrap(text, 100, initial_indent="    ", subsequent_indent="    ")
        yield ""


if __name__ == "__main__":
    print(page(), end="")
