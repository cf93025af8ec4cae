"""Paces: what passes in which time, whatever comes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.samples import TEXT, Case, honest_cases, paced_cases, paces, up
from wsrelay.wire.faults import Limits, Violation
from wsrelay.wire.frames import PING, Event, Scanner
from wsrelay.wire.paced_frames import PacedScanner, scanner_of
from wsrelay.wire.paces import Bucket, Pace

HOUR = 3600.0


@pytest.mark.parametrize(
    ("per_second", "words"),
    [
        (10.0, "more than 10 messages a second"),
        (1.0, "more than 1 message a second"),
        (600 / 60, "more than 10 messages a second"),
        (90 / 60, "more than 90 messages a minute"),
        (1 / 60, "more than 1 message a minute"),
        (65536.0, "more than 65536 messages a second"),
        (0.0001, "more than 0.0001 messages a second"),
    ],
)
def test_a_pace_is_said_in_whole_numbers(per_second: float, words: str) -> None:
    assert Pace(per_second, 1.0).say("message") == words


@given(paces(1.0, 2.5, 9.0, 400.0), st.lists(st.tuples(st.floats(-2, 100), st.integers(0, 50))))
def test_no_more_is_taken_than_a_burst_and_what_the_time_gives(
    pace: Pace, steps: list[tuple[float, int]]
) -> None:
    bucket = Bucket(pace)
    now, given_time, taken = 0.0, 0.0, 0
    for elapsed, count in steps:
        now += elapsed
        given_time += max(elapsed, 0.0)
        bucket.fill(now)
        taken += bucket.take_up_to(count // 2) + sum(bucket.take() for _ in range(count // 2))
        assert taken <= pace.burst + pace.per_second * given_time + 1e-6


@given(paces(1.0, 2.5, 9.0, 400.0), st.integers(0, 400))
def test_after_the_wait_there_is_room_for_one_at_least(pace: Pace, taken: int) -> None:
    bucket = Bucket(pace)
    bucket.take_up_to(taken)
    bucket.fill(bucket.wait + 1e-9 / pace.per_second)
    assert bucket.take()


def test_a_bucket_is_never_fuller_than_a_burst() -> None:
    bucket = Bucket(Pace(10.0, 3.0))
    bucket.fill(HOUR)
    assert bucket.take_up_to(100) == 3


def passed(events: Sequence[Event]) -> bytes:
    """Return all data, and the control frames, in order."""
    frames = [
        each if isinstance(each, bytes) else getattr(each, "frame", b"")
        for each in events
        if not isinstance(each, Violation)
    ]
    return b"".join(frames)


def everything(case: Case) -> bytes:
    return passed(drained(Scanner(case.masked, case.bits, case.limits), case.data))


def drained(scanner: Scanner, data: bytes) -> list[Event]:
    events = scanner.feed(data)
    while scanner.backlog and not getattr(scanner, "waits", False):
        events += scanner.feed(b"")
    return events


@given(honest_cases(), paced_cases(), st.lists(st.floats(0, 5), min_size=1))
def test_whoever_has_to_wait_loses_nothing_and_gets_through_no_more_than_may(
    case: Case, paced: Case, times: list[float]
) -> None:
    limits = evolve(paced.limits, max_frame=None, max_message=None, throttles=True)
    scanner = scanner_of(case.masked, 0, limits)
    assert isinstance(scanner, PacedScanner)
    got, now, chunks = b"", 0.0, case.chunks
    for elapsed in [*times, *[1e6] * 500]:
        if not chunks and not scanner.waits:
            break
        now += elapsed
        scanner.fill(now)
        got += passed(drained(scanner, b"" if scanner.waits else chunks.pop(0)))
        if limits.messages is not None:
            most = limits.messages.burst + limits.messages.per_second * now
            assert scanner.messages <= most + 1e-6
        if limits.bytes is not None:
            assert len(got) <= limits.bytes.burst + limits.bytes.per_second * now + 1e-6
        assert everything(case).startswith(got)
    assert chunks or scanner.waits or got == everything(case)


@given(honest_cases(), paced_cases())
def test_what_is_within_the_pace_passes_before_the_violation(case: Case, paced: Case) -> None:
    limits = evolve(paced.limits, max_frame=None, max_message=None, throttles=False)
    scanner = scanner_of(case.masked, 0, limits)
    events = [event for chunk in case.chunks for event in drained(scanner, chunk)]
    got, whole = passed(events), everything(case)
    assert whole.startswith(got)
    if isinstance(events[-1] if events else None, Violation):
        assert events[-1].code == 1008
        assert len(got) < len(case.data)
    else:
        assert got == whole


def test_a_message_counts_once_however_many_frames_it_has() -> None:
    scanner = scanner_of(True, 0, Limits(messages=Pace(1.0, 2.0)))
    fragments = up(TEXT, final=False) + up(0, final=False) * 9 + up(0)
    assert drained(scanner, fragments * 2) == [fragments * 2]
    assert drained(scanner, up(TEXT)) == [Violation(1008, "more than 1 message a second")]


def test_a_message_counts_when_it_begins_and_control_frames_do_not() -> None:
    scanner = scanner_of(True, 0, Limits(whole_frames=0, messages=Pace(1.0, 1.0)))
    first = up(TEXT, bytes(100))
    assert drained(scanner, up(PING) * 5 + first[:50])[-1] == first[:50]
    violation = Violation(1008, "more than 1 message a second")
    header = up(TEXT, b"x")[:6]
    assert drained(scanner, first[50:] + header[:5])[0] == first[50:]
    assert drained(scanner, header[5:]) == [violation]


def test_bytes_count_in_control_frames_too() -> None:
    ping = up(PING, b"x" * 94)
    scanner = scanner_of(True, 0, Limits(bytes=Pace(10.0, 1000.0)))
    events = drained(scanner, ping * 11)
    assert len(events) == 11
    assert events[-1] == Violation(1008, "more than 10 bytes a second")


def test_without_a_pace_the_scanner_is_the_ordinary_one() -> None:
    assert type(scanner_of(True, 0, Limits(throttles=True))) is Scanner
