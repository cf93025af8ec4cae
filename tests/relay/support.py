"""Transports and peers in memory: nothing moves before a test lets a turn of the reactor pass."""

# ruff: noqa: N802  (camelCase here is Twisted's: these stand in for its objects)

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from wsrelay.config.model import PoolConfig, RouteConfig, UpstreamConfig
from wsrelay.pools.pool import Upstream
from wsrelay.relay.facts import Facts, Nobody
from wsrelay.relay.limits import options_of
from wsrelay.relay.pump import Pump, PumpFactory, Side
from wsrelay.relay.python_pump import PythonPump
from wsrelay.relay.session import Session
from wsrelay.relay.transports import Connection
from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import CLOSE, PING, PONG, Scanner, encode_frame

__all__ = [
    "BINARY",
    "CLOSE",
    "MASK",
    "PING",
    "PONG",
    "TEXT",
    "Conversation",
    "FakeTransport",
    "Frame",
    "Ground",
    "PythonGround",
    "close_payload",
    "data_of",
    "frames_in",
    "is_tuned",
    "settle",
]

TEXT, BINARY = 1, 2
MASK = b"\xa1\xb2\xc3\xd4"
HIGH_WATER = 64 * 1024
"""Bytes that wait in a transport before it pauses its producer, as in Twisted."""
READ_SIZE = 64 * 1024
"""Bytes that come in one read, in Twisted as in the native pump."""

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.7", 50123)
LOCAL_ADDRESS = IPv4Address("TCP", "192.0.2.1", 8080)


def _make_descriptors() -> tuple[int, int]:
    """Return a connection's descriptor on which nothing happens, and one that was reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        quiet, reset = (socket.create_connection(server.getsockname()) for _ in range(2))
        quiet_peer, reset_peer = server.accept()[0], server.accept()[0]
    quiet_peer.detach()  # stays open as long as the process
    reset_peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset_peer.close()
    return quiet.detach(), reset.detach()


QUIET, HUNG_UP = _make_descriptors()


@define(eq=False)
class FakeTransport:
    """
    A TCP connection, seen from the relay, with its peer's end in the hands of a test.

    What the relay writes waits in `buffer` until a `turn`, and longer while the peer is
    `stalled`.  What the peer sends waits likewise, and longer while the relay does not
    read.  `connectionLost` is never called inside one of the relay's own calls.
    """

    peer: IAddress = CLIENT_ADDRESS
    host: IAddress = LOCAL_ADDRESS
    protocol: Any = None
    received: bytearray = field(factory=bytearray)  # by the peer
    buffer: bytearray = field(factory=bytearray)
    dropped: bytearray = field(factory=bytearray)  # written when nothing could be
    stalled: bool = False
    reading: bool = True
    eof: bool = False  # the peer has seen the end of what the relay sends
    aborted: bool = False
    lost: bool = False
    pauses: int = 0
    producer: Any = None
    _producer_paused: bool = False
    _ending: str = ""
    _incoming: deque[bytes] = field(factory=deque)
    _peer_gone: Failure | None = None

    # what the relay calls

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.eof or self.aborted or self.lost:
            self.dropped += data
            return
        self.buffer += data
        if self.producer and not self._producer_paused and len(self.buffer) > HIGH_WATER:
            self._producer_paused = True
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        if self.lost:
            producer.stopProducing()
        else:
            self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None
        self._producer_paused = False

    def fileno(self) -> int:
        was_reset = self._peer_gone is not None and not self._peer_gone.check(ConnectionDone)
        return HUNG_UP if was_reset else QUIET

    def know(self, pump: Pump, side: Side) -> None:
        """Learn whose transport this is; a test's end of a socket has to ask the pump."""

    def pauseProducing(self) -> None:
        self.pauses += 1
        self.reading = False

    def resumeProducing(self) -> None:
        if not self.lost and not self.aborted and self._ending != "both":
            self.reading = True

    def loseConnection(self) -> None:
        self._ending = "both"
        self.reading = False

    def loseWriteConnection(self) -> None:
        self._ending = self._ending or "write"

    def abortConnection(self) -> None:
        if not self.lost:
            self.aborted = True
            self.reading = False
            self.dropped += self.buffer
            self.buffer.clear()

    def getPeer(self) -> IAddress:
        return self.peer

    def getHost(self) -> IAddress:
        return self.host

    @property
    def unsent(self) -> int:
        """Bytes that the relay counts as sent, and still keeps."""
        return len(self.buffer)

    # where Twisted's transports keep what is unsent

    @property
    def dataBuffer(self) -> bytes:
        return bytes(self.buffer)

    offset = 0
    _tempDataLen = 0  # noqa: N815

    # what the peer does

    def peer_sends(self, data: bytes) -> None:
        self._incoming.append(data)

    def peer_ends(self) -> None:
        self._peer_gone = self._peer_gone or Failure(ConnectionDone())

    def peer_resets(self) -> None:
        self._peer_gone = Failure(ConnectionLost())

    def peer_takes(self, size: int) -> None:
        """Let a stalled peer take something after all."""
        self.received += self.buffer[:size]
        del self.buffer[:size]

    # time

    def turn(self) -> bool:
        """Let one turn of the reactor pass; say whether something happened."""
        if self.lost:
            return False
        return self._ends_by_abort() or self._flushes() or self._ends_writing() or self._reads()

    def _ends_by_abort(self) -> bool:
        if self.aborted:
            self._lose(Failure(ConnectionAborted()))
        return self.aborted

    def _flushes(self) -> bool:
        if self._producer_paused and not self.buffer:
            self._producer_paused = False
            self.producer.resumeProducing()
            return True
        if self.stalled or not self.buffer:
            return False
        self.peer_takes(len(self.buffer))
        return True

    def _ends_writing(self) -> bool:
        if self.buffer or not self._ending or self.eof:
            return False
        self.eof = True
        if self._ending == "both":
            self._lose(Failure(ConnectionDone()))
        elif IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()
        return True

    def _reads(self) -> bool:
        if self.reading and self._incoming:
            data = self._incoming.popleft()
            if len(data) > READ_SIZE:
                self._incoming.appendleft(data[READ_SIZE:])
            self.protocol.dataReceived(data[:READ_SIZE])
            return True
        # Only a read, or a write that fails, tells of a peer that has gone.
        if self._peer_gone and (self.reading or (self.buffer and not self._is_clean_end())):
            self._lose(self._peer_gone)
            return True
        return False

    def _is_clean_end(self) -> bool:
        return self._peer_gone is not None and bool(self._peer_gone.check(ConnectionDone))

    def _lose(self, reason: Failure) -> None:
        self.lost = True
        self.reading = False
        self.producer = None
        self._producer_paused = False
        self.protocol.connectionLost(reason)


