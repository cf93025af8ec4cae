"""Timers keep their time, whatever the clock is set to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import twisted.internet
from attrs import define
from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock

from wsrelay.clock import follow_monotonic
from wsrelay.tap import Options, makeService

EPOCH = 1_800_000_000.0


@define
class Clocks:
    """A clock that can be set, and one that cannot."""

    wall: float = EPOCH
    monotonic: float = 1_000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


class Reactor(ReactorBase):
    """Timers, and nothing else; *clocks* say what time it is."""

    def __init__(self, clocks: Clocks) -> None:
        super().__init__()
        self.seconds: Callable[[], float] = lambda: clocks.wall  # type: ignore[misc]

    def installWaker(self) -> None:  # noqa: N802  Twisted's
        """Nothing wakes it."""


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    given = Clocks()
    monkeypatch.setattr(time, "monotonic", lambda: given.monotonic)
    return given


@pytest.fixture
def reactor(clocks: Clocks) -> Any:
    return Reactor(clocks)


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_clock_that_is_set_neither_fires_a_timer_nor_holds_it_up(
    reactor: Any, clocks: Clocks, jump: float
) -> None:
    fired: list[str] = []
    follow_monotonic(reactor)
    reactor.callLater(10.0, fired.append, "timer")
    clocks.wall += jump
    assert reactor.timeout() == 10.0
    clocks.pass_by(9.9)
    reactor.runUntilCurrent()
    assert fired == []
    clocks.pass_by(0.2)
    reactor.runUntilCurrent()
    assert fired == ["timer"]


def test_timers_from_before_keep_the_time_that_is_left_to_them(
    reactor: Any, clocks: Clocks
) -> None:
    fired: list[int] = []
    calls = {each: reactor.callLater(each, fired.append, each) for each in (30, 10, 20, 5)}
    reactor.timeout()  # puts them in order
    calls[5].cancel()
    calls[40] = reactor.callLater(40, fired.append, 40)
    calls[20].delay(2)
    follow_monotonic(reactor)
    clocks.wall -= 86_400
    calls[10].reset(12)
    for expected in ([], [10], [10, 20], [10, 20, 30], [10, 20, 30, 40]):
        assert fired == expected
        clocks.pass_by(13)
        reactor.runUntilCurrent()
    assert reactor.getDelayedCalls() == []


def test_doing_it_again_changes_nothing(reactor: Any, clocks: Clocks) -> None:
    follow_monotonic(reactor)
    call = reactor.callLater(10.0, print)
    follow_monotonic(reactor)
    assert call.getTime() == clocks.monotonic + 10.0
    call.cancel()


def test_a_clock_of_a_test_stays_what_it_is() -> None:
    clock = Clock()
    follow_monotonic(clock)
    assert clock.seconds() == 0.0


def test_twistd_s_relay_follows_the_monotonic_clock(
    reactor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twisted.internet, "reactor", reactor, raising=False)
    options = Options()
    options.parseOptions(["--listen", "tcp:0", "--upstream", "ws://127.0.0.1:1"])
    service: Any = makeService(options)
    assert reactor.seconds is time.monotonic
    assert service.relay.reactor is reactor
