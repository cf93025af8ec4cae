"""What became of the sessions of a run.  Pure, but for what it is told."""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from soak.plain import Asking
from soak.talk import Talk

__all__ = ["Restart", "Tally"]

AFTERMATH: Final = 15.0
"""Seconds after an upstream's end within which its sessions may end with it."""

WITH_THE_UPSTREAM: Final = (1001, 1006, 1011)
"""Close codes of a session whose upstream says that it goes, or is killed."""

NORMAL: Final = 1000
SHOWN: Final = 20


@frozen
class Restart:
    """An upstream was ended, at that moment (monotonic seconds)."""

    upstream: str
    at: float

    def explains(self, talk: Talk) -> bool:
        """Tell whether it is why a session ended."""
        is_its = talk.upstream == self.upstream and talk.code in WITH_THE_UPSTREAM
        return is_its and self.at <= talk.ended_at <= self.at + AFTERMATH


@define
class Row:
    """The figures of one kind of client."""

    sessions: int = 0
    up: int = 0
    down: int = 0
    losses: int = 0
    restarted: int = 0  # sessions that ended with their upstream
    unexpected: int = 0

    def __add__(self, other: Row) -> Row:
        return Row(*(getattr(self, name) + getattr(other, name) for name in Row.__slots__[:6]))


@define
class Tally:
    """
    Counts, and remembers what should not have been.

    :ivar rows: by the kind of client.
    """

    rows: dict[str, Row] = field(factory=dict)
    restarts: list[Restart] = field(factory=list)
    troubles: list[str] = field(factory=list)

    def talked(self, talk: Talk) -> None:
        """Take a session that is over."""
        row = self._row(talk.manner.name, talk.sent, talk.heard)
        if talk.trouble:
            self._lost(row, talk, max(talk.lost, 1))
        elif talk.refused:
            self._unexpected(row, talk.manner.name, f"got no session: {talk.refused}")
        elif talk.manner.vanishes:
            return
        elif any(each.explains(talk) for each in self.restarts):
            row.restarted += 1
        elif talk.code != NORMAL:
            why = f"{talk.upstream} ended it with {talk.code} {talk.reason!r}"
            self._unexpected(row, talk.manner.name, why)
            row.losses += talk.lost
        elif talk.lost:
            self._lost(row, talk, talk.lost)

    def asked(self, name: str, asking: Asking, was_hit: bool) -> None:
        """Take a connection with plain requests; *was_hit*: an upstream ended meanwhile."""
        row = self._row(name, asking.sent, asking.heard)
        if asking.trouble and was_hit:
            row.restarted += 1
        elif asking.trouble:
            row.losses += 1
            self._unexpected(row, name, asking.trouble)

    @property
    def total(self) -> Row:
        """All kinds together."""
        return sum(self.rows.values(), Row())

    def _row(self, name: str, up: int, down: int) -> Row:
        row = self.rows.setdefault(name, Row())
        row.sessions += 1
        row.up += up
        row.down += down
        return row

    def _lost(self, row: Row, talk: Talk, count: int) -> None:
        row.losses += count
        what = talk.trouble or f"{talk.lost} of {talk.sent} messages have no answer"
        self._remember(f"{talk.manner.name}: {what}")

    def _unexpected(self, row: Row, name: str, what: str) -> None:
        row.unexpected += 1
        self._remember(f"{name}: {what}")

    def _remember(self, what: str) -> None:
        if len(self.troubles) < SHOWN:
            self.troubles.append(what)
