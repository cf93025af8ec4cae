"""The last lines of the service's log, for who cannot read the file."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.admin.control import Json
from wsrelay.log import Logger

__all__ = ["RecentLog"]

LINES: Final = 500
"""How many lines are kept."""

LONGEST: Final = 1000
"""Characters of a line."""


@implementer(ILogObserver)
class RecentLog:
    """
    Observes the log; give it to ``globalLogPublisher.addObserver``.

    Events may come from any thread, so each is one append to a deque.
    """

    def __init__(self) -> None:
        self._lines: deque[Json] = deque(maxlen=LINES)
        self._count = 0

    def __call__(self, event: LogEvent) -> None:
        """Keep one event, unless it is below ``[log] level``."""
        level = event.get("log_level", LogLevel.info)
        if level < Logger.level:
            return
        at = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
        self._count += 1
        self._lines.append(
            {
                "number": self._count,
                "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "level": level.name,
                "text": _text(event),
            }
        )

    def since(self, number: int) -> list[Json]:
        """Return the lines whose number is greater, the oldest first."""
        return [line for line in list(self._lines) if line["number"] > number]


def _text(event: LogEvent) -> str:
    """Return the first line of what the log says, and what failed."""
    text = eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)
    first, _, more = text.strip().partition("\n")
    failure: Any = event.get("log_failure")
    if isinstance(failure, Failure):
        first = f"{first}: {_summary(failure)}" if first else _summary(failure)
        more = "the traceback"
    if len(first) > LONGEST:
        first, more = first[:LONGEST], "the rest"
    return f"{first} …" if more else first


def _summary(failure: Failure) -> str:
    name = failure.type.__name__ if failure.type is not None else "failure"
    message, _, _ = failure.getErrorMessage().partition("\n")
    return f"{name}: {message}" if message else name