def is_tuned(connection: socket.socket) -> bool:
    """Say whether small frames leave at once, and a silent loss is noticed."""
    options = (socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return all(connection.getsockopt(*option) for option in options)


def settle(*transports: Any) -> None:
    """Let turns pass until nothing happens any more."""
    for _ in range(10_000):
        if not any([each.turn() for each in transports]):
            return
    raise AssertionError("the transports never come to rest")


@frozen
class Frame:
    """A frame that a peer received, unmasked."""

    opcode: int
    payload: bytes = b""
    final: bool = True

    @property
    def is_control(self) -> bool:
        return self.opcode >= 8


def frames_in(data: bytes) -> tuple[list[Frame], bytes]:
    """Read frames one after the other; return them, and what is left of one that is cut off."""
    frames = []
    while len(data) >= 2:
        short = data[1] & 127
        extra = {126: 2, 127: 8}.get(short, 0)
        masked = 4 * (data[1] >> 7)
        length = int.from_bytes(data[2 : 2 + extra], "big") if extra else short
        body = 2 + extra + masked
        if len(data) < body + length:
            break
        payload = data[body : body + length]
        if masked:
            mask = data[2 + extra : body]
            stretched = (mask * (length // 4 + 1))[:length]
            number = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
            payload = number.to_bytes(length, "big")
        frames.append(Frame(data[0] & 15, payload, data[0] >= 128))
        data = data[body + length :]
    return frames, data


def data_of(frames: Iterable[Frame]) -> list[bytes]:
    return [frame.payload for frame in frames if not frame.is_control]


def close_payload(code: int | None, reason: bytes = b"") -> bytes:
    return b"" if code is None else code.to_bytes(2, "big") + reason


ROUTE = RouteConfig(
    "chat", "pool", keepalive=None, close_timeout=5.0, whole_frames=1000, max_message_size_up=None
)


class Ground(Protocol):
    """What a test needs to run one of the pumps."""

    most_kept: int
    """Bytes of one direction's data that the relay may keep, besides a frame's beginning."""

    @property
    def make_pump(self) -> PumpFactory:
        """What joins two of the transports."""

    def transport(self) -> Any:
        """Make a transport that is connected to a peer."""

    def close(self) -> None:
        """Clear away what was made."""


class PythonGround:
    """Transports in memory, for the Python pump."""

    def __init__(self, clock: Clock) -> None:
        self.make_pump: PumpFactory = PythonPump

    most_kept = HIGH_WATER + READ_SIZE

    def transport(self) -> FakeTransport:
        return FakeTransport()

    def close(self) -> None:
        """Do nothing: there is only memory."""


class Conversation:
    """A session between two peers in memory, begun and idle."""

    def __init__(
        self,
        ground: Ground,
        clock: Clock,
        route: RouteConfig = ROUTE,
        *,
        bits: int = 0,
        from_client: bytes = b"",
        from_upstream: bytes = b"",
    ) -> None:
        self.clock = clock
        self.ground = ground
        self.client = ground.transport()
        self.upstream = ground.transport()
        self.ended: list[Session] = []
        server = UpstreamConfig("a", "ws://192.0.2.99:9000")
        self.pool_upstream = Upstream(server, PoolConfig("pool"), self.clock.seconds)
        facts = Facts("s1", "web", "192.0.2.7:50123")
        self.session = Session(
            facts, route, self.pool_upstream, self.clock, Nobody(), self.ended.append
        )
        self.session.join(ground.make_pump, self.client, self.upstream, options_of(route, bits))
        for side in Side:
            connect(self.session.pump, side, self.leg(side))
        self.session.start(b"", from_client, from_upstream)
        self.settle()

    def leg(self, side: Side) -> Any:
        return self.client if side is Side.CLIENT else self.upstream

    def settle(self) -> None:
        settle(self.client, self.upstream)

    def advance(self, seconds: float) -> None:
        """Let time pass, with turns of the reactor between two timers."""
        until = self.clock.seconds() + seconds
        while True:
            due = [call.getTime() for call in self.clock.getDelayedCalls()]
            next_time = min([until, *due])
            self.clock.advance(max(next_time - self.clock.seconds(), 0.0))
            self.settle()
            if next_time >= until:
                return

    def send(self, side: Side, data: bytes) -> None:
        """Let a peer send bytes as they are."""
        self.leg(side).peer_sends(data)
        self.settle()

    def say(self, side: Side, opcode: int, payload: bytes = b"", *, final: bool = True) -> None:
        """Let a peer send one frame."""
        self.send(side, frame_from(side, opcode, payload, final=final))

    def say_close(self, side: Side, code: int | None = None, reason: bytes = b"") -> None:
        self.say(side, CLOSE, close_payload(code, reason))

    def heard(self, side: Side) -> list[Frame]:
        """Return all frames that a peer has got; there is no piece of one behind them."""
        frames, rest = frames_in(bytes(self.leg(side).received))
        assert rest == b"", f"the {side.value} got a piece of a frame: {rest[:20]!r}"
        return frames

    def close_heard(self, side: Side) -> tuple[int | None, bytes] | None:
        """Return code and reason of the close frame that a peer got, its last frame; or None."""
        frames, _ = frames_in(bytes(self.leg(side).received))
        closes = [frame for frame in frames if frame.opcode == CLOSE]
        if not closes:
            return None
        assert len(closes) == 1, "one close frame at most"
        assert frames[-1].opcode == CLOSE, "nothing comes behind a close frame"
        return code_and_reason(closes[0].payload)

    def kept(self, side: Side) -> int:
        """Count the bytes for a peer that the relay keeps; true while only data flows to it."""
        pump = self.session.pump
        return pump.received(side.other) - pump.sent(side) + int(self.leg(side).unsent)

    def end(self, side: Side) -> None:
        self.leg(side).peer_ends()
        self.settle()

    def reset(self, side: Side) -> None:
        self.leg(side).peer_resets()
        self.settle()

    @property
    def is_over(self) -> bool:
        return self.client.lost and self.upstream.lost

    def assert_over(self) -> None:
        """Check that the session has ended, once, and left nothing behind."""
        assert self.client.lost
        assert self.upstream.lost
        assert self.ended == [self.session]
        assert self.clock.getDelayedCalls() == []

    def initiator(self) -> str:
        assert self.session.cause is not None
        return self.session.cause.initiator

    def code(self) -> int:
        assert self.session.cause is not None
        return self.session.cause.code


def connect(pump: Pump, side: Side, transport: Any) -> None:
    """Let *pump* have what *transport* reads, as the relay does."""
    connection = Connection()
    connection.receive = pump.received_from(side)
    connection.lost = lambda reason: pump.lost(side)
    transport.know(pump, side)
    transport.protocol = connection
    connection.makeConnection(transport)


def frame_from(side: Side, opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Encode a frame as the peer on *side* must."""
    return encode_frame(opcode, payload, MASK if side is Side.CLIENT else b"", final=final)


def code_and_reason(payload: bytes) -> tuple[int | None, bytes]:
    return (int.from_bytes(payload[:2], "big"), payload[2:]) if payload else (None, b"")


def data_bytes(side: Side, chunks: Sequence[bytes], bits: int, limits: Limits) -> bytes:
    """Return the data frames in what the peer on *side* sent, without controls."""
    scanner = Scanner(side is Side.CLIENT, bits, limits)
    events = scanner.feed(b"".join(chunks))
    return b"".join(event for event in events if isinstance(event, bytes))
