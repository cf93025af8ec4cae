"""What both legs' connections have in common, whatever carries them."""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from collections.abc import Callable
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_NODELAY, socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay.log import Logger

log = Logger()


def discard(data: bytes) -> None:
    """Take bytes that nobody wants any more."""


def _ignore(reason: Failure) -> None:
    """Learn of an end that everybody expected."""


def nobody() -> None:
    """Be called where nobody has anything to do."""


class Connection(Protocol):
    """
    One leg's connection; what it reads goes to `receive`, its end to `lost`.

    Whoever owns the connection at the moment sets both.  What they raise ends this
    connection only, with a log line that has its `id`.
    """

    transport: Any  # TCP, unix or TLS
    id: str = ""
    is_made: bool = False
    is_lost: bool = False
    receive: Callable[[bytes], None]
    lost: Callable[[Failure], None]

    @override
    def connectionMade(self) -> None:
        self.is_made = True
        # Those that are tuned already are neither asked nor told.
        if not isinstance(self.transport, TCPTransport) and ITCPTransport.providedBy(
            self.transport
        ):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)

    @override
    def dataReceived(self, data: bytes) -> None:
        try:
            self.receive(data)
        except Exception:
            log.failure("session {id}: failed while handling what was received", id=self.id)
            self.abort()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        lost = self.lost
        self.let_go()
        try:
            lost(reason)
        except Exception:
            log.failure("session {id}: failed while handling a lost connection", id=self.id)

    def abort(self) -> None:
        """End the connection at once, unless it has ended: TLS would not stand that."""
        if not self.is_lost:
            self.transport.abortConnection()

    def let_go(self) -> None:
        """Tell nobody of anything any more."""
        self.receive, self.lost = discard, _ignore


