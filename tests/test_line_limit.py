"""Logs that a crowd cannot flood: ten lines of a cause in a second, and one that sums up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from wsrelay.line_limit import CAUSES, MOST, WHO, LineLimit, Missed
from wsrelay.log import EveryLine, Logger, limit_lines, limit_no_more

log = Logger()


class Log:
    """What a limit lets through, and what it sums up."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.passed: Counter[Any] = Counter()
        self.sums: list[tuple[Any, int, float]] = []
        self.who: list[Counter[str]] = []
        self.limit = LineLimit(self.clock, self._sum_up)

    def _sum_up(self, cause: Any, missed: Missed, seconds: float) -> None:
        self.sums.append((cause, missed.count, seconds))
        self.who.append(missed.who)

    def write(self, cause: Any, times: int = 1, who: str = "") -> None:
        for _ in range(times):
            if self.limit.missed(cause, who) is None:
                self.passed[cause] += 1


def test_ten_lines_of_a_cause_pass_and_a_second_later_the_others_are_summed_up() -> None:
    log = Log()
    log.write("slow", 4000)
    assert (log.passed, log.sums) == ({"slow": 10}, [])
    log.clock.advance(1.0)
    assert log.sums == [("slow", 3990, 1.0)]
    log.write("slow", 11)
    assert log.passed == {"slow": 20}


def test_one_cause_does_not_keep_another_out() -> None:
    log = Log()
    log.write("slow", 4000)
    log.write("full", 3)
    log.clock.advance(1.0)
    assert log.passed == {"slow": 10, "full": 3}
    assert log.sums == [("slow", 3990, 1.0)]


def test_nothing_waits_for_the_end_of_a_second_in_which_nothing_was_missed() -> None:
    log = Log()
    log.write("slow", MOST)
    assert log.clock.getDelayedCalls() == []
    log.write("slow")
    assert len(log.clock.getDelayedCalls()) == 1
    log.clock.advance(1.0)
    assert log.clock.getDelayedCalls() == []


def test_an_end_sums_up_at_once_and_leaves_no_timer() -> None:
    log = Log()
    log.write("slow", 15)
    log.clock.advance(0.25)
    log.limit.end()
    assert log.sums == [("slow", 5, 0.25)]
    assert log.clock.getDelayedCalls() == []
    log.limit.end()
    assert len(log.sums) == 1


def test_a_clock_that_is_set_back_does_not_silence_the_log() -> None:
    log = Log()
    log.clock.advance(1000.0)
    log.write("slow", 12)
    log.clock.rightNow = 5.0
    log.write("slow")
    assert log.passed == {"slow": 11}
    assert log.sums == [("slow", 2, 0.0)]


def test_causes_and_clients_without_number_take_no_memory_without_number() -> None:
    log = Log()
    for number in range(3 * CAUSES):
        log.write(number)
    assert len(log.passed) < CAUSES + MOST + 1
    for number in range(3 * WHO):
        log.write(0, 2, who=f"192.0.2.{number}")
    log.clock.advance(1.0)
    assert len(log.sums) == 2
    assert sum(count for _, count, _ in log.sums) + sum(log.passed.values()) == (
        3 * CAUSES + 6 * WHO
    )
    assert max(map(len, log.who)) == WHO


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40), st.floats(0, 1.5)), max_size=30)
)
def test_lines_and_sums_are_all_that_happened_and_never_more_than_eleven_a_second(
    flood: list[tuple[str, int, float]],
) -> None:
    log = Log()
    happened: Counter[str] = Counter()
    for cause, times, pause in flood:
        log.write(cause, times)
        happened[cause] += times
        log.clock.advance(pause)
    log.limit.end()
    for cause, _, _ in flood:
        sums = [count for name, count, _ in log.sums if name == cause]
        assert log.passed[cause] + sum(sums) == happened[cause]
        seconds = log.clock.seconds() + 1
        assert log.passed[cause] <= MOST * (int(seconds) + 1)
    assert log.clock.getDelayedCalls() == []


# the service's log


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    limit = limit_lines(clock)
    yield clock
    limit_no_more(limit)


def texts(events: list[Any]) -> list[str | None]:
    return [formatEvent(event) for event in events]


def test_a_line_of_the_service_that_is_said_too_often_is_summed_up(clock: Clock) -> None:
    with capturedLogs() as events:
        for number in range(4223):
            log.warn("session {id}: upstream {pool}/{upstream} {what}",
                id=number, pool="chat", upstream="a", what="refused")  # fmt: skip
        clock.advance(1.0)
    assert len(events) == MOST + 1
    assert texts(events)[-1] == (
        "… and 4213 more like it in 1.0 s: session 10: upstream chat/a refused"
    )
    assert events[-1]["log_level"] is LogLevel.warn
    assert events[-1]["log_namespace"] == __name__


def test_tracebacks_are_limited_as_well(clock: Clock) -> None:
    with capturedLogs() as events:
        for number in range(30):
            try:
                raise ValueError(number)
            except ValueError:
                log.failure("session {id}: it failed", id=number)
        clock.advance(1.0)
    assert [each["log_failure"].value.args for each in events[:-1]] == [(n,) for n in range(10)]
    assert texts(events)[-1] == "… and 20 more like it in 1.0 s: session 10: it failed"
    assert "log_failure" not in events[-1]


def test_what_a_configuration_names_is_not_lost_among_its_like(clock: Clock) -> None:
    with capturedLogs() as events:
        for number in range(200):
            log.warn("upstream {pool}/{upstream} is down", pool="chat", upstream=f"u{number}")
            log.error("reload refused: {line}", line=f"relay.ini:{number}: bad")
        clock.advance(1.0)
    assert len(events) == 400


def test_what_is_below_the_level_is_not_summed_up_either(clock: Clock) -> None:
    with capturedLogs() as events:
        for _ in range(100):
            log.debug("nothing")
        clock.advance(1.0)
    assert events == []


def test_without_a_service_nothing_is_limited() -> None:
    with capturedLogs() as events:
        for _ in range(100):
            log.info("something")
    assert len(events) == 100


def test_a_service_that_stops_says_what_is_left_and_limits_nothing_more() -> None:
    limit = limit_lines(Clock())
    with capturedLogs() as events:
        for _ in range(12):
            log.info("something")
        limit_no_more(limit)
        for _ in range(100):
            log.info("something")
    assert len(events) == 10 + 1 + 100


def test_a_service_that_stops_leaves_the_limit_of_another_that_has_begun() -> None:
    first = limit_lines(Clock())
    with capturedLogs() as events:
        for _ in range(12):
            log.info("something")
        second = limit_lines(Clock())
        limit_no_more(first)
        assert Logger.limit is second
        limit_no_more(second)
    assert texts(events)[10:] == ["… and 2 more like it in 0.0 s: something"]


def test_what_an_operator_orders_is_told_however_often(clock: Clock) -> None:
    limit_lines(clock)
    orders = EveryLine()
    with capturedLogs() as events:
        for _ in range(25):
            orders.info("admin: {client} did it", client="127.0.0.1:5")
    assert len(events) == 25
