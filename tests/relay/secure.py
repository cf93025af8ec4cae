"""TLS over sockets for the native pump, with the same face as the transports in memory."""

from __future__ import annotations

from collections.abc import Callable
from socket import MSG_PEEK
from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from typing_extensions import override
from zope.interface import implementer_only

from tests.relay.records import MAX_PLAIN, Peer, authority, pair, shake_hands
from tests.relay.sockets import Ends, NativeGround, SocketTransport
from wsrelay.config.model import ListenerConfig, PluginCall, PoolConfig, UpstreamConfig
from wsrelay.relay.listener_tls import listener_tls
from wsrelay.relay.pump import Side
from wsrelay.relay.tls import upstream_tls

BOTH = tuple(Side)
ShakeHands = Callable[[bool, Callable[[bytes], None], Callable[[], bytes]], Any]
WRAPPING = 5 + 1 + 16
"""Bytes of a record besides its data: header, type and tag."""


@implementer_only(ITransport)
class _Socket(SocketTransport):
    """The socket below TLS; while hands are shaken, what is written is for `take`."""

    tls: SecureTransport | None = None  # once hands are shaken

    def __init__(self, ground: NativeGround, ends: Ends | None) -> None:
        super().__init__(ground, ends)
        self.written = b""

    @override
    def write(self, data: bytes) -> None:
        if self.tls is None:
            self.written += data
            return
        # Twisted says goodbye itself when it aborts; the kernel never hears of it.
        assert self.tls.disconnecting or self.disconnected, "only the pump writes to its sockets"

    @override
    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing: these are unix sockets."""

    @override
    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Do nothing: these are unix sockets."""

    def peek(self) -> bytes:
        """Return what the kernel holds for the peer."""
        try:
            return self._peer_end.recv(2**20, MSG_PEEK)
        except OSError:
            return b""

    def take(self) -> bytes:
        written, self.written = self.written, b""
        return written


class SecureTransport(BufferingTLSTransport):
    """
    Twisted's TLS over a `SocketTransport`, which knows everything that is not said here.

    What the peer sends is sealed, what it receives is opened, and its end is a proper one:
    a close_notify before the FIN.

    :ivar record_size: bytes of data in each record that the peer sends.
    :ivar cut: where what it sends is cut into two pieces.
    """

    peer: Peer
    record_size = MAX_PLAIN
    cut = 0
    said_goodbye = False
    opened = 0  # bytes that the peer has opened
    _begun = b""

    @classmethod
    def make(
        cls, factory: TLSMemoryBIOFactory, side: Side, socket: _Socket, shake: ShakeHands
    ) -> SecureTransport:
        transport: SecureTransport = cls(factory, Protocol())
        socket.protocol = transport  # type: ignore[assignment]
        transport.makeConnection(socket)
        is_server = side is Side.UPSTREAM  # the peer
        transport.peer = shake(is_server, transport.dataReceived, socket.take)
        transport.peer.feed(socket.take())  # the relay's tickets
        socket.tls = transport
        return transport

    @property
    def protocol(self) -> Any:
        return self.wrappedProtocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self.wrappedProtocol = protocol

    @property
    def stalled(self) -> bool:
        return bool(self.transport.stalled)

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self.transport.stalled = stalled

    @property
    def received(self) -> bytes:
        """What the peer has got, without TLS."""
        cipher = self.transport.received
        fresh, self.opened = bytes(cipher[self.opened :]), len(cipher)
        self.peer.feed(fresh)
        return bytes(self.peer.plain)

    @property
    def eof(self) -> bool:
        """Whether the relay has ended its sending half, in the order that TLS wants."""
        if self.transport.eof:
            self.received  # noqa: B018
            assert self.peer.has_goodbye, "a close_notify stands before the end"
        return bool(self.transport.eof)

    @property
    def wrapping(self) -> int:
        """Bytes that TLS added to what the relay has sent."""
        cipher = bytes(self.transport.received) + self.transport.peek()
        at = count = 0
        while at < len(cipher):
            count += 1
            at += 5 + int.from_bytes(cipher[at + 3 : at + 5], "big")
        return count * WRAPPING

    def peer_sends(self, data: bytes) -> None:
        cipher = self._begun + self.peer.seal(data, self.record_size)
        self._begun = b""
        for piece in (cipher[: self.cut], cipher[self.cut :]):
            if piece:
                self.transport.peer_sends(piece)

    def peer_sends_raw(self, cipher: bytes) -> None:
        """Let the peer send records, or pieces of them, as they are."""
        self.transport.peer_sends(cipher)

    def sends_at_once(self, data: bytes = b"") -> None:
        self.transport.sends_at_once(self.peer.seal(data))

    def peer_ends(self) -> None:
        self.peer_says_goodbye()
        self.transport.peer_ends()

    def peer_updates(self) -> None:
        """Let the peer change its key."""
        self.peer_sends_raw(self._begun + self.peer.update())
        self._begun = b""

    def peer_asks_for_update(self) -> None:
        """Let the peer change its key, and ask for a new one of the relay's."""
        self.peer_sends_raw(self._begun + self.peer.update(True))
        self._begun = b""

    def peer_begins_update(self) -> None:
        """Let the peer send half of a KeyUpdate; the rest comes with what it sends next."""
        if not self._begun:
            first, self._begun = self.peer.halves_of_update()
            self.peer_sends_raw(first)

    def peer_ends_rudely(self) -> None:
        """Let the peer end TCP without a close_notify."""
        self.transport.peer_ends()

    def peer_says_goodbye(self) -> None:
        """Let the peer send a close_notify, and leave TCP open."""
        if not self.said_goodbye:
            self.said_goodbye = True
            self.transport.peer_sends(self._begun + self.peer.goodbye())


class SecureGround(NativeGround):
    """
    A hub, and transports that speak TLS: by turns a client's and an upstream's.

    :ivar secure: which of them do; the others are plain.
    """

    secure: tuple[Side, ...] = BOTH

    def __init__(self, clock: Clock, *rest: Any) -> None:
        super().__init__(clock, *rest)
        listener = listener_tls(ListenerConfig("l", "tcp:1", pair().certificate, pair().key))
        upstream = UpstreamConfig("a", "wss://127.0.0.1:9000")
        pool = PoolConfig(
            "pool", (upstream,), PluginCall("first"), tls_ca=authority().certificate()
        )
        self.factories = {
            Side.CLIENT: self._factory(listener, False),
            Side.UPSTREAM: self._factory(upstream_tls(pool, "127.0.0.1"), True),
        }

    def _factory(self, options: Any, is_client: bool) -> TLSMemoryBIOFactory:
        return TLSMemoryBIOFactory(options, is_client, Factory(), self.reactor)  # type: ignore[arg-type]

    @override
    def transport(self, ends: Ends | None = None) -> Any:
        side = BOTH[len(self._transports) % 2]
        if side not in self.secure:
            return super().transport(ends)
        return self.secure_transport(side, ends)

    def secure_transport(
        self, side: Side, ends: Ends | None = None, shake: ShakeHands = shake_hands
    ) -> SecureTransport:
        """Make a transport that speaks TLS, by a handshake of the caller's if need be."""
        socket = _Socket(self, ends)
        self._transports.append(socket)
        return SecureTransport.make(self.factories[side], side, socket, shake)


class ClientSecureGround(SecureGround):
    """Clients speak TLS, upstreams do not."""

    secure = (Side.CLIENT,)


class UpstreamSecureGround(SecureGround):
    """Upstreams speak TLS, clients do not."""

    secure = (Side.UPSTREAM,)
