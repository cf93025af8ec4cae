"""
Websocket frame headers (RFC 6455 section 5, RFC 7692 section 6), read without payloads.

A `Scanner` follows one direction of one session: bytes of any split go in, and what
may be passed on comes out, cut at control frames.  It is the reference that every
pump agrees with.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from attrs import define, field, frozen

from wsrelay.wire.faults import Fault, Limits, Violation, violation_of
from wsrelay.wire.paces import Bucket

DEFLATE_BITS: Final = 0x40
"""Reserved bits that permessage-deflate gives a meaning: RSV1 on a message's first frame."""
ANY_BITS: Final = 0x70
"""All reserved bits, for an extension that the relay does not know."""

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_CONTROLS: Final = 256
"""Control frames that one `Scanner.feed` returns; each one costs the relay some work."""


@frozen
class Control:
    """A whole control frame, header included, masked as it came."""

    frame: bytes


class Boundary:
    """Marks the end of a frame that was passed on in pieces."""


BOUNDARY: Final = Boundary()


class MessageEnd:
    """Marks the end of a message, for who waits for one: see `Scanner.marks_end`."""


MESSAGE_END: Final = MessageEnd()

Event = bytes | Control | Violation | Boundary | MessageEnd

_START, _FINAL, _CONTROL = "start", "final", "control"


def _judge(first: int, in_message: bool, bits: int) -> str | Violation:
    """Judge a frame's first byte: one of the three kinds, or what is wrong with it."""
    final, reserved, opcode = first & 0x80, first & 0x70, first & 0x0F
    if opcode & 0x08:
        if opcode > PONG:
            return violation_of(Fault.RESERVED_OPCODE, opcode)
        if reserved:
            return violation_of(Fault.CONTROL_BITS)
        if not final:
            return violation_of(Fault.CONTROL_FRAGMENT)
        return _CONTROL
    if opcode > BINARY:
        return violation_of(Fault.RESERVED_OPCODE, opcode)
    if in_message and opcode != CONTINUATION:
        return violation_of(Fault.NESTED_MESSAGE)
    if not in_message and opcode == CONTINUATION:
        return violation_of(Fault.STRAY_CONTINUATION)
    # RFC 7692 section 6.1: RSV1 stands on the first frame of a message only.
    allowed = 0 if bits == DEFLATE_BITS and in_message else bits
    if reserved & ~allowed:
        return violation_of(Fault.DATA_BITS)
    return _FINAL if final else _START


@cache
def _verdicts(bits: int) -> tuple[tuple[str | Violation, ...], tuple[str | Violation, ...]]:
    """Judge all first bytes at once: outside, then inside a fragmented message."""
    outside, inside = (
        tuple(_judge(first, in_message, bits) for first in range(256))
        for in_message in (False, True)
    )
    return outside, inside


