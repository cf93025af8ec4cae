"""Listening sockets as services, whose factories can be exchanged while they listen."""

from __future__ import annotations

import os
from errno import EAGAIN
from socket import socket
from typing import Any, cast

from attrs import define
from twisted.application.service import Service
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from wsrelay.descriptors import SHORT, Descriptors
from wsrelay.log import Logger
from wsrelay.relay.transports import make_lean
from wsrelay.turns import Turns

log = Logger()


class CannotStartError(Exception):
    """A socket cannot listen; the text says what to mend."""


@implementer(IProtocolNegotiationFactory)
@define(eq=False)
class Front(Factory):
    """Stands before the factory that counts now, so that a port can go over to another."""

    noisy = False
    factory: IProtocolFactory

    @override
    def logPrefix(self) -> str:
        return "wsrelay"

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802  called by Twisted's TLS
        """Return what is spoken over TLS; with none, Twisted refuses all who make an offer."""
        return [b"http/1.1"]

    @override
    def startFactory(self) -> None:
        self.factory.doStart()

    @override
    def stopFactory(self) -> None:
        self.factory.doStop()

    def go_over(self, factory: IProtocolFactory) -> None:
        """Let *factory* make the connections from now on."""
        old, self.factory = self.factory, factory
        if self.numPorts:
            factory.doStart()
            old.doStop()

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.factory.buildProtocol(addr)  # type: ignore[arg-type]


class ListenerService(Service):
    """
    One listening socket; bound before privileges are dropped.

    *port* is the bound port while the service runs.

    :param label: what the log calls it: ``listener public``.
    :param descriptors: says when nobody may be accepted; None: always.
    :param turns: says whose turn it is, where other processes listen here, too.
    :param accepts: False: the socket is only kept, for other processes.
    """

    port: IListeningPort | None = None

    def __init__(
        self,
        label: str,
        endpoint: IStreamServerEndpoint,
        factory: IProtocolFactory,
        descriptors: Descriptors | None = None,
        turns: Turns | None = None,
        *,
        accepts: bool = True,
    ) -> None:
        self.label = label
        self._descriptors = descriptors
        self._turns = turns
        self._accepts = accepts
        self.front = Front(factory)
        self._endpoint = endpoint
        self._bound: Deferred[Any] | None = None
        self._begins = False
        self._failure: Failure | None = None

    @override
    def privilegedStartService(self) -> None:
        """
        Bind.

        :raises CannotStartError: the address is taken, or may not be bound.
        """
        super().privilegedStartService()
        self._begins = True
        self._bound = self._endpoint.listen(self.front)
        self._bound.addCallbacks(self._listens, self._cannot_listen)
        self._begins = False
        failure, self._failure = self._failure, None
        if failure is not None:
            # Short: twistd tells the parent of a daemon a hundred characters of it.
            what = _why_not(failure.value)
            raise CannotStartError(f"cannot {what} ({self.label})") from failure.value

    @override
    def startService(self) -> None:
        super().startService()
        if self._bound is None:
            self.privilegedStartService()

    @override
    def stopService(self) -> Deferred[Any]:
        super().stopService()
        port, self.port, bound, self._bound = self.port, None, self._bound, None
        if bound is not None:
            bound.cancel()
        if port is not None and self._descriptors is not None:
            self._descriptors.forget(port)
        if port is not None and self._turns is not None:
            self._turns.forget(port)
        stopped: Any = port.stopListening() if port is not None else None
        return stopped if isinstance(stopped, Deferred) else succeed(None)

    def set_backlog(self, backlog: int) -> None:
        """Let so many connections wait to be accepted from now on."""
        socket = getattr(self.port, "socket", None)
        if socket is not None:
            socket.listen(backlog)

    @property
    def address(self) -> str:
        """Say where it listens, with the real port."""
        return "" if self.port is None else _address(self.port)

    def _listens(self, port: IListeningPort) -> None:
        make_lean(port)
        self.port = port
        if not self._accepts:
            cast(Any, port).stopReading()  # in the turn of the reactor in which it began
        elif self._descriptors is not None and isinstance(port, tcp.Port):
            _guard(port, self._descriptors, self._turns)

    def _cannot_listen(self, failure: Failure) -> None:
        self._bound = None
        if self._begins:  # the caller is told, who may try something else
            self._failure = failure
        elif not failure.check(CancelledError):
            log.error("cannot {why} ({label})", label=self.label, why=_why_not(failure.value))


class _Guarded(socket):
    """A listening socket at which nobody seems to wait while nobody may come in."""

    descriptors: Descriptors
    turns: Turns | None

    @override
    def accept(self) -> tuple[socket, Any]:
        descriptors = self.descriptors
        if not descriptors.is_accepting:  # Twisted accepts a hundred in a row
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
        if self.turns is not None and not self.turns.may_accept():
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno not in SHORT:
                raise
            descriptors.failed(error)
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from error
        descriptors.accepted(accepted.fileno())
        return accepted, address


def _guard(port: tcp.Port, descriptors: Descriptors, turns: Turns | None) -> None:
    """Have *descriptors* and *turns* asked before a port accepts anybody."""
    guarded = _Guarded(fileno=port.socket.detach())
    guarded.setblocking(False)
    guarded.descriptors = descriptors
    guarded.turns = turns
    port.socket = guarded
    port.fileno = guarded.fileno  # type: ignore[method-assign]
    descriptors.watch(port)
    if turns is not None:
        turns.watch(port)


def _why_not(error: Any) -> str:
    if isinstance(error, CannotListenError):
        why = getattr(error.socketError, "strerror", None) or error.socketError
        if not isinstance(error.port, bytes):
            return f"listen on {error.interface or '*'}:{error.port}: {why}"
        if why == "Cannot acquire lock":
            why = "its .lock belongs to a process that runs"
        elif isinstance(error.socketError, FileNotFoundError):
            why = "there is no such folder; make it first"
        return f"listen on unix:{os.fsdecode(error.port)}: {why}"
    return f"listen: {error}"


def _address(port: IListeningPort) -> str:
    host = port.getHost()
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    if isinstance(host, UNIXAddress):
        return f"unix:{os.fsdecode(host.name or b'')}"
    return f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else str(host)
