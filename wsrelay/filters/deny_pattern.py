"""``filters = deny-pattern``: no text message that a regular expression finds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zope.interface import implementer

from wsrelay.config.values import close_code, one_of, size, word_or
from wsrelay.filters.options import directions, parsed
from wsrelay.interfaces import DROP, Close, Drop, IMessageFilter, ISession
from wsrelay.wire.close import TOO_BIG

__all__ = ["DenyPattern"]

_TOO_LONG: Final = Close(TOO_BIG, "the message is too long to be searched")


@implementer(IMessageFilter)
class DenyPattern:
    r"""
    Keeps text messages back in which a regular expression finds something.

    Python's ``re``; a space is ``\s`` or ``\x20``, case is ignored after ``(?i)``.  A search
    cannot be broken off, and holds up all sessions meanwhile.  How long one takes depends on
    the pattern: where a repeat stands in a repeat, as in ``(a+)+$``, a few dozen bytes can
    take hours, and ``limit`` does not help; write it so that there is one way to match only.
    Many others, as ``\s+$``, take time with the square of the length; against those there is
    the limit: 16 KiB cost that one a second, 64 KiB cost it sixteen.

    :param pattern: one expression.
    :param file: more of them, in UTF-8, one a line; empty lines and those that begin with ``#``
        are left out.  It is read when the filter is made.
    :param direction: of the messages that are searched: ``up``, ``down`` or ``both``.
    :param action: ``close`` the session, or ``drop`` the message.
    :param code: the close code.
    :param reason: the close frame's, one word, as relay.ini has it.
    :param limit: in bytes; a longer message is denied unsearched (1009), as one could
        hide anything behind them.  ``off``: all are searched.
    :raises ValueError: an option is bad, or the file is.
    """

    def __init__(
        self,
        reactor: object,
        pattern: str = "",
        file: str = "",
        direction: str = "both",
        action: str = "close",
        code: str = "1008",
        reason: str = "denied",
        limit: str = "16KiB",
    ) -> None:
        self._patterns = [_compiled(pattern, "pattern")] if pattern else []
        if file:
            self._patterns += _read(Path(file))
        if not self._patterns:
            what = f"there is no pattern in {file}" if file else "there is nothing to look for"
            raise ValueError(f"{what}; say pattern=REGEX, or file=FILE with one a line")
        self._directions = parsed("direction", direction, directions)
        drops = parsed("action", action, one_of("close", "drop")) == "drop"
        close = Close(parsed("code", code, close_code), reason)
        self._found: Drop | Close = DROP if drops else close
        self._too_long: Drop | Close = DROP if drops else _TOO_LONG
        self._limit: int | None = parsed("limit", limit, word_or("off", size))

    def message(
        self, session: ISession, direction: str, payload: bytes, is_binary: bool
    ) -> bytes | Drop | Close:
        """Let pass what is binary, what goes the other way, and where nothing is found."""
        if is_binary or direction not in self._directions:
            return payload
        if self._limit is not None and len(payload) > self._limit:
            return self._too_long
        text = payload.decode()
        found = any(each.search(text) for each in self._patterns)
        return self._found if found else payload


def _read(file: Path) -> Iterator[re.Pattern[str]]:
    """Yield the patterns of a file."""
    try:
        lines = file.read_text("utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"file: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"file: {file} is not UTF-8 (byte {error.start})") from None
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r")
        if text and not text.startswith("#"):
            yield _compiled(text, f"file: {file}:{number}")


def _compiled(pattern: str, where: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: '{pattern}' is not a regular expression: {error}") from None