@define(eq=False)
class Scanner:
    """
    Reads the frame headers of one direction.

    :param masked: True for bytes from a client, whose frames must be masked; False
        for bytes from an upstream, whose frames must not be.
    :param bits: the reserved bits that the negotiated extensions use: 0,
        `DEFLATE_BITS` or `ANY_BITS`.
    :param limits: sizes.

    *messages* counts complete data messages, *binary_messages* those of them that are
    binary, by the type that a message begins with, and *payload* their payload bytes so far.
    """

    masked: bool
    bits: int = 0
    limits: Limits = field(factory=Limits)
    messages: int = field(default=0, init=False)
    binary_messages: int = field(default=0, init=False)
    payload: int = field(default=0, init=False)
    backlog: bool = field(default=False, init=False)
    """Whether there is more to say about bytes that were fed already: feed it nothing."""
    marks_end: bool = field(default=False, init=False)
    """Whether to say where the next message ends: with `MESSAGE_END`, behind its last bytes."""
    _held: bytes = field(default=b"", init=False)  # starts at a frame's first byte
    _left: int = field(default=0, init=False)  # of the frame that is being streamed
    _left_final: bool = field(default=False, init=False)
    _in_message: bool = field(default=False, init=False)
    _is_binary: bool = field(default=False, init=False)  # the message that began last
    _message_size: int = field(default=0, init=False)
    _is_deaf: bool = field(default=False, init=False)  # what comes is discarded
    _messages: Bucket | None = field(default=None, init=False)  # see `PacedScanner`
    _full: Bucket | None = field(default=None, init=False)  # what has to be waited for

    @property
    def held(self) -> int:
        """Bytes that were fed and not said anything about yet."""
        return len(self._held)

    @property
    def mid_frame(self) -> bool:
        """Whether what was passed on ends inside a frame."""
        return self._left > 0

    @property
    def mid_message(self) -> bool:
        """Whether what was passed on ends inside a message."""
        # A final frame that is streamed is not in_message any more.
        return self._in_message or self._left > 0

    def feed(self, data: bytes) -> list[Event]:
        """
        Take the next bytes and say what to do, in order.

        ``bytes`` are passed on as they are: whole frames, or pieces of one frame
        longer than ``whole_frames``, whose end is marked by `BOUNDARY`.  After a
        `Violation`, and after a close frame (RFC 6455 section 1.4), everything is discarded.

        At most `MAX_CONTROLS` control frames come at once, so that a flood of empty pings
        costs neither much memory nor the reactor's time; then *backlog* is set, and
        ``feed(b"")`` goes on.
        """
        self.backlog = False
        if self._is_deaf:
            return []
        if self._left:
            return self._stream(data)
        if self._held:
            data = self._held + data
            self._held = b""
        return self._scan(data, [])

    def _stream(self, data: bytes) -> list[Event]:
        """Go on with a frame whose header is gone already."""
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self.payload += len(data)
            return [data]
        self._left = 0
        self.payload += left
        events: list[Event] = [data[:left], BOUNDARY]
        if self._left_final:
            self._end_message()
            if self.marks_end:
                events.append(MESSAGE_END)
        return events if len(data) == left else self._scan(data[left:], events)

    def _scan(self, data: bytes, events: list[Event]) -> list[Event]:
        """Walk frame headers from a frame boundary on; the hot loop of the Python pump."""
        outside, inside = _verdicts(self.bits)
        masked, limits = self.masked, self.limits
        marks_end, bucket = self.marks_end, self._messages
        controls = 0
        start = position = 0  # what stands between the two is passed on in one piece
        end = len(data)
        while end - position >= 2:
            kind = (inside if self._in_message else outside)[data[position]]
            second = data[position + 1]
            if type(kind) is Violation or (second >= 128) is not masked:
                return self._fail(events, data[start:position], self._why(kind))
            length = second & 0x7F
            if kind is _CONTROL:
                if length > 125 or (length == 1 and data[position] & 0x0F == CLOSE):
                    fault = Fault.HALF_CODE if length == 1 else Fault.LONG_CONTROL
                    return self._fail(events, data[start:position], violation_of(fault))
                after = position + 2 + (4 if masked else 0) + length
                if after > end:
                    break
                if controls == MAX_CONTROLS:
                    self.backlog = True
                    break
                controls += 1
                if start < position:
                    events.append(data[start:position])
                events.append(Control(data[position:after]))
                if data[position] & 0x0F == CLOSE:
                    self._is_deaf = True
                    return events
                start = position = after
                continue
            header = 2 if length < 126 else 4 if length == 126 else 10
            body = position + header + (4 if masked else 0)
            if body > end:
                break
            if length > 125:
                length = int.from_bytes(data[position + 2 : position + header], "big")
            problem = self._check_length(length, header)
            if problem is not None:
                return self._fail(events, data[start:position], problem)
            after = body + length
            if after > end and length <= limits.whole_frames:
                break
            if bucket is not None and not self._in_message and not bucket.take():
                if not limits.throttles:
                    violation = limits.violation(Fault.MANY_MESSAGES)
                    return self._fail(events, data[start:position], violation)
                self._full, self.backlog = bucket, True
                break
            self._begin_frame(data[position], length, kind is _FINAL)
            if after > end:
                self._left, self._left_final = after - end, kind is _FINAL
                self.payload += end - body
                events.append(data[start:])
                return events
            self.payload += length
            position = after
            if kind is _FINAL:
                self._end_message()
                if marks_end:
                    events += (data[start:after], MESSAGE_END)
                    start, marks_end = after, False
        if position == end and start == 0 and end:
            events.append(data)  # the common case: nothing to cut, nothing copied
            return events
        if start < position:
            events.append(data[start:position])
        self._held = data[position:]
        return events

    def _check_length(self, length: int, header: int) -> Violation | None:
        if header > 2:
            if length < 126 or (header == 10 and length < 65536):
                return violation_of(Fault.LONG_FORM)
            if length >> 63:
                return violation_of(Fault.TOP_BIT)
        limits = self.limits
        if limits.max_frame is not None and length > limits.max_frame:
            return violation_of(Fault.BIG_FRAME, limits.max_frame)
        if limits.max_message is not None and self._message_size + length > limits.max_message:
            return violation_of(Fault.BIG_MESSAGE, limits.max_message)
        return None

    def _begin_frame(self, first: int, length: int, final: bool) -> None:
        self._message_size += length
        if not self._in_message:
            self._is_binary = first & 0x0F == BINARY
        # The message of a final frame stays open while that frame is streamed: nothing
        # can come between, and `_end_message` closes it.
        self._in_message = not final

    def _end_message(self) -> None:
        self.messages += 1
        self.binary_messages += self._is_binary
        self._in_message = False
        self._message_size = 0

    def _why(self, kind: str | Violation) -> Violation:
        if isinstance(kind, Violation):
            return kind
        return violation_of(Fault.NOT_MASKED if self.masked else Fault.MASKED)

    def _fail(self, events: list[Event], passed: bytes, violation: Violation) -> list[Event]:
        self._is_deaf = True
        if passed:
            events.append(passed)
        events.append(violation)
        return events


def encode_frame(opcode: int, payload: bytes, mask: bytes = b"", *, final: bool = True) -> bytes:
    """
    Build one frame: a control frame, or one that the relay itself has to say.

    :param mask: four bytes to mask with, or none for a frame to a client.
    """
    head = frame_head((0x80 if final else 0) | opcode, len(payload), mask)
    return head + (xor(payload, mask) if mask else payload)


def frame_head(first: int, length: int, mask: bytes) -> bytes:
    """
    Build the header of a frame.

    :param first: its first byte.
    :param length: of the payload.
    :param mask: as `encode_frame` takes it; it ends the header.
    """
    flag = 0x80 if mask else 0
    if length < 126:
        return bytes((first, flag | length)) + mask
    if length < 65536:
        return bytes((first, flag | 126)) + length.to_bytes(2, "big") + mask
    return bytes((first, flag | 127)) + length.to_bytes(8, "big") + mask


def xor(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a whole payload (RFC 6455 section 5.3); meant for control frames."""
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(length, "big")
