"""
The rules that one direction of a session keeps, and how it is said that one was broken.

`wsrelay.wire.frames` applies them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from attrs import frozen

from wsrelay.wire.close import POLICY_VIOLATION, PROTOCOL_ERROR, TOO_BIG
from wsrelay.wire.paces import Pace


@frozen
class Violation:
    """
    Why a direction cannot go on; nothing follows it.

    *code* is the close code for the sender, *reason* fits into a close frame.
    """

    code: int
    reason: str


class Fault(IntEnum):
    """The rules that a frame can break, by numbers that the native pump knows, too."""

    RESERVED_OPCODE = 0
    CONTROL_BITS = 1
    CONTROL_FRAGMENT = 2
    NESTED_MESSAGE = 3
    STRAY_CONTINUATION = 4
    DATA_BITS = 5
    NOT_MASKED = 6
    MASKED = 7
    LONG_CONTROL = 8
    HALF_CODE = 9
    LONG_FORM = 10
    TOP_BIT = 11
    BIG_FRAME = 12
    BIG_MESSAGE = 13
    MANY_MESSAGES = 14
    MANY_BYTES = 15


_REASONS: Final = {
    Fault.RESERVED_OPCODE: "reserved opcode {}",
    Fault.CONTROL_BITS: "reserved bits set on a control frame",
    Fault.CONTROL_FRAGMENT: "fragmented control frame",
    Fault.NESTED_MESSAGE: "new message inside a fragmented message",
    Fault.STRAY_CONTINUATION: "continuation frame without a message",
    Fault.DATA_BITS: "reserved bits set without an extension",
    Fault.NOT_MASKED: "unmasked frame from a client",
    Fault.MASKED: "masked frame from an upstream",
    Fault.LONG_CONTROL: "control frame over 125 bytes",
    Fault.HALF_CODE: "close frame with half a code",
    Fault.LONG_FORM: "frame length not in its shortest form",
    Fault.TOP_BIT: "frame length with its top bit set",
    Fault.BIG_FRAME: "frame over the limit of {} bytes",
    Fault.BIG_MESSAGE: "message over the limit of {} bytes",
}

_CODES: Final = {
    Fault.BIG_FRAME: TOO_BIG,
    Fault.BIG_MESSAGE: TOO_BIG,
    Fault.MANY_MESSAGES: POLICY_VIOLATION,
    Fault.MANY_BYTES: POLICY_VIOLATION,
}


def violation_of(fault: Fault, detail: int | None = None) -> Violation:
    """
    Say in words which rule was broken; `Limits.violation` knows how to say it of a pace.

    :param detail: the opcode or the limit, for a fault that has one.
    """
    return Violation(_CODES.get(fault, PROTOCOL_ERROR), _REASONS[fault].format(detail))


@frozen
class Limits:
    """
    What one direction may carry, in payload bytes as they are on the wire.

    Frames up to *whole_frames* are passed on only when complete; *max_frame* and
    *max_message* are None for no limit.

    *messages* says how many data messages may come in which time, and *bytes* how many bytes,
    those of control frames included.  What is more is a violation, or, if it *throttles*,
    has to wait.
    """

    whole_frames: int = 16 * 1024
    max_frame: int | None = None
    max_message: int | None = None
    messages: Pace | None = None
    bytes: Pace | None = None
    throttles: bool = False

    def violation(self, fault: Fault, detail: int | None = None) -> Violation:
        """Say in words which rule was broken, as `violation_of` does."""
        for pace, its_fault, what in (
            (self.messages, Fault.MANY_MESSAGES, "message"),
            (self.bytes, Fault.MANY_BYTES, "byte"),
        ):
            if fault is its_fault and pace is not None:
                return Violation(_CODES[fault], pace.say(what))
        return violation_of(fault, detail)
