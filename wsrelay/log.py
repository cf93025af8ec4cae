"""The service's own log: Twisted's, less what is below ``[log] level``, and no flood of lines."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

from constantly import NamedConstant
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel, formatEvent
from typing_extensions import override

from wsrelay.line_limit import LineLimit, Missed

_SUBJECTS: Final = ("pool", "upstream", "name", "label", "about", "subject", "line")
"""Keys of what is said about: names that relay.ini or an operator has given, not a client."""


class Logger(TwistedLogger):
    """
    A Twisted logger that drops what nobody wants to read before it costs anything.

    That is what is below the level, and, while a service runs, more than ten lines of one
    cause in a second: so no crowd of clients can fill a disk.  A cause is a place in the
    program, and which pool, upstream or listener it is about; see `_SUBJECTS`.

    Level and limit hold for the process: there is one log.
    """

    level: ClassVar[NamedConstant] = LogLevel.info
    limit: ClassVar[LineLimit | None] = None

    @override
    def emit(self, level: NamedConstant, format: str | None = None, **kwargs: Any) -> None:
        if level >= Logger.level and (Logger.limit is None or self._may(level, format, kwargs)):
            super().emit(level, format, **kwargs)

    def _may(self, level: NamedConstant, format: str | None, facts: Mapping[str, Any]) -> bool:
        assert Logger.limit is not None
        about = tuple(str(facts[key]) for key in _SUBJECTS if key in facts)
        missed = Logger.limit.missed((self.namespace, level, format, about))
        if missed is not None and missed.count == 1:
            sample = formatEvent({"log_format": format, **facts})
            missed.sample = self.namespace, level, sample
        return missed is None


class EveryLine(Logger):
    """A `Logger` that leaves no line out: for what an operator did, and nobody else can."""

    @override
    def _may(self, level: NamedConstant, format: str | None, facts: Mapping[str, Any]) -> bool:
        return True


def limit_lines(reactor: Any) -> LineLimit:
    """Limit the lines of each cause from now on; see `Logger` and `limit_no_more`."""
    if Logger.limit is not None:
        Logger.limit.end()
    Logger.limit = LineLimit(reactor, _sum_up)
    return Logger.limit


def limit_no_more(limit: LineLimit) -> None:
    """Sum up what was missed, and limit nothing more, unless somebody else does by now."""
    limit.end()
    if Logger.limit is limit:
        Logger.limit = None


def _sum_up(cause: Hashable, missed: Missed, seconds: float) -> None:
    namespace, level, sample = missed.sample
    TwistedLogger(namespace).emit(
        level,
        "… and {count} more like it in {seconds:.1f} s: {sample}",
        count=missed.count,
        seconds=seconds,
        sample=sample,
    )


def set_level(name: str) -> None:
    """Set the lowest level that is logged, by its name in relay.ini."""
    Logger.level = LogLevel.levelWithName(name)


def write_stdout(text: str) -> None:
    """
    Write a line to the real standard output.

    Not ``print``: twistd puts its own log in the place of ``sys.stdout``.  When nobody
    reads it any more, or a disk is full, the line is lost and the service goes on.
    """
    if sys.__stdout__ is not None:
        with suppress(OSError, ValueError):
            sys.__stdout__.write(text + "\n")
            sys.__stdout__.flush()
