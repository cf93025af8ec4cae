"""The service's own log: Twisted's, less what is below ``[log] level``."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, ClassVar

from constantly import NamedConstant
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel
from typing_extensions import override


class Logger(TwistedLogger):
    """
    A Twisted logger that drops what nobody wants to read before it costs anything.

    The level holds for the process: there is one log.
    """

    level: ClassVar[NamedConstant] = LogLevel.info

    @override
    def emit(self, level: NamedConstant, format: str | None = None, **kwargs: Any) -> None:
        if level >= Logger.level:
            super().emit(level, format, **kwargs)


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
