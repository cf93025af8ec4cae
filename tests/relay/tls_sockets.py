"""Sockets that speak TLS for the native pump, with the same face as all the others."""

# ruff: noqa: N802  (camelCase here is Twisted's: these stand in for its objects)

from __future__ import annotations

import contextlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from typing_extensions import override
from zope.interface import implementer

from tests.peers.certificates import Authority
from tests.relay.sockets import NativeGround, SocketTransport
from wsrelay.relay.pump import Pump, PumpFactory, PumpOptions, PumpOwner, Side

PIECE = 2**14


@cache
def _context() -> SSL.Context:
    """Return the relay's side of TLS, with a certificate that nobody looks at."""
    context = SSL.Context(SSL.TLS_METHOD)
    with tempfile.TemporaryDirectory() as folder:
        pair = Authority(Path(folder)).issue("relay.test")
        context.use_certificate_file(str(pair.certificate))
        context.use_privatekey_file(str(pair.key))
    return context


@implementer(IOpenSSLServerConnectionCreator)
class _Creator:
    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(_context(), None)


class _Socket(SocketTransport):
    """The socket below TLS; what Twisted writes is kept for the handshake to move."""

    written = b""

    @override
    def write(self, data: bytes) -> None:
        self.written += data


class TLSTransport:
    """
    A TLS connection after its handshake, with its peer's end in the hands of a test.

    `tests.relay.support.FakeTransport` says what each attribute and method means.
    """

    def __init__(self, ground: NativeGround, version: int) -> None:
        self.socket = _Socket(ground, None)
        factory = TLSMemoryBIOFactory(_Creator(), False, Factory.forProtocol(Protocol))
        self.tls: Any = factory.buildProtocol(None)
        self.socket.protocol = self.tls
        self.received = bytearray()
        self.alerts: list[str] = []
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(version)
        self.peer = SSL.Connection(context, None)
        self.peer.set_connect_state()
        self.tls.makeConnection(self.socket)
        self._shake_hands()

    def _shake_hands(self) -> None:
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                self.peer.do_handshake()
            self.tls.dataReceived(self.encrypted())
            self.peer.bio_write(self.socket.written or b"")
            self.socket.written = b""
            if self.tls._handshakeDone:
                return
        raise AssertionError("the handshake does not end")

    # what the relay and its connection object use

    @property
    def protocol(self) -> Any:
        return self.tls.wrappedProtocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self.tls.wrappedProtocol = protocol

    def abortConnection(self) -> None:
        self.tls.abortConnection()

    def fileno(self) -> int:
        return int(self.socket.fileno())

    def know(self, pump: Pump, side: Side) -> None:
        self.socket.know(pump, side)

    # what a test asks

    @property
    def reading(self) -> bool:
        return self.socket.reading

    @property
    def eof(self) -> bool:
        return self.socket.eof

    @property
    def aborted(self) -> bool:
        return self.socket.aborted

    @property
    def lost(self) -> bool:
        return self.socket.lost

    @property
    def unsent(self) -> int:
        return 0

    # what the peer does

    @property
    def stalled(self) -> bool:
        return self.socket.stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self.socket.stalled = stalled

    def peer_sends(self, data: bytes) -> None:
        if self.peer.get_shutdown() & SSL.SENT_SHUTDOWN:
            return
        for at in range(0, len(data), PIECE):
            self.peer.send(data[at : at + PIECE])
        self.socket.peer_sends(self.encrypted())

    def peer_ends(self) -> None:
        """Say so to TLS, and end the connection under it."""
        if not self.peer.get_shutdown() & SSL.SENT_SHUTDOWN:
            self.peer.shutdown()
            self.socket.peer_sends(self.encrypted())
            self.socket.peer_ends()

    def peer_resets(self) -> None:
        self.socket.peer_resets()

    def peer_takes(self, size: int) -> None:
        self.socket.peer_takes(size)
        self._decrypt()

    @property
    def was_told_goodbye(self) -> bool:
        """Whether the peer got a close_notify."""
        return bool(self.peer.get_shutdown() & SSL.RECEIVED_SHUTDOWN)

    def encrypted(self) -> bytes:
        """Return what TLS has to say, to be sent by the test itself."""
        data = b""
        while True:
            try:
                data += self.peer.bio_read(PIECE)
            except SSL.WantReadError:
                return data

    # time

    def turn(self) -> bool:
        happened = self.socket.turn()
        self._decrypt()
        return happened

    def _decrypt(self) -> None:
        data = bytes(self.socket.received)
        self.socket.received.clear()
        for at in range(0, len(data), PIECE):
            self.peer.bio_write(data[at : at + PIECE])
        while True:
            try:
                self.received += self.peer.recv(PIECE)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                return
            except SSL.Error as error:
                self.alerts.append(str(error))
                return


class TLSGround(NativeGround):
    """The same as its parent, with TLS on both legs."""

    @property
    @override
    def make_pump(self) -> PumpFactory:
        def make_pump(
            owner: PumpOwner, client: Any, upstream: Any, options: PumpOptions, reactor: Any
        ) -> Pump:
            legs = (getattr(each, "tls", each) for each in (client, upstream))
            return self.hub(owner, *legs, options, reactor)

        return make_pump

    def plain_transport(self) -> SocketTransport:
        """Make a transport without TLS, for one of the legs."""
        return super().transport()

    @override
    def transport(self, version: Any = SSL.TLS1_3_VERSION) -> Any:
        """Make a transport whose peer speaks TLS of no later *version*."""
        transport = TLSTransport(self, version)
        self._transports.append(transport.socket)
        return transport
