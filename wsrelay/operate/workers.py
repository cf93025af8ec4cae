"""The worker processes of a relay that has several."""

from __future__ import annotations

from typing import Final

from wsrelay.operate.facts import Json, count, items, number, text
from wsrelay.operate.table import Cell, Column, table
from wsrelay.operate.text import Style
from wsrelay.operate.units import milliseconds, some, whole

__all__ = ["worker_lines", "worker_words"]

_COLUMNS: Final = (
    Column("worker", right=True),
    Column("state"),
    Column("pid", right=True),
    Column("sessions", right=True),
    Column("connections", right=True),
    Column("lag", right=True),
    Column("restarts", right=True),
    Column("since"),
)


def worker_lines(status: Json, style: Style) -> list[str]:
    """Lay the workers out; nothing where the relay is one process."""
    rows = [_row(each) for each in items(status, "workers")]
    return table(_COLUMNS, rows, style) if rows else []


def worker_words(status: Json) -> list[str]:
    """Say how many workers there are, and how many of them do not do their work."""
    workers = items(status, "workers")
    troubled = sum(_state(each) != "up" for each in workers)
    words = [some(len(workers), "worker")] if workers else []
    return words + ([f"{troubled} of them not up"] if troubled else [])


def _state(worker: Json) -> str:
    state = text(worker, "state")
    return "full" if state == "up" and worker.get("accepting") is False else state


def _row(worker: Json) -> list[Cell]:
    state, lag = _state(worker), number(worker, "lag_s")
    return [
        Cell(str(count(worker, "number"))),
        Cell(state, "green" if state == "up" else "red"),
        Cell(whole(number(worker, "pid"))),
        Cell(whole(number(worker, "sessions"))),
        Cell(whole(number(worker, "connections"))),
        Cell(milliseconds(None if lag is None else lag * 1000)),
        Cell(whole(number(worker, "restarts"))),
        Cell(text(worker, "since")),
    ]
