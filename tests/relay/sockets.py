"""Sockets for the native pump, with the same face as the transports in memory."""

# ruff: noqa: N802  (camelCase here is Twisted's: these stand in for its objects)

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer_only

from tests.relay.support import CLIENT_ADDRESS, LOCAL_ADDRESS, READ_SIZE
from wsrelay.relay.native_pump import NativeHub
from wsrelay.relay.pump import Pump, PumpFactory, Side

SEND_BUFFER = 4096
"""What the kernel is asked to take for a peer that does not read: little, so it is soon full."""


Ends = tuple[socket.socket, socket.socket]


class Reactor:
    """As much of a reactor as a hub and its sockets need, over a test's clock."""

    def __init__(self, clock: Clock, poller: select.epoll | None) -> None:
        self.clock = clock
        self._poller = poller
        self.readers: set[Any] = set()
        self.soon: list[Callable[[], object]] = []
        self._turned_at = clock.seconds()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        """Let Twisted end a connection of which it reads the end itself."""
        self.soon.append(lambda: writer.connectionLost(Failure(writer.doWrite())))

    def removeWriter(self, writer: Any) -> None:
        """Do nothing: nobody but the pump writes."""

    def callLater(self, delay: float, call: Callable[..., object], *arguments: Any) -> Any:
        if delay:
            return self.clock.callLater(delay, call, *arguments)
        return self.soon.append(lambda: call(*arguments))

    def seconds(self) -> float:
        return float(self.clock.seconds())

    def timeout(self) -> float:
        return 0.0  # so that the hub does not wait

    def turn(self) -> bool:
        """
        Call what is due and whoever is readable; say whether there was any of it.

        The hub's own timer knows nothing of a test's clock, so it is as if it rang whenever
        that has moved.
        """
        soon, self.soon = self.soon, []
        for call in soon:
            call()
        has_moved, self._turned_at = self._turned_at != self.seconds(), self.seconds()
        ready = [each for each in self.readers if has_moved or _is_readable(each.fileno())]
        for reader in ready:
            reader.doRead()
        return bool(soon or ready)


