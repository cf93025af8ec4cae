"""Frames: any pieces give the same, in C, too, and nothing passes that is no stream of frames."""

from __future__ import annotations

from typing import Final

from tests.wire.samples import Case
from tests.wire.test_native_frames import NativeScanner, assert_agreement, drained, lib
from wsrelay.wire.faults import Limits, Violation
from wsrelay.wire.frames import ANY_BITS, BOUNDARY, CLOSE, DEFLATE_BITS, Control, Event, Scanner
from wsrelay.wire.paced_frames import PacedScanner
from wsrelay.wire.paces import Pace

CONTROL_BYTES: Final = 4
"""Of an input, which say how the rest is to be read: those of ``tests/native/fuzz_frames.c``."""

BITS: Final = (0, DEFLATE_BITS, ANY_BITS, 0)
LIMITS: Final = (2**64 - 1, 0, 1, 20, 126, 200, 65535, 2**64 - 1)
SLOW: Final = 1500
"""Bytes, beyond which an input is not read one by one as well."""


def frames(data: bytes) -> None:
    """Read the bytes behind the first four, which say whose they are and which limits there are."""
    if len(data) < CONTROL_BYTES:
        return
    case = case_of(data)
    size = len(case.data)
    check_sanity(case, read(case, size))
    for piece in {1 + data[3], 1 if size < SLOW else size}:
        cut = Case(case.data, range(0, size, piece), case.masked, case.bits, case.limits)
        assert read(cut, piece) == read(case, size)
        if lib is not None:
            assert_agreement(cut)
    if lib is not None:
        assert_agreement(case)


def case_of(data: bytes) -> Case:
    limits = Limits(
        whole_frames=LIMITS[data[1] & 7],
        max_frame=limit(data[1] >> 3 & 7),
        max_message=limit(data[2] & 7),
    )
    masked, bits = bool(data[0] & 1), BITS[data[0] >> 1 & 3]
    return Case(data[CONTROL_BYTES:], (), masked, bits, limits)


def limit(number: int) -> int | None:
    return LIMITS[number] if LIMITS[number] < 2**64 - 1 else None


def read(case: Case, piece: int) -> tuple[list[Event], tuple[object, ...]]:
    """Return what a scanner says of it all, without where pieces ended, and what it counted."""
    scanner, events = case.scanner(), []
    for start in range(0, len(case.data), piece or 1):
        events += drained(scanner, case.data[start : start + piece])
    return joined(events), state_of(scanner)


def joined(events: list[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if event is BOUNDARY:
            continue
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


def state_of(scanner: Scanner) -> tuple[object, ...]:
    counts = scanner.messages, scanner.binary_messages, scanner.payload
    return *counts, scanner.mid_frame, scanner.mid_message, scanner.held, scanner._is_deaf


def check_sanity(case: Case, outcome: tuple[list[Event], tuple[object, ...]]) -> None:
    """Nothing is invented, swallowed or reordered, and what passes is frames."""
    events, (*_, mid_frame, mid_message, held, is_deaf) = outcome
    controls = [event.frame for event in events if isinstance(event, Control)]
    told = b"".join(e if isinstance(e, bytes) else getattr(e, "frame", b"") for e in events)
    closes = [frame for frame in controls if frame[0] & 15 == CLOSE]
    assert case.data.startswith(told)
    assert sum(isinstance(event, Violation) for event in events) + len(closes) == is_deaf
    if closes:
        assert events[-1] == Control(closes[0])
    if not is_deaf:
        assert len(told) + held == len(case.data)
    for frame in controls:
        assert frame[0] in (0x88, 0x89, 0x8A)
        assert frame[1] & 127 <= 125
        assert len(frame) == 2 + 4 * case.masked + (frame[1] & 127)
        assert frame[1] != 1 or frame[0] != 0x88
    passed = b"".join(event for event in events if isinstance(event, bytes))
    check_passed(case, passed, mid_frame, mid_message)


def check_passed(case: Case, data: bytes, mid_frame: object, mid_message: object) -> None:
    """Read what passed as the far peer does, which trusts the relay."""
    limits, size, inside, at = case.limits, 0, False, 0
    while at < len(data):
        first, second = data[at], data[at + 1]
        header = {126: 4, 127: 10}.get(second & 127, 2)
        length = int.from_bytes(data[at + 2 : at + header], "big") if header > 2 else second & 127
        assert first & 15 == 0 if inside else first & 15 in (1, 2)
        assert not first & 0x70 & ~case.bits
        assert (second >= 128) is case.masked
        assert (header == 2) == (length < 126)
        assert (header == 10) == (length > 65535)
        size = (size if inside else 0) + length
        assert limits.max_frame is None or length <= limits.max_frame
        assert limits.max_message is None or size <= limits.max_message
        inside = first < 128
        at += header + 4 * case.masked + length
    assert (at > len(data)) == mid_frame
    assert mid_message == (inside or at > len(data))


def paces(data: bytes) -> None:
    """
    Let frames through at paces, in Python and in C.

    The first bytes are those of `frames`; then come one each for the pace of messages and for
    that of bytes, then how many steps of time there are, and these.
    """
    if len(data) < CONTROL_BYTES + 3:
        return
    messages, size, count = data[CONTROL_BYTES : CONTROL_BYTES + 3]
    times, stream = data[7 : 7 + count], data[7 + count :]
    case = case_of(data[:CONTROL_BYTES] + stream)
    limits = Limits(
        case.limits.whole_frames,
        case.limits.max_frame,
        case.limits.max_message,
        messages=pace(messages),
        bytes=pace(size),
        throttles=bool(data[2] & 0x80),
    )
    paced = Case(case.data, range(0, len(stream), 1 + data[3]), case.masked, case.bits, limits)
    check_paces(paced, [(step - 8) / 16 for step in times])


def pace(byte: int) -> Pace | None:
    """Return a pace; none for a byte that begins with four zero bits."""
    rates, bursts = (1 / 60, 1.0, 3.0, 250.0), (1.0, 2.5, 20.0, 300.5)
    return Pace(rates[byte & 3], bursts[byte >> 2 & 3]) if byte >> 4 else None


def check_paces(case: Case, times: list[float]) -> None:
    python = PacedScanner(case.masked, case.bits, case.limits)
    native = NativeScanner(case) if lib is not None else None
    now, passed, chunks = 0.0, 0, case.chunks
    for elapsed in [*times, *[0.1] * len(chunks)]:
        now += elapsed
        python.fill(now)
        chunk = b"" if python.waits or not chunks else chunks.pop(0)
        events = drained(python, chunk)
        passed += sum(len(e if isinstance(e, bytes) else getattr(e, "frame", b"")) for e in events)
        check_room(case.limits, python, passed, now, times)
        if native is not None:
            native.fill(now)
            assert drained(native, chunk) == events
            assert (native.waits, native.wait) == (python.waits, python.wait)
            assert native.violated is (python._is_deaf and not native.closed)
            assert native.state[1:] == (python.messages, python.binary_messages, python.payload)


def check_room(
    limits: Limits, scanner: PacedScanner, passed: int, now: float, times: list[float]
) -> None:
    """No more has passed than the paces allow in all that time, steps back not counted."""
    most = now + sum(-each for each in times if each < 0) + 1e-6
    for each, count in ((limits.bytes, passed), (limits.messages, scanner.messages)):
        assert each is None or count <= each.burst + each.per_second * most
