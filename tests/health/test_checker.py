"""An upstream that is checked again and again, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from tests.health.support import URL, Scene, pool_with
from wsrelay.config.model import UpstreamConfig
from wsrelay.health.check import Result
from wsrelay.health.checker import Checker


class Watching(Scene):
    """A checker that was started; random numbers are those of a test, then all 0.5."""

    def __init__(self, line: str, *draws: float, url: str = URL, start: bool = True) -> None:
        super().__init__()
        self.reports: list[tuple[Result, str | None]] = []
        self.report: Callable[[Result, str | None], None] = lambda result, flipped: None
        numbers: Iterator[float] = chain(draws, repeat(0.5))
        upstream = UpstreamConfig("a", url)
        self.checker = Checker(
            self.reactor, upstream, pool_with(line), self._report, lambda: next(numbers)
        )
        if start:
            self.checker.start()

    def _report(self, result: Result, flipped: str | None) -> None:
        self.reports.append((result, flipped))
        self.report(result, flipped)

    @property
    def told(self) -> list[tuple[bool, str | None]]:
        return [(result.ok, flipped) for result, flipped in self.reports]

    def wait_for_dial(self) -> float:
        """Let time pass until the next check begins, and return when that is."""
        count = len(self.dials)
        (call,) = self.reactor.getDelayedCalls()
        self.reactor.advance(call.getTime() - self.reactor.seconds())
        assert len(self.dials) == count + 1
        return float(self.reactor.seconds())

    def answer(self, ok: bool) -> None:
        if ok:
            self.accept()
        else:
            self.refuse()


@pytest.mark.parametrize(
    ("line", "draw", "when"),
    [
        ("tcp", 0.0, 0.0),
        ("tcp", 0.5, 0.5),
        ("tcp interval=10s", 0.75, 0.75),
        ("tcp interval=500ms", 0.5, 0.25),
    ],
)
def test_the_first_check_comes_soon_but_not_at_once(line: str, draw: float, when: float) -> None:
    watching = Watching(line, draw)
    assert watching.dials == []
    assert watching.wait_for_dial() == when


def test_nothing_is_checked_before_the_start() -> None:
    watching = Watching("tcp", start=False)
    assert watching.reactor.getDelayedCalls() == []
    watching.checker.stop()


def test_an_interval_lasts_from_begin_to_begin() -> None:
    watching = Watching("tcp interval=4s timeout=2s", 0.0)
    assert watching.wait_for_dial() == 0.0
    watching.advance(1.5)
    watching.accept()
    assert watching.wait_for_dial() == 4.0
    watching.advance(2.0)  # too late
    assert watching.wait_for_dial() == 8.0
    watching.refuse()
    assert watching.wait_for_dial() == 12.0
    assert watching.told == [(True, "up"), (False, None), (False, None)]


@pytest.mark.parametrize(
    ("line", "draw", "interval"),
    [
        ("tcp interval=4s", 0.0, 3.6),
        ("tcp interval=4s", 1.0, 4.4),
        ("tcp interval=4s jitter=50%", 0.0, 2.0),
        ("tcp interval=4s jitter=50%", 0.75, 5.0),
        ("tcp interval=4s jitter=0%", 1.0, 4.0),
    ],
)
def test_intervals_differ_by_the_jitter(line: str, draw: float, interval: float) -> None:
    watching = Watching(line, 0.0, draw)
    watching.wait_for_dial()
    watching.accept()
    assert watching.wait_for_dial() == pytest.approx(interval)


def test_a_check_that_takes_longer_than_the_interval_delays_the_next() -> None:
    watching = Watching("tcp interval=1s timeout=2500ms", 0.0)
    watching.wait_for_dial()
    watching.advance(2.4)
    assert len(watching.dials) == 1
    watching.advance(0.1)
    assert watching.told == [(False, None)]
    watching.advance(0.0)
    assert [dial.over for dial in watching.dials] == [True, False]
    watching.accept()
    assert watching.wait_for_dial() == 3.5


def test_flips_are_reported_and_counts_are_kept() -> None:
    watching = Watching("tcp rise=2 fall=3")
    assert watching.checker.last is None
    for ok in (True, False, False, False, True, False, True, True):
        watching.wait_for_dial()
        watching.answer(ok)
    up, down = (True, "up"), (False, "down")
    good, bad = (True, None), (False, None)
    assert watching.told == [up, bad, bad, down, good, bad, good, up]
    assert watching.checker.last == Result(True, "connected", 0.0)
    assert watching.checker.verdict.health == "up"
    assert watching.checker.verdict.successes == 2
    watching.checker.stop()
    watching.assert_clean()


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_every_check_is_reported_once_and_reports_agree_with_the_verdict(oks: list[bool]) -> None:
    watching = Watching("tcp rise=2 fall=2")
    health = "unknown"
    for ok in oks:
        watching.wait_for_dial()
        watching.answer(ok)
        health = watching.reports[-1][1] or health
        assert watching.checker.verdict.health == health
    assert [result.ok for result, _ in watching.reports] == oks


def test_stopped_before_the_first_check_it_leaves_nothing() -> None:
    watching = Watching("tcp")
    watching.checker.stop()
    watching.assert_clean()
    watching.advance(10)
    assert watching.dials == []


@pytest.mark.parametrize("line", ["tcp", "http", "websocket"])
def test_stopped_during_a_check_it_reports_nothing(line: str) -> None:
    watching = Watching(line)
    watching.wait_for_dial()
    if line != "tcp":
        watching.accept()
    watching.checker.stop()
    watching.settle()
    watching.assert_clean()
    watching.checker.stop()
    watching.advance(10)
    assert watching.reports == []
    assert watching.checker.last is None


def test_stopped_between_two_checks_it_makes_no_other() -> None:
    watching = Watching("tcp")
    watching.wait_for_dial()
    watching.accept()
    watching.checker.stop()
    watching.assert_clean()
    watching.advance(10)
    assert len(watching.dials) == 1


def test_it_may_be_stopped_by_whom_it_reports_to() -> None:
    watching = Watching("tcp")
    watching.report = lambda result, flipped: watching.checker.stop()
    watching.wait_for_dial()
    watching.accept()
    watching.assert_clean()
    watching.advance(10)
    assert watching.told == [(True, "up")]


def test_a_report_that_fails_does_not_end_the_checks() -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("on purpose")

    watching = Watching("tcp")
    watching.report = fail
    with capturedLogs() as events:
        for _ in range(2):
            watching.wait_for_dial()
            watching.accept()
    assert watching.told == [(True, "up"), (True, None)]
    assert [str(event["log_failure"].value) for event in events] == ["on purpose"] * 2
    watching.checker.stop()
    watching.assert_clean()


def test_files_that_cannot_be_read_are_told_before_anything_is_checked() -> None:
    scene = Scene()
    pool = pool_with("tcp", tls_ca=Path("/nowhere/ca.pem"))
    with pytest.raises(ValueError, match=r"cannot read /nowhere/ca\.pem"):
        Checker(
            scene.reactor,
            UpstreamConfig("a", "wss://192.0.2.1:9000"),
            pool,
            lambda result, flipped: None,
        )
