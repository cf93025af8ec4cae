"""The frame scanner against a slow reader of frames that is written the obvious way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.wire.samples import (
    BINARY,
    MASK,
    MORE,
    TEXT,
    Case,
    cases,
    down,
    honest_cases,
    up,
)
from wsrelay.wire.faults import Limits, Violation
from wsrelay.wire.frames import (
    ANY_BITS,
    BOUNDARY,
    CLOSE,
    DEFLATE_BITS,
    MAX_CONTROLS,
    PING,
    PONG,
    Control,
    Scanner,
    encode_frame,
    xor,
)

# How long an example takes says nothing but how busy the machine is.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# the obvious way


@frozen
class Piece:
    """A frame of the input: where it stands, and what it is."""

    start: int
    end: int
    is_control: bool
    length: int


@define
class Reading:
    """What the slow reader made of a whole input."""

    items: list[Any] = field(factory=list)  # bytes that pass, controls, a violation
    pieces: list[Piece] = field(factory=list)
    messages: int = 0
    binary_messages: int = 0
    payload: int = 0
    ends_at: int = 0  # where the frame begins that was not complete

    def put(self, data: bytes) -> None:
        if data and self.items and isinstance(self.items[-1], bytes):
            self.items[-1] += data
        elif data:
            self.items.append(data)


def read_slowly(data: bytes, masked: bool, bits: int, limits: Limits) -> Reading:
    """Read one frame after the other; every rule of RFC 6455 section 5 is a line here."""
    reading = Reading()
    at, fragments, is_open, first_opcode = 0, 0, False, 0
    while len(data) - at >= 2:
        final = data[at] >= 128
        reserved = data[at] & 0b01110000
        opcode = data[at] % 16
        is_masked = data[at + 1] >= 128
        short = data[at + 1] % 128

        def broke(code: int, reading: Reading = reading) -> Reading:
            reading.items.append(code)
            return reading

        if opcode not in (0, 1, 2, 8, 9, 10) or is_masked != masked:
            return broke(1002)
        if opcode >= 8:
            if reserved or not final or short > 125 or (opcode == CLOSE and short == 1):
                return broke(1002)
            end = at + 2 + 4 * masked + short
            if end > len(data):
                break
            reading.items.append(Control(data[at:end]))
            reading.pieces.append(Piece(at, end, True, short))
            at = end
            if opcode == CLOSE:
                break
            continue
        if (opcode == 0) != is_open:
            return broke(1002)
        allowed = 0 if is_open and bits == DEFLATE_BITS else bits
        if reserved | allowed != allowed:
            return broke(1002)
        extra = {126: 2, 127: 8}.get(short, 0)
        body = at + 2 + extra + 4 * masked
        if body > len(data):
            break
        length = int.from_bytes(data[at + 2 : at + 2 + extra], "big") if extra else short
        shortest = 0 if length < 126 else 2 if length < 2**16 else 8
        if extra != shortest or length >= 2**63:
            return broke(1002)
        if limits.max_frame is not None and length > limits.max_frame:
            return broke(1009)
        if limits.max_message is not None and fragments + length > limits.max_message:
            return broke(1009)
        end = body + length
        if end > len(data):
            if length > limits.whole_frames:
                reading.put(data[at:])
                reading.payload += len(data) - body
                reading.pieces.append(Piece(at, end, False, length))
                at = len(data)
            break
        reading.put(data[at:end])
        reading.payload += length
        first_opcode = opcode or first_opcode
        reading.messages += final
        reading.binary_messages += final and first_opcode == BINARY
        reading.pieces.append(Piece(at, end, False, length))
        fragments = 0 if final else fragments + length
        is_open = not final
        at = end
    reading.ends_at = at
    return reading


# any input in any pieces


def joined(events: Sequence[Any]) -> list[Any]:
    """Put together what passes in one piece, as the slow reader does; boundaries do not count."""
    reading = Reading()
    for event in events:
        if isinstance(event, bytes):
            assert event, "nothing is passed on as an empty piece"
            reading.put(event)
        elif isinstance(event, Violation):
            reading.items.append(event.code)
        elif event is not BOUNDARY:
            reading.items.append(event)
    return reading.items


@UNHURRIED
@given(cases())
@example(Case(b"\x81", (), True, 0, Limits()))
def test_any_input_in_any_pieces_is_read_as_the_slow_reader_reads_it(case: Case) -> None:
    scanner = case.scanner()
    events = [event for chunk in case.chunks for event in scanner.feed(chunk)]
    expected = read_slowly(case.data, case.masked, case.bits, case.limits)
    assert joined(events) == expected.items
    assert scanner.messages == expected.messages
    assert scanner.binary_messages == expected.binary_messages
    assert scanner.payload == expected.payload


@UNHURRIED
@given(honest_cases())
def test_what_passes_and_the_controls_are_the_input_again(case: Case) -> None:
    scanner = case.scanner()
    events = [event for chunk in case.chunks for event in scanner.feed(chunk)]
    assert not any(isinstance(event, Violation) for event in events)
    assert b"".join(map(as_bytes, events)) == case.data


def as_bytes(event: Any) -> bytes:
    if isinstance(event, Control):
        return event.frame
    return event if isinstance(event, bytes) else b""


@UNHURRIED
@given(honest_cases())
def test_only_frames_over_whole_frames_are_passed_in_part_and_only_their_ends_are_marked(
    case: Case,
) -> None:
    pieces = read_slowly(case.data, case.masked, 0, case.limits).pieces
    scanner, passed = case.scanner(), 0
    in_part, marked = set(), []
    for chunk in case.chunks:
        for event in scanner.feed(chunk):
            passed += len(as_bytes(event))
            if event is BOUNDARY:
                marked.append(passed)
        inside = [each for each in pieces if each.start < passed < each.end]
        assert scanner.mid_frame is bool(inside)
        assert not any(each.is_control for each in inside)
        assert all(each.length > case.limits.whole_frames for each in inside)
        in_part.update(each.end for each in inside)
    assert marked == sorted(in_part)


@UNHURRIED
@given(honest_cases())
def test_never_more_is_held_than_a_whole_frame_or_a_control_frame(case: Case) -> None:
    scanner, fed, passed = case.scanner(), 0, 0
    most = max(case.limits.whole_frames + 14, 2 + 4 + 125)
    for chunk in case.chunks:
        fed += len(chunk)
        passed += sum(len(as_bytes(event)) for event in scanner.feed(chunk))
        assert 0 <= fed - passed <= most


@UNHURRIED
@given(honest_cases())
def test_all_that_can_be_told_is_told_at_once(case: Case) -> None:
    scanner, fed, passed = case.scanner(), 0, 0
    for chunk in case.chunks:
        fed += len(chunk)
        passed += sum(len(as_bytes(event)) for event in scanner.feed(chunk))
        assert passed == read_slowly(case.data[:fed], case.masked, 0, case.limits).ends_at


# one rule after the other


def one_by_one(scanner: Scanner, data: bytes) -> list[Any]:
    return [event for byte in data for event in scanner.feed(bytes([byte]))]


def at_once(scanner: Scanner, data: bytes) -> list[Any]:
    return scanner.feed(data)


HOW = pytest.mark.parametrize("feed", [at_once, one_by_one])
Feed = Callable[[Scanner, bytes], list[Any]]

VIOLATIONS = [
    pytest.param(up(3), "reserved opcode 3", id="reserved data opcode"),
    pytest.param(up(7), "reserved opcode 7", id="last reserved data opcode"),
    pytest.param(up(11), "reserved opcode 11", id="reserved control opcode"),
    pytest.param(up(15), "reserved opcode 15", id="last reserved control opcode"),
    pytest.param(down(TEXT, b"x"), "unmasked frame from a client", id="unmasked data"),
    pytest.param(down(PING, b"x"), "unmasked frame from a client", id="unmasked ping"),
    pytest.param(down(CLOSE), "unmasked frame from a client", id="unmasked close"),
    pytest.param(b"\xc1\x80", "reserved bits set without an extension", id="first bit"),
    pytest.param(b"\xa1\x80", "reserved bits set without an extension", id="second bit"),
    pytest.param(b"\x91\x80", "reserved bits set without an extension", id="third bit"),
    pytest.param(b"\xc9\x80", "reserved bits set on a control frame", id="bit on a ping"),
    pytest.param(b"\x98\x80", "reserved bits set on a control frame", id="bit on a close"),
    pytest.param(b"\x09\x80", "fragmented control frame", id="fragmented ping"),
    pytest.param(b"\x08\x80", "fragmented control frame", id="fragmented close"),
    pytest.param(b"\x89\xfe", "control frame over 125 bytes", id="ping of 126"),
    pytest.param(b"\x8a\xff", "control frame over 125 bytes", id="huge pong"),
    pytest.param(b"\x88\xfe", "control frame over 125 bytes", id="close of 126"),
    pytest.param(b"\x88\x81", "close frame with half a code", id="half a code"),
    pytest.param(up(MORE, b"x"), "continuation frame without a message", id="stray"),
    pytest.param(
        up(TEXT, b"x") + up(MORE, b"x"), "continuation frame without a message", id="stray later"
    ),
    pytest.param(
        up(TEXT, b"x", final=False) + up(TEXT, b"x"),
        "new message inside a fragmented message",
        id="text in text",
    ),
    pytest.param(
        up(TEXT, b"x", final=False) + up(MORE, b"x", final=False) + up(BINARY, b"x"),
        "new message inside a fragmented message",
        id="binary in text",
    ),
    pytest.param(
        b"\x82\xfe\x00\x7d" + MASK, "frame length not in its shortest form", id="125 in 2 bytes"
    ),
    pytest.param(
        b"\x82\xff" + (65535).to_bytes(8, "big") + MASK,
        "frame length not in its shortest form",
        id="65535 in 8 bytes",
    ),
    pytest.param(
        b"\x82\xff" + (5).to_bytes(8, "big") + MASK,
        "frame length not in its shortest form",
        id="5 in 8 bytes",
    ),
    pytest.param(
        b"\x82\xff\x80" + bytes(7) + MASK, "frame length with its top bit set", id="top bit"
    ),
]


@HOW
@pytest.mark.parametrize(("data", "reason"), VIOLATIONS)
def test_a_violation_is_named_and_everything_behind_it_discarded(
    data: bytes, reason: str, feed: Feed
) -> None:
    scanner = Scanner(True)
    good = up(BINARY, b"before")
    events = [*feed(scanner, good), *feed(scanner, data)]
    assert events[-1] == Violation(1002, reason)
    assert not scanner.mid_frame
    assert scanner.feed(up(TEXT, b"behind")) == []
    assert scanner.feed(up(PING)) == []
    assert joined(events)[0].startswith(good)


def test_what_stands_before_a_violation_in_the_same_read_is_passed_on() -> None:
    good = up(TEXT, b"one") + up(TEXT, b"two")
    events = Scanner(True).feed(good + up(3))
    assert events == [good, Violation(1002, "reserved opcode 3")]


@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
def test_an_upstream_must_not_mask(opcode: int) -> None:
    events = Scanner(False).feed(up(opcode))
    assert events == [Violation(1002, "masked frame from an upstream")]


def test_an_upstream_that_does_not_mask_is_heard() -> None:
    frames = down(TEXT, b"x")
    assert Scanner(False).feed(frames) == [frames]


@HOW
def test_the_deflate_bit_may_stand_on_the_first_frame_of_a_message_only(feed: Feed) -> None:
    first = b"\x41" + up(TEXT, b"x", final=False)[1:]
    scanner = Scanner(True, DEFLATE_BITS)
    assert joined(feed(scanner, first + up(MORE, b"y"))) == [first + up(MORE, b"y")]
    again = b"\xc0" + up(MORE, b"y")[1:]
    scanner = Scanner(True, DEFLATE_BITS)
    assert joined(feed(scanner, first + again)) == [first, 1002]


@pytest.mark.parametrize("bits", [0x20, 0x10, 0x60, 0x50])
def test_deflate_gives_no_other_bit_a_meaning(bits: int) -> None:
    assert joined(Scanner(True, DEFLATE_BITS).feed(bytes([0x81 | bits, 0x80]))) == [1002]


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10, 0x70])
def test_an_unknown_extension_may_use_every_bit_of_data_and_none_of_controls(bits: int) -> None:
    fragments = bytes([0x01 | bits]) + up(TEXT)[1:] + bytes([0x80 | bits]) + up(MORE)[1:]
    assert Scanner(True, ANY_BITS).feed(fragments) == [fragments]
    assert joined(Scanner(True, ANY_BITS).feed(bytes([0x89 | bits, 0x80]))) == [1002]


@HOW
def test_a_frame_may_be_as_long_as_the_limit_and_no_longer(feed: Feed) -> None:
    limits = Limits(max_frame=200)
    assert joined(feed(Scanner(True, 0, limits), up(BINARY, bytes(200)))) == [
        up(BINARY, bytes(200))
    ]
    events = feed(Scanner(True, 0, limits), up(BINARY, bytes(201)))
    assert events == [Violation(1009, "frame over the limit of 200 bytes")]


@HOW
def test_fragments_count_together_and_each_message_begins_anew(feed: Feed) -> None:
    limits = Limits(max_message=10)
    whole = up(TEXT, bytes(6), final=False) + up(MORE, bytes(3), final=False) + up(MORE, b"x")
    scanner = Scanner(True, 0, limits)
    assert joined(feed(scanner, whole + up(TEXT, bytes(10)))) == [whole + up(TEXT, bytes(10))]
    start = up(TEXT, bytes(6), final=False) + up(MORE, bytes(2), final=False)
    events = feed(Scanner(True, 0, limits), start + up(PING) + up(MORE, bytes(3)))
    assert joined(events) == [start, Control(up(PING)), 1009]
    assert events[-1].reason == "message over the limit of 10 bytes"


@HOW
def test_streamed_fragments_count_for_the_limit_too(feed: Feed) -> None:
    limits = Limits(whole_frames=4, max_message=20)
    start = up(TEXT, bytes(15), final=False)
    scanner = Scanner(True, 0, limits)
    assert joined(feed(scanner, start + up(MORE, bytes(6)))) == [start, 1009]
    scanner = Scanner(True, 0, limits)
    good = start + up(MORE, bytes(5)) + up(TEXT, bytes(20))
    assert joined(feed(scanner, good)) == [good]
    assert scanner.messages == 2


def test_a_frame_over_a_limit_is_refused_by_its_header_alone() -> None:
    header = up(BINARY, bytes(70_000))[:14]
    scanner = Scanner(True, 0, Limits(max_message=65_536))
    assert scanner.feed(header[:13]) == []
    assert [event.code for event in scanner.feed(header[13:])] == [1009]


def test_a_short_frame_is_held_until_its_last_byte() -> None:
    frame = up(BINARY, bytes(100))
    scanner = Scanner(True, 0, Limits(whole_frames=100))
    assert scanner.feed(frame[:-1]) == []
    assert not scanner.mid_frame
    assert scanner.payload == 0
    assert scanner.feed(frame[-1:]) == [frame]
    assert (scanner.messages, scanner.payload) == (1, 100)


def test_a_longer_frame_streams_from_the_end_of_its_header_on() -> None:
    frame = up(BINARY, bytes(101))
    scanner = Scanner(True, 0, Limits(whole_frames=100))
    assert scanner.feed(frame[:5]) == []
    assert not scanner.mid_frame
    assert scanner.feed(frame[5:6]) == [frame[:6]]
    assert scanner.mid_frame
    assert scanner.feed(frame[6:50]) == [frame[6:50]]
    assert (scanner.messages, scanner.payload) == (0, 44)
    assert scanner.feed(frame[50:]) == [frame[50:], BOUNDARY]
    assert not scanner.mid_frame
    assert (scanner.messages, scanner.payload) == (1, 101)


def test_a_long_frame_that_came_in_one_read_has_no_marked_end() -> None:
    frame = up(BINARY, bytes(101))
    assert Scanner(True, 0, Limits(whole_frames=100)).feed(frame) == [frame]


def test_whole_frames_off_streams_even_one_byte() -> None:
    frame = down(BINARY, b"x")
    scanner = Scanner(False, 0, Limits(whole_frames=0))
    assert scanner.feed(frame[:2]) == [frame[:2]]
    assert scanner.mid_frame
    assert scanner.feed(frame[2:]) == [b"x", BOUNDARY]


def test_a_control_frame_and_the_next_frame_come_right_behind_a_marked_end() -> None:
    long, short = down(BINARY, bytes(300)), down(TEXT, b"x")
    scanner = Scanner(False, 0, Limits(whole_frames=100))
    scanner.feed(long[:200])
    events = scanner.feed(long[200:] + down(PING, b"p") + short + short)
    assert events == [long[200:], BOUNDARY, Control(down(PING, b"p")), short + short]


def test_a_violation_may_stand_right_behind_a_marked_end() -> None:
    long = down(BINARY, bytes(300))
    scanner = Scanner(False, 0, Limits(whole_frames=100))
    scanner.feed(long[:200])
    events = scanner.feed(long[200:] + down(3))
    assert events == [long[200:], BOUNDARY, Violation(1002, "reserved opcode 3")]


@HOW
def test_controls_stand_between_fragments_without_ending_the_message(feed: Feed) -> None:
    scanner = Scanner(True)
    first, last = up(TEXT, b"a", final=False), up(MORE, b"b")
    assert joined(feed(scanner, first + up(PING, b"1") + up(PONG, b"2"))) == [
        first,
        Control(up(PING, b"1")),
        Control(up(PONG, b"2")),
    ]
    assert scanner.messages == 0
    assert joined(feed(scanner, last)) == [last]
    assert scanner.messages == 1


@HOW
def test_empty_frames_are_messages_and_fragments_too(feed: Feed) -> None:
    scanner = Scanner(True, 0, Limits(whole_frames=0, max_message=0))
    frames = up(TEXT) + up(BINARY, final=False) + up(MORE, final=False) + up(MORE)
    assert joined(feed(scanner, frames)) == [frames]
    assert (scanner.messages, scanner.payload) == (2, 0)


@HOW
@pytest.mark.parametrize(
    "more",
    [up(PING) + up(CLOSE), up(TEXT, b"x"), up(MORE), b"\xff" * 7, down(TEXT), up(TEXT)[:3]],
    ids=["control", "text", "continuation", "nonsense", "not masked", "half a frame"],
)
def test_what_stands_behind_a_close_frame_is_dropped(feed: Feed, more: bytes) -> None:
    scanner = Scanner(True)
    events = feed(scanner, up(TEXT, b"a", final=False) + up(CLOSE, b"\x03\xe8") + more)
    assert joined(events)[1:] == [Control(up(CLOSE, b"\x03\xe8"))]
    assert (scanner.held, scanner.messages) == (0, 0)


def test_no_bytes_say_nothing() -> None:
    scanner = Scanner(True)
    assert scanner.feed(b"") == []
    scanner.feed(up(TEXT, b"held")[:4])
    assert scanner.feed(b"") == []
    assert scanner.feed(up(TEXT, b"held")[4:]) == [up(TEXT, b"held")]


# building frames


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_is_built_with_the_shortest_length(length: int, head: bytes) -> None:
    assert encode_frame(BINARY, bytes(length)) == head + bytes(length)


def test_a_frame_is_masked_as_rfc_6455_shows() -> None:
    # The examples of section 5.7.
    hello = bytes.fromhex("818537fa213d7f9f4d5158")
    assert encode_frame(TEXT, b"Hello", bytes.fromhex("37fa213d")) == hello
    assert encode_frame(TEXT, b"Hel", final=False) == b"\x01\x03Hel"


@given(st.binary(max_size=125), st.binary(min_size=4, max_size=4))
def test_a_masked_payload_is_read_with_the_same_mask(payload: bytes, mask: bytes) -> None:
    frame = encode_frame(PING, payload, mask)
    assert frame[:6] == bytes((0x80 | PING, 0x80 | len(payload))) + mask
    assert xor(frame[6:], frame[2:6]) == payload


def test_a_flood_of_control_frames_comes_in_bounded_portions() -> None:
    scanner = Scanner(masked=False)
    ping, data = encode_frame(PING, b""), encode_frame(2, b"data")
    left = 3 * MAX_CONTROLS + 5
    events = scanner.feed(ping * left + data)
    portions = []
    while scanner.backlog:
        portions.append(len(events))
        events = scanner.feed(b"")
    assert portions == [MAX_CONTROLS] * 3
    assert events == [Control(ping)] * 5 + [data]


def test_exactly_as_many_control_frames_as_fit_leave_no_backlog() -> None:
    scanner = Scanner(masked=False)
    assert len(scanner.feed(encode_frame(PING, b"") * MAX_CONTROLS)) == MAX_CONTROLS
    assert not scanner.backlog