@implementer_only(ITransport)
class SocketTransport(TCPConnection):
    """
    A connected socket, with its peer's end in the hands of a test.

    `tests.relay.support.FakeTransport` says what each attribute and method means.  Each
    piece that a peer sends is one read of the relay's, up to `READ_SIZE`.  These are unix
    sockets: what is written is there at once, whatever else the machine does.
    """

    def __init__(self, ground: NativeGround, ends: Ends | None) -> None:
        relay_end, self._peer_end = ends or socket.socketpair()
        self._peer_end.setblocking(False)
        relay_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._peer_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        super().__init__(relay_end, None, ground.reactor)  # type: ignore[arg-type]
        self._ground = ground
        self.connected = True
        self.received = bytearray()
        self.stalled = False
        self.eof = False
        self.aborted = False
        self.lost = False
        self._was_shut = False
        self._incoming: deque[bytes] = deque()
        self._rest = b""  # of a piece that the kernel did not take at once
        self._peer_leaves = ""
        self.startReading()

    # what Twisted and the relay call

    @override
    def abortConnection(self) -> None:
        self.aborted = self.aborted or not self.lost
        super().abortConnection()

    @override
    def connectionLost(self, reason: Failure) -> None:
        self._was_shut = _has_ended(self._peer_end)
        self.lost = True
        super().connectionLost(reason)

    @override
    def write(self, data: bytes) -> None:
        raise AssertionError("only the pump writes to its sockets")

    def getPeer(self) -> IAddress:
        return CLIENT_ADDRESS

    def getHost(self) -> IAddress:
        return LOCAL_ADDRESS

    def know(self, pump: Pump, side: Side) -> None:
        """Learn whose transport this is, without keeping the pump."""
        self._whose = weakref.proxy(pump), side

    # what a test asks

    @property
    def reading(self) -> bool:
        """Whether the pump reads what the peer sends."""
        pump, side = self._whose
        return not self.lost and not pump.is_paused(side)

    @property
    def unsent(self) -> int:
        """Bytes that the relay counts as sent, and still keeps."""
        return 0

    # what the peer does

    def peer_sends(self, data: bytes) -> None:
        self._incoming.append(data)

    def peer_ends(self) -> None:
        self._peer_leaves = self._peer_leaves or "end"

    def peer_resets(self) -> None:
        self._peer_leaves = "reset"

    def peer_closes(self) -> None:
        """Let the peer send at once what it still has, and close without a reset."""
        self.sends_at_once()
        self._peer_end.close()

    def peer_takes_no_more(self) -> None:
        """Let everything that is sent to the peer from now on fail; it can still send."""
        self._peer_end.shutdown(socket.SHUT_RD)

    def sends_at_once(self, data: bytes = b"") -> None:
        """Let the peer send without a turn of the reactor, all in one piece."""
        self._peer_end.sendall(b"".join([self._rest, *self._incoming, data]))
        self._incoming.clear()
        self._rest = b""

    def peer_takes(self, size: int) -> None:
        """Let a stalled peer take something after all."""
        with contextlib.suppress(OSError):
            self.received += self._peer_end.recv(size)

    # time

    def turn(self) -> bool:
        """Let the peer do what it can, then the relay; say whether something happened."""
        peer_did = self._peer_reads() or self._peer_writes()
        return self._ground.reactor.turn() or peer_did

    def _peer_reads(self) -> bool:
        if self.stalled or self.eof or self._peer_end.fileno() < 0:
            return False
        try:
            data = self._peer_end.recv(2**20)
        except OSError:
            return False
        self.received += data
        if not data and (self._was_shut or not self.lost):
            self.eof = True
        return bool(data) or self.eof

    def _peer_writes(self) -> bool:
        if self.lost or self._peer_end.fileno() < 0:
            return False
        if self._peer_leaves == "reset":
            return self._reset()
        if not self._rest and self._incoming and not _readable_bytes(self):
            self._rest = self._incoming.popleft()
        if self._rest:
            return self._write_rest()
        if self._peer_leaves == "end" and not self._incoming:
            self._peer_leaves = "ended"
            self._peer_end.shutdown(socket.SHUT_WR)
            return True
        return False

    def _write_rest(self) -> bool:
        try:
            sent = self._peer_end.send(self._rest)
        except BlockingIOError:
            return False
        except OSError:  # the relay reads no more
            sent = len(self._rest)
        self._rest = self._rest[sent:]
        return True

    def _reset(self) -> bool:
        """Close the peer's end with something unread in it: the relay's end sees a reset."""
        with contextlib.suppress(OSError):
            self.sends_at_once()
        with contextlib.suppress(OSError):
            os.write(self.fileno(), b"unread")
        self._peer_end.close()
        return True

    def close(self) -> None:
        """Close what a test left open, and tell nobody."""
        self._peer_end.close()
        if not self.lost:
            self.socket.close()


class NativeGround:
    """A hub, a reactor over a test's clock, and the sockets that were made for a test."""

    def __init__(self, clock: Clock, poller: select.epoll | None = None) -> None:
        self.reactor = Reactor(clock, poller)
        self.hub = NativeHub(self.reactor)
        self._transports: list[SocketTransport] = []

    @property
    def make_pump(self) -> PumpFactory:
        return self.hub

    most_kept = READ_SIZE
    """Bytes of one direction's data that the relay may keep, besides a frame's beginning."""

    def transport(self, ends: Ends | None = None) -> SocketTransport:
        """Make a transport of two connected sockets, the relay's end and the peer's."""
        transport = SocketTransport(self, ends)
        self._transports.append(transport)
        return transport

    def close(self) -> None:
        for transport in self._transports:
            transport.close()


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def _has_ended(peer_end: socket.socket) -> bool:
    """Tell whether the other end of a socket pair has ended its sending half."""
    if peer_end.fileno() < 0:
        return False
    poller = select.poll()
    poller.register(peer_end, select.POLLRDHUP)
    return any(event & select.POLLRDHUP for _, event in poller.poll(0))


def _readable_bytes(end: Any) -> int:
    (size,) = struct.unpack("i", fcntl.ioctl(end.fileno(), termios.FIONREAD, bytes(4)))
    return int(size)
