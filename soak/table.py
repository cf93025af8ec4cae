"""The table that a run ends with."""

from __future__ import annotations

from collections.abc import Iterator

from soak.run import Outcome
from soak.tally import Row

__all__ = ["lines"]

HEADS = ("client", "sessions", "messages up", "down", "lost", "upstream gone", "unexpected end")


def lines(outcome: Outcome) -> Iterator[str]:
    """Yield the lines: a row for each kind of client, what the relay held, what was wrong."""
    tally, before, after = outcome.tally, outcome.before, outcome.after
    rows = [HEADS, *(_words(name, row) for name, row in tally.rows.items())]
    rows.append(_words("all", tally.total))
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    for row in rows:
        yield "  ".join(
            word.rjust(width) if at else word.ljust(width)
            for at, (word, width) in enumerate(zip(row, widths, strict=True))
        )
    yield ""
    yield f"ran           {outcome.seconds:.0f} s, {outcome.pump}"
    yield f"meanwhile     {len(tally.restarts)} upstreams restarted, {outcome.reloads} reloads"
    yield f"descriptors   {before.descriptors} at the start, {after.descriptors} at the end"
    yield f"memory        {_mib(before.memory)} warm, {_mib(after.memory)} at the end"
    yield f"sessions      {after.sessions} left"
    for each in outcome.faults:
        yield f"FAULT: {each}"
    yield "good" if outcome.is_good else "NOT GOOD"


def _words(name: str, row: Row) -> tuple[str, ...]:
    numbers = (row.sessions, row.up, row.down, row.losses, row.restarted, row.unexpected)
    return (name, *map(str, numbers))


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
