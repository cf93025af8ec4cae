"""
What others wrote, on a terminal: nothing of it may steer the terminal, and it has a width.

Names, paths and user agents come from configurations and clients; an escape sequence in one
of them would be obeyed by the operator's terminal.
"""

from __future__ import annotations

import unicodedata

from attrs import frozen

__all__ = ["Style", "cut", "escape", "width"]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def escape(text: str, encoding: str = "utf-8") -> str:
    """Return *text* with everything that is not printable, or not in *encoding*, escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if _shows(each, encoding) else ascii(each)[1:-1] for each in text)


def _shows(character: str, encoding: str) -> bool:
    if not character.isprintable():
        return False
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def width(text: str) -> int:
    """Return how many columns of a terminal an escaped text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int, ellipsis: str = "…") -> str:
    """Return as much of an escaped text as fits, with an ellipsis if that is not all."""
    if width(text) <= columns:
        return text
    if columns < len(ellipsis):
        return ellipsis[: max(columns, 0)]
    room = columns - len(ellipsis)
    kept = ""
    for each in text:
        room -= _columns(each)
        if room < 0:
            break
        kept += each
    return kept + ellipsis


@frozen
class Style:
    """How a stream wants its text; ``columns`` is None where lines may be of any length."""

    colour: bool = False
    encoding: str = "utf-8"
    columns: int | None = None

    def safe(self, text: str) -> str:
        """Return *text* so that the stream shows it as it is."""
        return escape(text, self.encoding)

    @property
    def ellipsis(self) -> str:
        """What stands for the rest of a text."""
        return "…" if _shows("…", self.encoding) else "..."

    def fit(self, text: str) -> str:
        """Cut an escaped text to the stream's width."""
        return text if self.columns is None else cut(text, self.columns, self.ellipsis)

    def paint(self, text: str, colour: str) -> str:
        """Return *text* in one of the colours, if the stream has them; "" is none."""
        if not (self.colour and colour and text):
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
