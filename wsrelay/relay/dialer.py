"""How an upstream is connected to: by address, by name, by a unix socket, with TLS or not."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.posixbase import PosixReactorBase
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.relay.dialling import connect
from wsrelay.relay.idle import MOST, IdleConnections
from wsrelay.relay.tls import upstream_tls
from wsrelay.relay.upstream import UpstreamConnection


class _TLS(BufferingTLSTransport):
    """TLS behind what its factory's `header` says in plain."""

    factory: _TLSFactory

    @override
    def makeConnection(self, transport: Any) -> None:
        if self.factory.header:
            transport.write(self.factory.header)
        super().makeConnection(transport)


class _TLSFactory(TLSMemoryBIOFactory):
    protocol = _TLS
    header = b""


class Dialer:
    """
    Connects to one upstream.

    Addresses and unix sockets are dialled directly: an endpoint would wrap every
    connection in a protocol of its own.  Names go through Twisted's `HostnameEndpoint`,
    which tries IPv6 and IPv4 side by side (RFC 8305).

    :param port: in the place of the upstream's own; a unix socket has none.
    :ivar idle: connections that may be asked again.
    :raises ValueError: a file of the pool's ``tls_…`` cannot be read or used.
    """

    def __init__(
        self, reactor: Any, upstream: UpstreamConfig, pool: PoolConfig, port: int | None = None
    ) -> None:
        self._reactor = reactor
        # Read once: each of these parses the URL.
        is_unix = upstream.scheme == "unix"
        self._socket_path = upstream.socket_path if is_unix else None
        self._address = host, _ = ("", 0) if is_unix else (upstream.host, port or upstream.port)
        self._tls = upstream_tls(pool, host) if upstream.scheme == "wss" else None
        self._is_address = isIPAddress(host) or isIPv6Address(host)
        # A reactor in memory, or on completion ports, makes transports of another kind.
        is_posix = isinstance(reactor, PosixReactorBase)
        # A connection with a PROXY header is one client's.
        self.idle = IdleConnections(reactor, 0 if pool.proxy_protocol != "off" else MOST)
        self._is_direct = is_posix and self._is_address and self._tls is None

    def dial(self, connection: UpstreamConnection, header: bytes = b"") -> None:
        """
        Begin to connect; *connection* learns how it went.

        :param header: the first bytes, before TLS, too: a PROXY header.
        """
        if self._tls is None:
            connection.begin_with(header)
        if self._is_direct:
            connect(self._reactor, self._address, connection)
            return
        factory: Any = connection
        if self._tls is not None:
            factory = _TLSFactory(self._tls, True, connection, self._reactor)
            factory.header = header
        if self._socket_path is not None:
            self._dial_unix(self._socket_path, factory, connection)
        elif self._is_address:
            connector = self._reactor.connectTCP(*self._address, factory, timeout=None)
            connection.dialled(connector.disconnect)
        else:
            endpoint = HostnameEndpoint(self._reactor, *self._address, connection.connect_timeout)
            waiting = endpoint.connect(factory)
            connection.dialled(waiting.cancel)
            waiting.addErrback(connection.failed_to_connect)

    def _dial_unix(self, path: str, factory: Any, connection: UpstreamConnection) -> None:
        try:
            connector = self._reactor.connectUNIX(path, factory, timeout=None)
        except OSError as error:  # of connectTCP, which has no descriptor either, its factory hears
            call = self._reactor.callLater(0, connection.failed_to_connect, Failure(error))
            connection.dialled(call.cancel)
        else:
            connection.dialled(connector.disconnect)


@frozen
class NoWay:
    """Stands in for a `Dialer` that could not be made: every dial fails."""

    reactor: Any
    error: Exception
    idle: IdleConnections = field(init=False)

    @idle.default
    def _no_connections(self) -> IdleConnections:
        return IdleConnections(self.reactor)

    def dial(self, connection: UpstreamConnection, header: bytes = b"") -> None:
        """Fail, a turn of the reactor later, as a real dial would."""
        call = self.reactor.callLater(0, connection.failed_to_connect, Failure(self.error))
        connection.dialled(call.cancel)
