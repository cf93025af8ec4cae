"""
Frames with file descriptors over a pair of unix sockets.

Why not Twisted's unix transport: descriptors that do not fit any more because this process
has too many open are dropped by the kernel, which only a flag of ``recvmsg`` says and Twisted
does not read; it sends one at a time, later than the call that asks for it, so that nobody
knows when the own one may be closed; and received ones are inherited by child processes.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from errno import ECONNRESET, EPIPE
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["MAX_DESCRIPTORS", "MAX_PAYLOAD", "Frame", "Stream", "close_all"]

HEAD: Final = struct.Struct("!IBBI")
"""Bytes of payload, kind, descriptors that belong to it, number."""

MAX_PAYLOAD: Final = 256 * 1024 * 1024
"""Bytes of one frame; a stream that announces more is not one of ours."""

MAX_UNSENT: Final = 2 * MAX_PAYLOAD
"""Bytes that wait for the other side to read; with more it is given up."""

MAX_DESCRIPTORS: Final = 250
"""Of one frame; the kernel's limit for one message is 253 (``SCM_MAX_FD``)."""

TURN: Final = 64 * 1024
"""Bytes that are read, or written, before other sockets have their turn."""

_ANCILLARY: Final = socket.CMSG_SPACE(253 * array.array("i").itemsize)
_FLAGS: Final = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
_GONE: Final = (EPIPE, ECONNRESET)


@frozen
class Frame:
    """One frame; *descriptors* are whose who gets it."""

    kind: int
    number: int
    payload: bytes = field(repr=False)
    descriptors: tuple[int, ...] = ()


@define(eq=False)
class _Unsent:
    data: memoryview
    descriptors: tuple[int, ...]


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of *descriptors*."""
    for each in descriptors:
        with suppress(OSError):
            os.close(each)


@implementer(IReadWriteDescriptor)
class Stream:
    """
    One end; it reads from the next turn of the reactor on.

    :param sock: a connected ``AF_UNIX`` ``SOCK_STREAM`` socket, which is the stream's from now on.
    :param on_frame: called for each frame; what it raises ends the stream.
    :param on_end: called once, with what is wrong, or nothing when the other side has just gone.
        Not called after `close`.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._reactor = reactor
        self._socket = sock
        self._on_frame = on_frame
        self._on_end = on_end
        self._unsent: deque[_Unsent] = deque()
        self._unsent_bytes = 0
        self._nobody_reads = False
        self._received = bytearray()
        self._descriptors: deque[int] = deque()  # they come with the first byte of their frame
        self.is_open = True
        reactor.addReader(self)

    def send(self, kind: int, number: int, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        """
        Send a frame, now or as soon as the other side has read; nothing happens after the end.

        :param descriptors: copies go out; the caller may close them at once.
        :raises ValueError: there is too much of something.
        :raises OSError: no copies can be made.
        """
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"{len(payload)} bytes are too many for one message")
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors are too many for one message")
        if not self.is_open or self._nobody_reads:
            return
        head = HEAD.pack(len(payload), kind, len(descriptors), number)
        self._put(_Unsent(memoryview(head + payload), _copies(descriptors)))

    def close(self) -> None:
        """End it; what has not been sent is lost."""
        if not self.is_open:
            return
        self.is_open = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        self._forget_unsent()
        close_all(self._descriptors)
        self._descriptors.clear()

    def _put(self, unsent: _Unsent) -> None:
        self._unsent.append(unsent)
        self._unsent_bytes += len(unsent.data)
        if len(self._unsent) == 1:
            self._write_some()
        if self._unsent:  # errors come from the reactor, not in the middle of the caller's work
            self._reactor.addWriter(self)

    def _write_some(self) -> str:
        budget = TURN
        while self._unsent and budget > 0:
            try:
                sent = self._send_first(budget)
            except BlockingIOError:
                break
            except OSError as error:
                return self._cannot_write(error)
            budget -= sent
        too_many = self._unsent_bytes > MAX_UNSENT
        return f"{self._unsent_bytes} bytes wait to be read" if too_many else ""

    def _send_first(self, most: int) -> int:
        first = self._unsent[0]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", first.descriptors))]
        sent = self._socket.sendmsg(
            [first.data[:most]], rights if first.descriptors else [], socket.MSG_NOSIGNAL
        )
        close_all(first.descriptors)
        first.descriptors = ()
        first.data = first.data[sent:]
        self._unsent_bytes -= sent
        if not first.data:
            self._unsent.popleft()
        return sent

    def _cannot_write(self, error: OSError) -> str:
        if error.errno not in _GONE:
            return f"it cannot be written to: {error.strerror}"
        # What the other side has written before it went is read first.
        self._nobody_reads = True
        self._forget_unsent()
        return ""

    def _forget_unsent(self) -> None:
        for each in self._unsent:
            close_all(each.descriptors)
        self._unsent.clear()
        self._unsent_bytes = 0

    def _end(self, why: str) -> None:
        if self.is_open:
            self.close()
            self._on_end(why)

    # what the reactor calls

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 after the end."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802  Twisted's
        """Return a name for the reactor's own messages."""
        return "workers"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802  Twisted's
        """Learn that the reactor has given the socket up, or is ending."""
        self._end(reason.getErrorMessage())

    def doWrite(self) -> None:  # noqa: N802  Twisted's
        """Write what the other side has room for."""
        if why := self._write_some():
            self._end(why)
        elif self.is_open and not self._unsent:
            self._reactor.removeWriter(self)

    def doRead(self) -> None:  # noqa: N802  Twisted's
        """Read once, and pass on the frames that are complete."""
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(TURN, _ANCILLARY, _FLAGS)
        except BlockingIOError:
            return
        except OSError as error:
            gone = error.errno in _GONE
            return self._end("" if gone else f"it cannot be read: {error.strerror}")
        self._keep_descriptors(ancillary)
        if flags & socket.MSG_CTRUNC:
            return self._end("descriptors were lost: this process has too many open")
        if not data:
            return self._end("")
        self._received += data
        self._pass_on()

    def _keep_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._descriptors.extend(numbers)

    def _pass_on(self) -> None:
        start = 0
        while self.is_open and len(self._received) - start >= HEAD.size:
            size, kind, count, number = HEAD.unpack_from(self._received, start)
            end = start + HEAD.size + size
            if size > MAX_PAYLOAD or count > MAX_DESCRIPTORS:
                return self._end("what it sends makes no sense")
            if end > len(self._received):
                break
            if count > len(self._descriptors):
                return self._end("it announces descriptors and sends none")
            taken = tuple(self._descriptors.popleft() for _ in range(count))
            payload = bytes(memoryview(self._received)[start + HEAD.size : end])
            self._on_frame(Frame(kind, number, payload, taken))
            start = end
        del self._received[:start]
        if self._descriptors and not self._received:
            self._end("it sends descriptors that it does not announce")


def _copies(descriptors: Sequence[int]) -> tuple[int, ...]:
    copies: list[int] = []
    try:
        for each in descriptors:
            copies.append(os.dup(each))
    except OSError:
        close_all(copies)
        raise
    return tuple(copies)
