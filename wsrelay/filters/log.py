"""``filters = log``: a line for each message."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger as EveryLine
from twisted.logger import LogLevel
from zope.interface import implementer

from wsrelay.config.values import integer, one_of, word_or
from wsrelay.filters.options import parsed
from wsrelay.interfaces import IMessageFilter, ISession
from wsrelay.log import Logger

__all__ = ["MOST", "LogMessages"]

log = EveryLine()  # the relay's own would sum up more than a few in a second

MOST: Final = 4096
"""Most characters, or bytes of a binary message, that are shown."""


@implementer(IMessageFilter)
class LogMessages:
    """
    Logs each message as it is where the filter stands among the others, however many there are.

    What is shown of a text is quoted as Python quotes it: line breaks, control characters and
    those that change the direction of writing are escaped, so no message makes a second line
    or controls a terminal.  Of a binary message bytes are shown in hexadecimal.

    :param level: of the lines, as in ``[log] level``; below that nothing is done.
    :param payload: how many characters or bytes are shown, or ``off``.
    :raises ValueError: one of them is bad.
    """

    def __init__(self, reactor: object, level: str = "info", payload: str = "off") -> None:
        name = parsed("level", level, one_of("debug", "info", "warn", "error"))
        self._level = LogLevel.levelWithName(name)
        self._shown: int = parsed("payload", payload, word_or("off", integer(1, MOST), 0))

    def message(self, session: ISession, direction: str, payload: bytes, is_binary: bool) -> bytes:
        """Log it, and let it pass."""
        if self._level >= Logger.level:
            log.emit(
                self._level,
                "session {id}: {kind} {direction}, {length} bytes{shown}",
                id=session.id,
                kind="binary" if is_binary else "text",
                direction=direction,
                length=len(payload),
                shown=f": {self._beginning(payload, is_binary)}" if self._shown else "",
            )
        return payload

    def _beginning(self, payload: bytes, is_binary: bool) -> str:
        if is_binary:
            shown = payload[: self._shown].hex(" ")
            return f"{shown} …" if len(payload) > self._shown else shown
        # At most four bytes a character; the last one may be cut.
        text = payload[: 4 * self._shown].decode("utf-8", "ignore")[: self._shown]
        is_whole = len(text.encode()) == len(payload)
        return repr(text) if is_whole else f"{text!r} …"
