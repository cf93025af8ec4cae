"""
Opening a file below a directory, and no other, whatever happens there meanwhile.

Linux only: a descriptor is asked in ``/proc`` for the place that it is at.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = ["Folder", "Found", "NoFile", "open_folder"]

_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class NoFile(Exception):  # noqa: N818 - what there is instead of one
    """
    There is no file to send.

    :ivar status: for the answer: 403, 404, 500 or 503.
    :ivar reason: a sentence for its body.  One for all that a client cannot have by
        asking: it does not learn what else is there.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    @classmethod
    def not_there(cls) -> NoFile:
        """Return what is said of everything that is not to be sent."""
        return cls(404, "There is no such file.")

    @classmethod
    def because_of(cls, error: OSError) -> NoFile:
        """Return what to say about an error of the system."""
        if error.errno in _NOT_THERE:
            return cls.not_there()
        if isinstance(error, PermissionError):
            return cls(403, "The relay has no right to read this file; its owner has to allow it.")
        if error.errno in _NO_ROOM:
            return cls(503, "The relay cannot open one more file just now; try again.")
        return cls(500, f"The file cannot be read ({error.strerror}).")


@frozen
class Found:
    """An open regular file, as it was when it was opened."""

    file: FileIO
    size: int
    mtime_ns: int


@frozen
class Folder:
    """The directory of a route, held for the time of one request."""

    _root: int  # a descriptor
    _place: str

    def find(self, relative: bytes) -> Found:
        """
        Open a regular file.

        A symlink is followed, but what it leads to has to be in this directory.

        :param relative: its path from here.
        :raises NoFile: there is none, or it may not be sent.
        :raises IsADirectoryError: it is a directory.
        """
        try:
            with self._reached(relative) as (number, status):
                if stat.S_ISDIR(status.st_mode):
                    raise IsADirectoryError
                if not stat.S_ISREG(status.st_mode):
                    raise NoFile.not_there()
                return _open(number)
        except IsADirectoryError:
            raise
        except OSError as error:
            raise NoFile.because_of(error) from error

    @contextmanager
    def _reached(self, relative: bytes) -> Iterator[tuple[int, os.stat_result]]:
        # O_PATH has no effect on what it finds: a fifo does not block, a device is not
        # opened.  And what was found stays the same, whatever its names lead to from now on.
        number = os.open(relative, os.O_PATH | os.O_CLOEXEC, dir_fd=self._root)
        try:
            if not f"{_place_of(number)}/".startswith(self._place):
                raise NoFile.not_there()
            yield number, os.fstat(number)
        finally:
            os.close(number)


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """
    Hold the directory at *path*, which may be a symlink that changes from time to time.

    :raises NoFile: there is none now, or it cannot be reached.
    """
    try:
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoFile.because_of(error) from error
    try:
        yield Folder(root, f"{_place_of(root).rstrip('/')}/")
    finally:
        os.close(root)


def _place_of(number: int) -> str:
    """Return the path of what a descriptor is at, without symlinks in it."""
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError as error:
        raise NoFile(500, "The relay cannot see /proc; it has to be mounted.") from error


def _open(number: int) -> Found:
    """Open for reading the very file that an O_PATH descriptor is at."""
    opened = os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = FileIO(opened, "rb")
    status = os.fstat(opened)
    return Found(file, status.st_size, status.st_mtime_ns)
