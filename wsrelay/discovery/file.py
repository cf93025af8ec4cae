"""``discover = file``: the upstreams that a file lists, which is watched."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Sequence
from stat import S_ISREG
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from wsrelay.discovery.options import interval, parsed
from wsrelay.discovery.trouble import Trouble
from wsrelay.interfaces import IDiscovery

__all__ = ["File"]

LONGEST: Final = 1024 * 1024
"""Bytes of a file that is read; a longer one is refused."""

MOST_UNREST: Final = 10
"""Looks at a file that changes all the time, until it is read as it is."""

Stamp = tuple[int, ...]
"""What differs when a file's content does; empty: it could not be looked at."""


@implementer(IDiscovery)
class File:
    """
    A file with one upstream a line; ``#`` and ``;`` begin comments, as in relay.ini.

    It is looked at by name, so that a file that is renamed into its place, or a symlink that
    is turned, is seen like one that is written.  Once changed it is read when two looks in a
    row have found the same: whoever writes it need not be done at the first.

    :param path: absolute.
    :raises ValueError: an option is bad.
    """

    def __init__(self, reactor: Any, path: str = "", every: str = "1s") -> None:
        self._path: str = parsed("path", path, str, "upstreams.txt")
        self._every: float = parsed("every", every, interval(0.1, "100ms"))
        self._reactor = reactor
        self._trouble = Trouble(path)
        self._timer: IDelayedCall | None = None
        self._seen: Stamp | None = None  # None: it was not looked at yet
        self._read: Stamp = ()
        self._unrest = 0

    @property
    def problem(self) -> str:
        """What is wrong with the file; empty if nothing is."""
        return self._trouble.text

    def start(self, update: Callable[[Sequence[str]], None]) -> None:
        """Read the file, and go on looking at it."""
        self._update = update
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        # First: should anything below fail, the next look comes all the same.
        self._timer = self._reactor.callLater(self._every, self._look)
        try:
            lines = self._news()
        except OSError as error:
            self._read = ()  # so that it is read again, whatever it looks like by then
            self._trouble.say(f"cannot be read: {error.strerror}; what was known stays")
        except ValueError as error:
            self._trouble.say(f"{error}; what was known stays")
        else:
            if lines is not None:
                self._trouble.clear()
                self._update(lines)

    def _news(self) -> list[str] | None:
        """
        Return the file's lines; None if it is as it was, or not at rest yet.

        :raises OSError: it cannot be read.
        :raises ValueError: it holds what it must not.
        """
        last, self._seen = self._seen, ()
        self._seen = stamp = _stamp(self._path)
        if stamp == self._read:
            return None
        is_at_rest = last is None or last == stamp
        self._unrest = 0 if is_at_rest else self._unrest + 1
        if not is_at_rest and self._unrest < MOST_UNREST:
            return None
        self._read = stamp
        return lines_of(_content(self._path))


def lines_of(content: bytes) -> list[str]:
    """
    Return the lines that are neither empty nor comments, without the space around them.

    :raises ValueError: it is not UTF-8.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        lines = [line.strip() for line in content.decode().split("\n")]
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        what = f"byte 0x{content[error.start]:02x} on line {number} is not UTF-8"
        raise ValueError(f"{what}; save the file as UTF-8") from None
    return [line for line in lines if line and line[0] not in "#;"]


def _stamp(path: str) -> Stamp:
    # The time of the last change of the inode shows what a copied time of writing hides.
    found = os.stat(path)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _content(path: str) -> bytes:
    with open(path, "rb", opener=_open_at_once) as file:
        if not S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is not a file; write the upstreams into one")
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} bytes; use several pools")
    return content


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to would wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)
