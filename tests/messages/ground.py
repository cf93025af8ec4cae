"""Sessions in memory whose pump passes whole messages."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

from attrs import define, evolve, field
from twisted.internet.task import Clock

from tests.relay.support import ROUTE, Conversation, PythonGround, frame_from, frames_in
from wsrelay.config.model import RouteConfig
from wsrelay.interfaces import Close, Drop
from wsrelay.messages.compression import UNCOMPRESSED, Compression
from wsrelay.messages.filters import Filters
from wsrelay.messages.pump import message_pumps
from wsrelay.relay.pump import Side
from wsrelay.wire.deflate import Deflate
from wsrelay.wire.frames import BINARY, CONTINUATION

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
TEXT = 1
DEFLATED = Compression(Deflate(), Deflate())
ROUTE = evolve(ROUTE, mode="messages", max_message_size_up=100_000, max_message_size_down=100_000)

Decided = Callable[[bytes | Drop | Close], None]


class MessageGround(PythonGround):
    """Transports in memory, for the pump of ``mode = messages``."""

    def __init__(
        self,
        clock: Clock,
        route: RouteConfig = ROUTE,
        compression: Compression = UNCOMPRESSED,
        filters: Filters | None = None,
    ) -> None:
        self.make_pump = message_pumps(route, compression, filters)


@define
class Ask:
    """A message that filters were asked about."""

    direction: str
    payload: bytes
    is_binary: bool
    decide: Decided


@define(eq=False)
class FakeFilters:
    """Filters that do what a test says, now or later."""

    answer: Callable[[Ask], None] = lambda ask: None
    asks: list[Ask] = field(factory=list)
    events: list[str] = field(factory=list)
    pending: set[str] = field(factory=set)
    is_over: bool = False
    on_opened: Callable[[], None] = lambda: None

    def opened(self) -> None:
        self.events.append("opened")
        self.on_opened()

    def take(self, direction: str, payload: bytes, is_binary: bool, decided: Decided) -> None:
        assert not self.is_over, "nobody is asked after the end"
        assert direction not in self.pending, "one message a direction at a time"
        self.pending.add(direction)
        ask = Ask(direction, payload, is_binary, partial(self._decide, direction, decided))
        self.asks.append(ask)
        self.answer(ask)

    def _decide(self, direction: str, decided: Decided, answer: bytes | Drop | Close) -> None:
        if not self.is_over:
            self.pending.discard(direction)
            decided(answer)

    def end(self) -> None:
        if not self.is_over:
            self.events.append("ended")
        self.is_over = True


def converse(
    route: RouteConfig = ROUTE,
    compression: Compression = UNCOMPRESSED,
    filters: Filters | None = None,
    *,
    from_client: bytes = b"",
    from_upstream: bytes = b"",
) -> Conversation:
    """Begin a session between two peers."""
    clock = Clock()
    return Conversation(
        MessageGround(clock, route, compression, filters),
        clock,
        route,
        from_client=from_client,
        from_upstream=from_upstream,
    )


class Deflater:
    """A peer's compressor: it may keep its window from message to message."""

    def __init__(self, bits: int = 15, *, resets: bool = False) -> None:
        self.bits, self.resets = bits, resets
        self._start()

    def _start(self) -> None:
        self._compressor = zlib.compressobj(9, zlib.DEFLATED, -self.bits)
        self._decompressor = zlib.decompressobj(-self.bits)

    def deflate(self, payload: bytes) -> bytes:
        if self.resets:
            self._start()
        data = self._compressor.compress(payload)
        return (data + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def inflate(self, payload: bytes) -> bytes:
        if self.resets:
            self._start()
        return self._decompressor.decompress(payload + b"\x00\x00\xff\xff")


def compressed_frame(
    side: Side, payload: bytes, opcode: int = BINARY, *, final: bool = True
) -> bytes:
    """Encode the first frame of a compressed message; *payload* is deflated already."""
    return frame_from(side, opcode | 0x40, payload, final=final)


def fragments(side: Side, opcode: int, *pieces: bytes) -> bytes:
    """Encode one message in several frames."""
    last = len(pieces) - 1
    return b"".join(
        frame_from(side, opcode if not at else CONTINUATION, piece, final=at == last)
        for at, piece in enumerate(pieces)
    )


def messages_heard(pair: Conversation, side: Side) -> list[tuple[int, bytes]]:
    """Return the opcodes and payloads of the messages that a peer got, each in one frame."""
    frames, _ = frames_in(bytes(pair.leg(side).received))
    data = [each for each in frames if not each.is_control]
    assert all(each.final and each.opcode for each in data), "no message is fragmented"
    return [(each.opcode, each.payload) for each in data]
