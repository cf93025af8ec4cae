"""
What users of nginx, HAProxy and ingress-nginx write, and where it goes here.

Errors about unknown options are answered with it, and docs/compatibility.rst is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from attrs import frozen

__all__ = [
    "PINGED",
    "STREAMED",
    "Habit",
    "Table",
    "answers",
    "first_words",
    "needless",
    "never",
    "says",
]

PINGED: Final = (
    "idle sessions are pinged on both legs; idle_timeout ends them, http_timeout is for plain HTTP"
)
STREAMED: Final = "bodies and frames pass as they come, both ways, and wait on no disk"


_WORD: Final = re.compile(r"[a-z][a-z0-9_-]*")
_FAMILIES: Final = frozenset({"http-check", "http-request", "option", "timeout"})
"""Words that say nothing without the one behind them, which no other habit is taken for."""


@frozen
class Habit:
    """
    One directive: how it is ``written`` there, and what becomes of it here.

    ``lines`` are of relay.ini: ``[route] path = /chat`` is that line in a ``[route:NAME]``.
    ``remark`` is a clause without a full stop; what is code stands between ````.
    """

    written: str
    kind: Literal["says", "needless", "never"]
    lines: tuple[str, ...]
    remark: str

    @property
    def answer(self) -> str:
        """What an operator who writes it is told, behind a semicolon."""
        said = " and ".join(map(_instruction, self.lines))
        begin = {
            "says": f"say {said}",
            "needless": "none is needed",
            "never": "there is nothing like it here",
        }[self.kind]
        return f"{begin}: {self.remark.replace('``', '')}" if self.remark else begin


@frozen
class Table:
    """Habits that belong together, in the order of the page; ``title`` is their heading."""

    title: str
    habits: tuple[Habit, ...]


def says(written: str, *lines: str, remark: str = "") -> Habit:
    """Make a habit that these *lines* replace."""
    return Habit(written, "says", lines, remark)


def needless(written: str, remark: str) -> Habit:
    """Make a habit that needs no line, and say why in *remark*."""
    return Habit(written, "needless", (), remark)


def never(written: str, remark: str) -> Habit:
    """Make a habit that nothing replaces; *remark* says what there is instead."""
    return Habit(written, "never", (), remark)


def answers(tables: Iterable[Table]) -> Mapping[str, str]:
    """Return the words that habits begin with -> the answer; of several the first counts."""
    found: dict[str, str] = {}
    for table in tables:
        for habit in table.habits:
            for words in first_words(habit.written):
                found.setdefault(words, habit.answer)
    return found


def first_words(written: str) -> list[str]:
    """Return what is looked for of a line from elsewhere: two words, and one."""
    words = written.lower().rstrip(";{ ").split()[:2]
    if not words or not _WORD.fullmatch(words[0].rstrip(":")):
        return []
    words[0] = words[0].rstrip(":")
    pair = [" ".join(words)] if len(words) == 2 else []
    return pair + ([] if words[0] in _FAMILIES else words[:1])


def _instruction(line: str) -> str:
    section, option = line.split(" ", 1)
    kind = section.strip("[]")
    home = f"[{kind}:NAME]" if kind in ("listener", "route", "pool") else section
    return f"{option} in {home}"