class TCPTransport(tcp.Connection):
    """
    A connected TCP socket of either leg; it is read from now on.

    Twisted's `tcp.Server` and `tcp.Client` format texts for a log and keep where they came
    from, which here would be for every session.
    """

    logstr = "wsrelay"
    # Nobody else holds the socket: to close it ends the connection.
    _shouldShutdown = False  # noqa: N815  read by Twisted

    def __init__(
        self, connected: socket, peer: tuple[Any, ...], protocol: IProtocol, reactor: Any
    ) -> None:
        super().__init__(connected, protocol, reactor)
        self._peer = peer  # the kernel does not know it any more after a reset
        self.connected = 1
        self.startReading()

    @override
    def doWrite(self) -> Any:
        return _read_if_lost(self, super().doWrite())

    @override
    def readConnectionLost(self, reason: Failure) -> None:
        # To look for an adapter, of which there is none, would take longer than to ask.
        if IHalfCloseableProtocol.providedBy(self.protocol):
            super().readConnectionLost(reason)
        else:
            self.connectionLost(reason)

    def ended(self) -> None:
        """
        Close, when both ends have ended and a pump has read the socket, not the reactor.

        `connectionLost` would stop what does not run.
        """
        self.connected, self.disconnected = 0, 1
        self.socket.close()
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(connectionDone)

    def getHost(self) -> IPv4Address | IPv6Address:  # noqa: N802  ITransport's
        """Return this end's address."""
        return _address(self.socket.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:  # noqa: N802  ITransport's
        """Return the other end's address."""
        return _address(self._peer)


def _address(name: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    kind = IPv6Address if ":" in name[0] else IPv4Address
    return kind("TCP", *name)


def tune(connection: socket) -> None:
    """Have a TCP connection send small frames at once, and notice a peer that is gone."""
    connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    connection.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)


def make_lean(port: object) -> None:
    """Let a listening port of Twisted's make a `TCPTransport` of each client it accepts."""
    if isinstance(port, tcp.Port) and port.transport is tcp.Server:
        # The documented way to transports of another kind; declared too narrowly.
        port.transport = _accepted  # type: ignore[assignment]


def _accepted(
    accepted: socket, protocol: IProtocol, peer: tuple[Any, ...], *rest: Any
) -> TCPTransport:
    _port, _number, reactor = rest
    tune(accepted)
    return TCPTransport(accepted, peer, protocol, reactor)


def write_now(transport: Any, data: bytes) -> None:
    """
    Write at once, where it is a bare socket and nothing waits to be sent.

    ``write`` lets the reactor say when a socket takes bytes, which it nearly always does:
    that would cost two calls of epoll_ctl and a turn of the reactor.
    """
    if _is_free(transport):
        sent = transport.writeSomeData(data)
        if isinstance(sent, int):
            data = data[sent:]
    if data:  # what was not taken; or a lost connection, which this finds out again
        transport.write(data)


def _is_free(transport: Any) -> bool:
    is_bare = isinstance(transport, tcp.Connection)  # TLS is none, but would pass on the calls
    return bool(
        is_bare and transport.connected and not transport.disconnecting and not unsent(transport)
    )


def hear_out(transport: Any) -> None:
    """
    Have a transport read once more when it finds that it cannot write any more.

    An upstream may refuse a body before it is there, and close; the rest of the body is then
    answered with a reset, and the refusal is still to be read.  Any number of times for a
    connection; a `TCPTransport` does it unasked.
    """
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    if not isinstance(transport, tcp.Connection) or isinstance(transport, TCPTransport):
        return
    if "doWrite" not in vars(transport):
        write = transport.doWrite
        transport.doWrite = lambda: _read_if_lost(transport, write())  # type: ignore[method-assign]


def _read_if_lost(transport: tcp.Connection, problem: Any) -> Any:
    """Read what has come, if writing has ended with a *problem*; return the problem."""
    if problem is CONNECTION_LOST:
        transport.doRead()
    return problem


def is_reset(transport: Any) -> bool:
    """
    Tell whether a transport that is not being read was reset by its peer.

    The reactor does not look at it, so it would not say.
    """
    poller = select.poll()
    poller.register(transport.fileno(), 0)  # errors and hang-ups are always told
    # Not POLLHUP: on a unix socket it says no more than that the peer closed, and what it
    # sent before may still be there to read.
    return any(event & select.POLLERR for _, event in poller.poll(0))


def has_news(transport: Any) -> bool:
    """Tell whether the peer of a silent transport has sent something, or has ended it."""
    if not hasattr(transport, "fileno"):  # in memory: it tells at once
        return False
    poller = select.poll()
    poller.register(transport.fileno(), select.POLLIN | select.POLLRDHUP)
    return bool(poller.poll(0))


def unsent(transport: Any) -> int:
    """Count the bytes that were written to a transport and that its socket has not taken."""
    try:
        if isinstance(transport, TLSMemoryBIOProtocol):
            kept = [*transport._appSendBuffer, *transport._aggregator._buffer]
            return sum(map(len, kept)) + unsent(transport.transport)
        return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)
    except AttributeError:  # they are Twisted's own, and may be named otherwise one day
        return 0


def untaken(transport: Any) -> int:
    """
    Count the bytes that were written to a transport and that its peer has not taken.

    A full socket is not writable again before its peer has taken a third of what may be
    megabytes; somebody who reads slowly but steadily is known by what it confirms.
    """
    return unsent(transport) + _unconfirmed(transport)


def _unconfirmed(transport: Any) -> int:
    try:
        answer = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, AttributeError, ValueError):  # it has ended, or it is no socket
        return 0
    (size,) = struct.unpack("i", answer)
    return int(size)


def end_gently(transport: Any) -> None:
    """
    End the sending half once all is written; the caller reads on, and aborts in time.

    Closing a socket that holds unread bytes resets the connection, and a reset can
    overtake what was just sent: a close frame, the body of a refusal.  TLS has no
    half-close: its close_notify says the same.
    """
    transport.resumeProducing()
    if ISSLTransport.providedBy(transport):
        transport.loseConnection()
    else:
        transport.loseWriteConnection()
