"""The frame scanner in C against the one in Python: the same bytes, the same findings."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import require
from tests.wire.samples import TEXT, Case, cases, down, honest_cases, paced_cases, up
from wsrelay.wire.faults import Fault, Limits
from wsrelay.wire.frames import (
    BOUNDARY,
    CLOSE,
    DEFLATE_BITS,
    MAX_CONTROLS,
    PING,
    PONG,
    Control,
    Event,
)
from wsrelay.wire.paced_frames import PacedScanner, scanner_of
from wsrelay.wire.paces import Pace

try:
    from wsrelay.relay._native import ffi, lib
except ImportError:
    ffi = lib = None

MORE, CONTROL, DROPPED, END_OF_FRAME, FAULT, END_OF_MESSAGE, OVER = range(7)  # enum ws_found
NO_LIMIT = 2**64 - 1


@pytest.fixture(autouse=True, scope="module")
def native() -> None:
    """Skip, or fail under CI, where the extension was not built."""
    require(lib, "wsrelay.relay._native was not built")


class NativeScanner:
    """Keeps what has to be kept between two reads, as a leg of the native pump does."""

    def __init__(self, case: Case) -> None:
        limits = case.limits
        numbers = ffi.new(
            "struct ws_limits *",
            (
                limits.whole_frames,
                NO_LIMIT if limits.max_frame is None else limits.max_frame,
                NO_LIMIT if limits.max_message is None else limits.max_message,
                *(_in_c(limits.messages), _in_c(limits.bytes), limits.throttles),
            ),
        )
        self._limits = limits
        self._scanner = ffi.gc(lib.scanner_new(case.masked, case.bits, numbers), lib.scanner_free)
        self.held = b""
        self.backlog = False
        self.waits = False
        self.violated = False
        self.closed = False
        self._unpaid = b""

    @property
    def need(self) -> int:
        return int(lib.scanner_need(self._scanner))

    @property
    def state(self) -> tuple[int, int, int, int]:
        """The bytes to come of a streamed frame, and what was counted."""
        scanner = self._scanner
        left, payload = lib.scanner_left(scanner), lib.scanner_payload(scanner)
        messages, binary = lib.scanner_messages(scanner), lib.scanner_binary_messages(scanner)
        return left, messages, binary, payload

    def feed(self, data: bytes) -> list[Event]:
        """Do what `Scanner.feed` does."""
        self.backlog = self.waits = False
        if self.violated:
            return []
        data = self._unpaid + data
        paid = lib.scanner_pay(self._scanner, len(data))
        self._unpaid = data[paid:]
        events = self._scan(self.held + data[:paid])
        if self.closed:
            self._unpaid = b""
        if self._unpaid and not self.backlog and not self.violated:
            self._stop_at(lib.scanner_go_over(self._scanner), events)
        return events

    def fill(self, now: float) -> None:
        lib.scanner_fill(self._scanner, now)

    @property
    def wait(self) -> float:
        return float(lib.scanner_wait(self._scanner)) if self.waits else 0.0

    def _stop_at(self, found: int, events: list[Event]) -> None:
        """Note why nothing more is scanned."""
        if found == OVER:
            self.waits = self.backlog = True
            return
        fault, detail = lib.scanner_fault(self._scanner), lib.scanner_detail(self._scanner)
        events.append(self._limits.violation(Fault(fault), detail))
        self.violated = True

    def _scan(self, data: bytes) -> list[Event]:
        # Not a byte more than it says, so that a sanitizer sees a read behind it.
        size, given = len(data), ffi.new("uint8_t[]", len(data))
        ffi.memmove(given, data, size)
        position, extent = ffi.new("size_t *", 0), ffi.new("size_t *", 0)
        events: list[Event] = []
        controls = start = 0
        while True:
            before = position[0]
            found = lib.scanner_scan(self._scanner, given, size, position, extent)
            assert before <= position[0] <= size
            if start < position[0]:
                events.append(data[start : position[0]])
            start = position[0]
            if found == MORE:
                break
            if found in (FAULT, OVER):
                self._stop_at(found, events)
                start = size if found == FAULT else start
                break
            if found == END_OF_FRAME:
                events.append(BOUNDARY)
                continue
            assert 1 <= extent[0] <= size - start
            position[0] += extent[0]
            if found == CONTROL:
                events.append(Control(data[start : position[0]]))
                self.closed = data[start] & 15 == CLOSE
            else:
                assert found == DROPPED
                assert self.closed
                assert position[0] == size
            start = position[0]
            controls += 1
            if controls == MAX_CONTROLS and start < size:
                self.backlog = True
                break
        self.held = data[start:]
        return events


def _in_c(pace: Pace | None) -> tuple[float, float]:
    return (pace.per_second, pace.burst) if pace is not None else (0.0, 0.0)


def drained(scanner: Any, data: bytes) -> list[Event]:
    """Feed, go on with the backlog, and put together what passes in one piece."""
    events = scanner.feed(data)
    while scanner.backlog and not getattr(scanner, "waits", False):
        events += scanner.feed(b"")
    joined: list[Event] = []
    for event in events:
        if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += event
        else:
            joined.append(event)
    return joined


def assert_agreement(case: Case) -> None:
    python, native = case.scanner(), NativeScanner(case)
    for chunk in case.chunks:
        assert drained(native, chunk) == drained(python, chunk)
        left, *counts = native.state
        assert counts == [python.messages, python.binary_messages, python.payload]
        assert left == python._left
        assert (left > 0) is python.mid_frame


FLOOD = down(PING) * (2 * MAX_CONTROLS) + down(TEXT, b"x") + down(PONG) * MAX_CONTROLS + down(CLOSE)


MESSAGES = (down(TEXT, bytes(6), final=False) + down(0, bytes(9)) + down(TEXT, bytes(15))) * 2


@given(cases())
@example(Case(MESSAGES, (), False, 0, Limits(max_message=15)))
@example(Case(MESSAGES, (3, 20, 33), False, 0, Limits(whole_frames=0, max_message=15)))
@example(Case(b"\x41\x01a\x00\x01b\xc0\x01c", (3,), False, DEFLATE_BITS, Limits()))
@example(Case(FLOOD, (), False, 0, Limits()))
@example(Case(FLOOD, (601, 1025), False, 0, Limits()))
@example(Case(up(CLOSE) + up(PING) * (MAX_CONTROLS + 1) + up(TEXT), (), True, 0, Limits()))
def test_any_input_in_any_pieces_is_read_as_the_python_scanner_reads_it(case: Case) -> None:
    assert_agreement(case)


@given(cases())
def test_byte_by_byte_they_agree_too(case: Case) -> None:
    data = case.data[:3000]
    assert_agreement(evolve(case, data=data, cuts=range(len(data))))


@given(honest_cases(), st.integers(0, 200_000), st.integers(0, 7))
def test_they_agree_on_good_frames_of_which_one_bit_was_turned(
    case: Case, place: int, bit: int
) -> None:
    data = bytearray(case.data)
    if data:
        data[place % len(data)] ^= 1 << bit
    assert_agreement(evolve(case, data=bytes(data)))


@given(paced_cases(), st.lists(st.sampled_from([-1.0, 0.0, 0.01, 0.3, 1.0, 7.0]), max_size=12))
@example(Case(up(PING) * (MAX_CONTROLS + 9), (), True, 0, Limits(bytes=Pace(7.0, 1599.0))), [0.3])
def test_they_let_the_same_through_at_any_pace_at_any_time(case: Case, times: list[float]) -> None:
    python, native = scanner_of(case.masked, case.bits, case.limits), NativeScanner(case)
    assert isinstance(python, PacedScanner)
    now = 0.0
    chunks = case.chunks
    for elapsed in [*times, *[0.1] * len(chunks)]:
        now += elapsed
        for scanner in (python, native):
            scanner.fill(now)
        chunk = b"" if python.waits or not chunks else chunks.pop(0)
        assert drained(native, chunk) == drained(python, chunk)
        assert (native.waits, native.wait) == (python.waits, python.wait)
        assert native.violated is (python._is_deaf and not native.closed)
        assert native.state[1:] == (python.messages, python.binary_messages, python.payload)


@given(st.integers(2**62, 2**64 - 1), st.sampled_from([0, 2**63, 2**64 - 2]), st.booleans())
def test_they_agree_on_lengths_and_limits_next_to_which_numbers_overflow(
    length: int, limit: int, is_frame_limit: bool
) -> None:
    limits = Limits(whole_frames=0)
    if limit:
        name = "max_frame" if is_frame_limit else "max_message"
        limits = evolve(limits, **{name: limit})
    fragment = b"\x02\x7f" + (100_000).to_bytes(8, "big") + bytes(100_000)
    rest = b"\x80\x7f" + length.to_bytes(8, "big") + b"x"
    assert_agreement(Case(fragment + rest, (), False, 0, limits))
    assert_agreement(Case(fragment + rest, (4, 100_013), False, 0, limits))


@given(cases())
def test_less_than_it_needs_changes_nothing_and_as_much_changes_something(case: Case) -> None:
    native, fed = NativeScanner(case), 0
    for chunk in case.chunks:
        drained(native, chunk)
        fed += len(chunk)
        if native.violated:
            return
        held, need, state, more = native.held, native.need, native.state, case.data[fed:]
        lacking = need - len(held)
        assert lacking > 0
        if lacking > len(more):
            continue
        for too_few in {0, 1, lacking - 1} - {lacking}:
            assert native.feed(more[:too_few]) == []
            assert (native.need, native.state) == (need, state)
            assert native.held == held + more[:too_few]
            native.held = held
        native.feed(more[:lacking])
        assert native.need > need or native.held != held + more[:lacking]
        return


def test_the_rules_have_the_same_numbers_in_c_as_in_python() -> None:
    in_c = {name: number for number, name in ffi.typeof("enum ws_fault").elements.items()}
    assert in_c == {f"WS_{fault.name}": fault.value for fault in Fault}
    assert all(getattr(lib, name) == number for name, number in in_c.items())


@pytest.mark.parametrize("fault", list(Fault))
def test_each_rule_can_be_broken_in_both(fault: Fault) -> None:
    data, masked, limits = BREACHES[fault]
    case = Case(data, (), masked, 0, limits)
    expected = limits.violation(fault, DETAILS.get(fault))
    assert drained(scanner_of(masked, 0, limits), data)[-1] == expected
    assert drained(NativeScanner(case), data)[-1] == expected


BREACHES = {
    Fault.RESERVED_OPCODE: (down(3), False, Limits()),
    Fault.CONTROL_BITS: (b"\xc9\x00", False, Limits()),
    Fault.CONTROL_FRAGMENT: (b"\x09\x00", False, Limits()),
    Fault.NESTED_MESSAGE: (down(TEXT, final=False) + down(TEXT), False, Limits()),
    Fault.STRAY_CONTINUATION: (down(0), False, Limits()),
    Fault.DATA_BITS: (b"\xc1\x00", False, Limits()),
    Fault.NOT_MASKED: (down(TEXT), True, Limits()),
    Fault.MASKED: (up(TEXT), False, Limits()),
    Fault.LONG_CONTROL: (b"\x89\x7e", False, Limits()),
    Fault.HALF_CODE: (b"\x88\x01", False, Limits()),
    Fault.LONG_FORM: (b"\x81\x7e\x00\x7d", False, Limits()),
    Fault.TOP_BIT: (b"\x81\x7f\x80" + bytes(7), False, Limits()),
    Fault.BIG_FRAME: (down(TEXT, bytes(11)), False, Limits(max_frame=10)),
    Fault.BIG_MESSAGE: (
        down(TEXT, bytes(9), final=False) + down(0, b"xx"),
        False,
        Limits(max_message=10),
    ),
    Fault.MANY_MESSAGES: (down(TEXT) * 3, False, Limits(messages=Pace(1.0, 2.0))),
    Fault.MANY_BYTES: (down(TEXT) * 3, False, Limits(bytes=Pace(1.0, 5.0))),
}
DETAILS = {Fault.RESERVED_OPCODE: 3, Fault.BIG_FRAME: 10, Fault.BIG_MESSAGE: 10}
