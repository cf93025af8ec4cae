"""What there is to tell dashboards in one turn."""

from __future__ import annotations

import json
from typing import Final, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from wsrelay.admin.control import Control, Soon
from wsrelay.admin.waiting import settled

__all__ = ["FILTERS", "Filter", "Late", "Message", "News"]

FILTERS: Final = ("pool", "upstream", "route", "listener", "client", "tag")
"""What sessions may be chosen by."""

LISTED: Final = 200
"""Sessions in a message."""

LATEST: Final = 5.0
"""Seconds after which an answer is not waited for any more."""

Filter = tuple[tuple[str, str], ...]

T = TypeVar("T")


class Late(Exception):  # noqa: N818  the name of what it is
    """The relay has not answered in time."""


@frozen
class Message:
    """What a dashboard is told, and the number of the last line of the log in it."""

    payload: bytes
    last: int


class News:
    """
    What there is to tell in one turn.

    Everything is asked for once, however many dashboards there are, unless they have
    filters or have missed a turn.
    """

    def __init__(self, control: Control, reactor: IReactorTime) -> None:
        self._control = control
        self._reactor = reactor
        self._status = ""
        self._messages: dict[tuple[Filter, int], Message] = {}

    async def message(self, filter: Filter, seen: int) -> Message:
        """
        Return the message for who chose sessions by *filter* and has *seen* so much log.

        One at a time.

        :raises Refused: *filter* cannot be.
        :raises Late: the relay does not answer.
        """
        key = filter, seen
        if key not in self._messages:
            self._messages[key] = await self._make(filter, seen)
        return self._messages[key]

    async def _make(self, filter: Filter, seen: int) -> Message:
        if not self._status:
            self._status = _text(await self._soon(self._control.status()))
        sessions = await self._soon(self._control.sessions(dict(filter), LISTED))
        lines = self._control.log_since(seen)
        rest = _text({"sessions": sessions, "log": lines})
        last = max([seen, *(line["number"] for line in lines)])
        return Message(f'{{"status": {self._status}, {rest[1:]}'.encode(), last)

    async def _soon(self, answer: Soon[T]) -> T:
        return await settled(self._reactor, LATEST, answer, Late())


def _text(value: object) -> str:
    return json.dumps(value, allow_nan=False)
