"""
The two Autobahn protocols that a session's messages go through.

Frames that a `wsrelay.wire.frames.Scanner` has let pass are taken apart here; fragments,
UTF-8 and compression are Autobahn's.  It is not handed bytes as they come: its own parser
copies what is left of a read for each frame in it, so that 64 KiB of short ones cost a
quarter of a second.

Control frames have protocols of their own, see `wsrelay.relay.legs`.
"""

# ruff: noqa: N802, N803, N815  (camelCase here is Autobahn's: it calls or reads all of it)

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO
from typing import Any, ClassVar, Final, NamedTuple

from autobahn.websocket.protocol import FrameHeader, WebSocketProtocol
from autobahn.websocket.utf8validator import Utf8Validator

from wsrelay.messages.deflate import LegDeflate
from wsrelay.messages.fault import Broken
from wsrelay.messages.outgoing import masked
from wsrelay.relay.legs import ClientLeg, UpstreamLeg
from wsrelay.relay.pump import Side
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import frame_head

_HEADERS: Final = tuple(
    FrameHeader(first & 0x0F, bool(first & 0x80), (first & 0x70) >> 4, 0, "")
    for first in range(256)
)
"""What Autobahn looks up of a data frame: all of it stands in the first byte."""

MOST_FRAMES: Final = 64
"""Frames that are read in one go: a message may have any number of empty ones."""

_EMPTY: Final = memoryview(b"")


class Message(NamedTuple):
    """A whole message; the payload of a text is valid UTF-8."""

    payload: bytes
    is_binary: bool


class _Messages:
    """
    Data frames to messages and back, for one leg; mixed in before the leg's class.

    :param write_frame: takes the header of a frame, its payload, and the mask that the payload
        is to get; empty for none.
    :param deflate: what was agreed on, or None.
    """

    side: ClassVar[Side]
    autoFragmentSize = 0
    utf8validateIncoming = True
    message_data_total_length = 0  # Autobahn's count; limits are the scanner's and LegDeflate's

    def __init__(
        self, write_frame: Callable[[bytes, bytes, bytes], None], deflate: LegDeflate | None
    ) -> None:
        self.state = WebSocketProtocol.STATE_OPEN
        self.utf8validator = Utf8Validator()
        self._perMessageCompress = deflate
        self._write_frame = write_frame
        self._data = _EMPTY
        self._at = 0
        self._left = 0  # bytes of the frame that has begun
        self._mask = b""
        self._first = b""
        self._more: BytesIO | None = None
        self._message: Message | None = None

    # what the peer sends

    @property
    def has_data(self) -> bool:
        """Whether there is something of the bytes that were fed that was not read."""
        return self._at < len(self._data)

    @property
    def held(self) -> int:
        """Bytes that are kept: of the message that has begun, and of what is to be read."""
        collected = len(self._first) if self._more is None else self._more.tell()
        return len(self._data) - self._at + collected

    def feed(self, data: bytes) -> None:
        """Take frames that were checked, or a piece of one; what was fed before is read."""
        self._data = memoryview(data)
        self._at = 0

    def clear(self) -> None:
        """Forget what was fed, and the message that has begun; nothing is read after that."""
        self._data, self._at = _EMPTY, 0
        self._first, self._more = b"", None

    def let_go(self) -> None:
        """Forget everything; nothing is sent after that, either."""
        self.clear()
        self._perMessageCompress = None  # its memory would wait for the garbage collector

    def next_message(self) -> Message | None:
        """
        Read on until a message is complete; None: not yet.

        :raises Broken: the peer's text is not UTF-8, or its compressed data no good.
        """
        for _ in range(MOST_FRAMES):
            if not self.has_data:
                break
            if self._left == 0:
                self._begin_frame()
            self._read_payload()
            if self._message is not None:
                message, self._message = self._message, None
                return message
        if not self.has_data:
            self._data, self._at = _EMPTY, 0
        return None

    def _begin_frame(self) -> None:
        data, at = self._data, self._at
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        body = at + 2
        if length > 125:
            body = at + (4 if length == 126 else 10)
            length = int.from_bytes(data[at + 2 : body], "big")
        if second & 0x80:
            self._mask = bytes(data[body : body + 4])
            body += 4
        self._at, self._left = body, length
        self.current_frame = _HEADERS[first]
        self.onFrameBegin()  # type: ignore[attr-defined]

    def _read_payload(self) -> None:
        at, mask = self._at, self._mask
        piece = bytes(self._data[at : at + self._left])
        size = len(piece)
        if size == 0 and self._left:
            return  # of a long frame only the header has come
        if mask:
            turn = size & 3
            self._mask = mask[turn:] + mask[:turn]
            piece = masked(piece, mask)
        self._at = at + size
        self._left -= size
        self.onFrameData(piece)  # type: ignore[attr-defined]
        if self._left == 0:
            self.onFrameEnd()  # type: ignore[attr-defined]

    def onMessageBegin(self, isBinary: bool) -> None:
        """Begin a message."""
        self.message_is_binary = isBinary

    def onMessageFrameBegin(self, length: int) -> None:
        """Do nothing: the scanner has checked the length."""

    def onMessageFrameData(self, payload: bytes) -> None:
        """Collect a piece; Autobahn's list of them would let one of empty frames grow forever."""
        if self._more is not None:
            self._more.write(payload)
        elif not self._first:
            self._first = payload
        else:
            self._more = BytesIO()
            self._more.write(self._first)
            self._more.write(payload)
            self._first = b""

    def onMessageFrameEnd(self) -> None:
        """Do nothing: the payload is collected."""

    def onMessageEnd(self) -> None:
        """Put the pieces together."""
        payload = self._first if self._more is None else self._more.getvalue()
        self._first, self._more = b"", None
        self.onMessage(payload, self.message_is_binary)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Keep a message for `next_message`."""
        self._message = Message(payload, isBinary)

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """Give up what Autobahn finds wrong, whatever it was about to do next."""
        raise Broken(Violation(code, reason))

    # what is sent to the peer

    def say(self, payload: bytes, is_binary: bool) -> None:
        """Send a message, compressed where that was agreed on."""
        deflate = self._perMessageCompress
        plain = not payload or deflate is None or not deflate.can_compress
        self.sendMessage(payload, is_binary, doNotCompress=plain)  # type: ignore[attr-defined]

    def sendFrame(self, opcode: int, payload: bytes = b"", rsv: int = 0, **rest: Any) -> None:
        """Send the one frame that a message is."""
        mask = random.getrandbits(32).to_bytes(4, "big") if self.side is Side.UPSTREAM else b""
        self._write_frame(frame_head(0x80 | rsv << 4 | opcode, len(payload), mask), payload, mask)


class ClientMessages(_Messages, ClientLeg):  # type: ignore[misc]
    """Messages from and to the client."""


class UpstreamMessages(_Messages, UpstreamLeg):  # type: ignore[misc]
    """Messages from and to the upstream."""
