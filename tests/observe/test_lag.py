"""The reactor's lag, on a reactor that comes late."""

from __future__ import annotations

from twisted.internet.task import Clock

from wsrelay.observe.lag import INTERVAL, WINDOW, Lag


def started() -> tuple[Clock, Lag]:
    clock = Clock()
    lag = Lag(clock)
    lag.start()
    return clock, lag


def test_a_reactor_in_time_has_no_lag() -> None:
    clock, lag = started()
    for _ in range(5 * WINDOW):
        clock.advance(INTERVAL)
        assert lag.seconds == 0


def test_a_late_look_is_the_lag_for_five_to_ten_seconds() -> None:
    for looks_before in range(2 * WINDOW):
        clock, lag = started()
        for _ in range(looks_before):
            clock.advance(INTERVAL)
        clock.advance(INTERVAL + 0.25)
        looks = 0
        while lag.seconds == 0.25:
            clock.advance(INTERVAL)
            looks += 1
        assert WINDOW < looks <= 2 * WINDOW
        assert lag.seconds == 0


def test_the_largest_of_several_late_looks_is_the_lag() -> None:
    for lags in ([0.25, 0.75, 0.5], [0.0, 0.75, 0.0], [0.75] + [0.25] * WINDOW):
        clock, lag = started()
        for each in lags:
            clock.advance(INTERVAL + each)
        assert lag.seconds == 0.75


def test_a_look_that_should_have_been_already_counts() -> None:
    clock, lag = started()
    clock.advance(INTERVAL)
    clock.rightNow += INTERVAL + 3  # the reactor is busy, and asked for the metrics
    assert lag.seconds == 3


def test_a_clock_that_is_set_back_is_no_lag() -> None:
    clock, lag = started()
    clock.rightNow -= 100
    assert lag.seconds == 0


def test_nothing_is_left_of_a_lag_that_was_stopped() -> None:
    clock, lag = started()
    clock.advance(INTERVAL + 1)
    lag.stop()
    lag.stop()
    assert clock.getDelayedCalls() == []
    clock.advance(100)
    assert lag.seconds == 1
    lag.start()
    assert lag.seconds == 0
    lag.start()
    assert len(clock.getDelayedCalls()) == 1
