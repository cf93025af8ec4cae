"""
TCP connections to the addresses of upstreams.

`IReactorTCP.connectTCP` is made for names, too, and for connecting again: it takes a
connector, a deferred, a timer and a dozen system calls for each connection, a tenth of
what a handshake costs.  Here is a socket, and nothing of the dialling stays with a session.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EALREADY, EINPROGRESS, EISCONN, EWOULDBLOCK
from socket import AF_INET, AF_INET6, SO_ERROR, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any, Final, Protocol

from twisted.internet.error import getConnectError
from twisted.internet.interfaces import IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.relay.transports import TCPTransport, tune

_UNDECIDED: Final = (EINPROGRESS, EALREADY, EWOULDBLOCK)


class Dialled(Protocol):
    """What is connected: a Twisted protocol that hears of a failure as well."""

    def dialled(self, cancel: Callable[[], object]) -> None:
        """Take what stops the dialling, when it takes longer."""

    def failed_to_connect(self, reason: Failure) -> None:
        """Learn that nobody took the connection; never comes inside `connect`."""


def connect(reactor: Any, address: tuple[str, int], protocol: Any) -> None:
    """
    Begin to connect; no timeout but the kernel's.

    :param address: an IP address and a port.
    :param protocol: a `Dialled`; may be connected before this returns.
    """
    try:
        dialling = socket(AF_INET6 if ":" in address[0] else AF_INET, SOCK_STREAM)
    except OSError as error:
        reactor.callLater(0, protocol.failed_to_connect, Failure(getConnectError(error)))
        return
    dialling.setblocking(False)
    # Asked again at once: an upstream on this machine has decided by now, and there is
    # nothing to wait for.
    outcome = dialling.connect_ex(address) and dialling.connect_ex(address)
    if outcome in _UNDECIDED:
        reactor.addWriter(Attempt(reactor, dialling, address, protocol))
    else:
        _conclude(reactor, dialling, address, outcome, protocol)


def _conclude(
    reactor: Any, dialling: socket, address: tuple[str, int], outcome: int, protocol: Any
) -> None:
    if outcome in (0, EISCONN):
        tune(dialling)
        protocol.makeConnection(TCPTransport(dialling, address, protocol, reactor))
        return
    dialling.close()
    error = getConnectError((outcome, os.strerror(outcome)))
    reactor.callLater(0, protocol.failed_to_connect, Failure(error))


@implementer(IWriteDescriptor)
class Attempt:
    """A connection that is not decided yet; the reactor watches it."""

    def __init__(
        self, reactor: Any, dialling: socket, address: tuple[str, int], protocol: Any
    ) -> None:
        self._reactor = reactor
        self._socket = dialling
        self._address = address
        self._protocol = protocol
        protocol.dialled(self._cancel)

    def fileno(self) -> int:
        """Return what the reactor watches."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802  called by Twisted
        """Name this in the log."""
        return "upstream"

    def doWrite(self) -> None:  # noqa: N802  called by Twisted
        """See what was decided; perhaps nothing, when the event was an earlier socket's."""
        outcome = self._socket.getsockopt(SOL_SOCKET, SO_ERROR)
        outcome = outcome or self._socket.connect_ex(self._address)
        if outcome not in _UNDECIDED:
            self._reactor.removeWriter(self)
            _conclude(self._reactor, self._socket, self._address, outcome, self._protocol)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802  called by Twisted
        """Fail: the reactor heard of an error, or is stopping."""
        error = self._socket.getsockopt(SOL_SOCKET, SO_ERROR)
        self._socket.close()
        if error:
            reason = Failure(getConnectError((error, os.strerror(error))))
        self._protocol.failed_to_connect(reason)

    def _cancel(self) -> None:
        self._reactor.removeWriter(self)
        self._socket.close()
