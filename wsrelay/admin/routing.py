"""Which action a path and a method stand for."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

__all__ = ["Entry", "Route", "RouteTable"]


class Entry(enum.Enum):
    """Who may come in."""

    PROBE = "anybody, from anywhere"
    VISITOR = "nobody from a page of another origin"
    OPERATOR = "who has the token, if there is one, and comes from no other origin"


def _segments(pattern: str) -> tuple[str, ...]:
    return tuple(pattern[1:].split("/"))


@frozen
class Route:
    """
    One line of the table.

    :param pattern: the path; ``{name}`` stands for a segment that becomes an argument.
    :param action: given the `Call` and the arguments; returns what is answered, or raises
        `Refused`.
    """

    method: str
    pattern: str
    action: Callable[..., Any]
    entry: Entry = Entry.OPERATOR
    segments: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "segments", _segments(self.pattern))

    def match(self, path: tuple[str, ...]) -> dict[str, str] | None:
        """Return the arguments that *path* has for this route, None if it is another path."""
        if len(path) != len(self.segments):
            return None
        found = {}
        for wanted, given in zip(self.segments, path, strict=True):
            if wanted.startswith("{") and given:
                found[wanted[1:-1]] = given
            elif wanted != given:
                return None
        return found


@frozen
class RouteTable:
    """All routes."""

    routes: Sequence[Route]

    def find(self, path: tuple[str, ...] | None) -> dict[str, tuple[Route, dict[str, str]]]:
        """Return the routes of a path by method, each with its arguments."""
        if path is None:
            return {}
        found = ((route, route.match(path)) for route in self.routes)
        return {
            route.method: (route, arguments) for route, arguments in found if arguments is not None
        }
