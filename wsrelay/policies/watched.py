"""A file that is read again when it has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_ISREG
from typing import Final, Generic, TypeVar

from wsrelay.discovery.trouble import Trouble

__all__ = ["Watched"]

T = TypeVar("T")

EVERY: Final = 1.0
"""Seconds between two looks at a file."""

LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a file that is read; a longer one is refused."""

Stamp = tuple[int, ...]


class Watched(Generic[T]):
    """
    What a file says.

    It is looked at when somebody wants to know, at most every `EVERY` seconds.  If it has
    become bad what it said before stays, and the log says why.

    :param path: absolute.
    :param parse: makes the value of its bytes; ValueError: it is bad, the text says why.
    :raises ValueError: it cannot be read, or is bad; the text is for the operator.
    """

    def __init__(self, path: str, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._trouble = Trouble(path)
        self._looked_at: float | None = None
        self._seen: Stamp = ()
        try:
            self._value = self._read()
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def value(self, now: float) -> T:
        """Return what it says; *now* is in seconds, by any clock."""
        if self._looked_at is None or not 0 <= now - self._looked_at < EVERY:
            self._looked_at = now
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            if _stamp(os.stat(self._path)) == self._seen:
                return
            self._value = self._read()
        except OSError as error:
            self._seen = ()  # so that it is read again, whatever it looks like by then
            self._trouble.say(f"cannot be read: {error.strerror}; what was known stays")
        except ValueError as error:
            self._trouble.say(f"{error}; what was known stays")
        else:
            self._trouble.clear()

    def _read(self) -> T:
        with open(self._path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not S_ISREG(found.st_mode):
                raise ValueError("is not a file")
            content = file.read(LONGEST + 1)
        self._seen = _stamp(found)
        if len(content) > LONGEST:
            raise ValueError(f"is longer than {LONGEST} bytes")
        return self._parse(content)


def _stamp(found: os.stat_result) -> Stamp:
    # The time of the last change of the inode shows what a copied time of writing hides.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to would wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)
