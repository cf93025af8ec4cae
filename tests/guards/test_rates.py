"""How often each client may come."""

from __future__ import annotations

import itertools
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.guards.rates import Buckets

RATES = st.sampled_from([1 / 60, 0.5, 1.0, 2.5, 10.0, 1000.0])
SIZES = st.sampled_from([1.0, 2.0, 2.5, 20.0])


def passed(buckets: Buckets, key: bytes, now: float, attempts: int) -> int:
    """Return how many of so many attempts at once get through."""
    return sum(buckets.take(key, now) == 0 for _ in range(attempts))


def test_so_many_may_come_at_once_and_then_so_many_a_second() -> None:
    buckets = Buckets(2.0, 5.0)
    assert passed(buckets, b"a", 100.0, 9) == 5
    assert passed(buckets, b"a", 101.0, 9) == 2
    assert passed(buckets, b"a", 101.4, 9) == 0
    assert passed(buckets, b"a", 101.5, 9) == 1
    assert passed(buckets, b"a", 1000.0, 9) == 5


def test_everybody_has_a_bucket() -> None:
    buckets = Buckets(1.0, 1.0)
    assert passed(buckets, b"a", 0.0, 2) == 1
    assert passed(buckets, b"b", 0.0, 2) == 1


def test_what_is_refused_takes_nothing() -> None:
    buckets = Buckets(1.0, 1.0)
    assert passed(buckets, b"a", 0.0, 1) == 1
    assert passed(buckets, b"a", 0.9, 1000) == 0
    assert passed(buckets, b"a", 1.0, 2) == 1


def test_it_says_when_there_is_one_again() -> None:
    buckets = Buckets(0.25, 2.0)
    assert [buckets.take(b"a", 0.0) for _ in range(3)] == [0.0, 0.0, 4.0]
    assert buckets.take(b"a", 1.0) == 3.0


@given(RATES, SIZES, st.lists(st.integers(0, 30), max_size=40), st.floats(0, 2e9))
def test_who_comes_back_when_it_was_told_gets_in(
    per_second: float, size: float, pauses: list[int], now: float
) -> None:
    buckets = Buckets(per_second, size)
    for pause in pauses:
        now += pause / 10
        if wait := buckets.take(b"a", now):
            now += ceil(wait)
            assert buckets.take(b"a", now) == 0.0


@given(
    RATES, SIZES, st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.floats(0, 3)), max_size=60)
)
def test_no_stretch_of_time_has_more_than_the_limit(
    per_second: float, size: float, attempts: list[tuple[bytes, float]]
) -> None:
    buckets = Buckets(per_second, size)
    now = 1_700_000_000.0
    times: dict[bytes, list[float]] = {b"a": [], b"b": []}
    for key, pause in attempts:
        now += pause
        if not buckets.take(key, now):
            times[key].append(now)
    for taken in times.values():
        for first, last in itertools.combinations(range(len(taken)), 2):
            stretch = taken[last] - taken[first]
            assert last - first + 1 <= size + stretch * per_second + 1e-3


@given(RATES, SIZES, st.lists(st.floats(0, 3), max_size=60))
def test_nobody_is_refused_who_has_not_used_it_up(
    per_second: float, size: float, pauses: list[float]
) -> None:
    buckets = Buckets(per_second, size)
    now, tokens = 0.0, size
    for pause in pauses:
        now += pause
        tokens = min(tokens + pause * per_second, size)
        if not buckets.take(b"a", now):
            tokens -= 1
        else:
            assert tokens < 1


# memory


def test_who_has_a_full_bucket_is_forgotten() -> None:
    buckets = Buckets(1.0, 1.0)
    for number in range(1000):
        buckets.take(b"%d" % number, 0.0)
    assert len(buckets) == 1000
    for number in range(500):
        buckets.take(b"x", 10.0 + number)
    assert len(buckets) <= 2


def test_a_crowd_of_addresses_takes_so_much_memory_and_no_more() -> None:
    buckets = Buckets(1 / 3600, 20.0, most=100)
    for number in range(1000):
        assert buckets.take(b"%d" % number, 0.0) == 0.0
        assert len(buckets) <= 100


def test_who_has_not_come_for_longest_is_forgotten_first() -> None:
    buckets = Buckets(1 / 3600, 1.0, most=3)
    for key in (b"a", b"b", b"c"):
        assert buckets.take(key, 0.0) == 0.0
    assert buckets.take(b"a", 1.0) > 0.0  # it was refused, and is the last that came now
    assert buckets.take(b"d", 2.0) == 0.0
    assert buckets.take(b"a", 3.0) > 0.0
    assert buckets.take(b"c", 3.0) > 0.0
    assert buckets.take(b"b", 3.0) == 0.0


def test_a_turn_forgets_two_at_most() -> None:
    """So that no turn has to pay for all the others."""
    buckets = Buckets(1.0, 1.0)
    for number in range(1000):
        buckets.take(b"%d" % number, 0.0)
    buckets.take(b"x", 10.0)
    assert len(buckets) == 999


@pytest.mark.parametrize("per_second", [1e9, 1e-9])
def test_extreme_rates_do_no_harm(per_second: float) -> None:
    buckets = Buckets(per_second, max(per_second, 1.0))
    for number in range(100):
        assert buckets.take(b"%d" % number, 1e9 + number) == 0.0


# the clock, and other limits


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    buckets = Buckets(1.0, 2.0)
    assert passed(buckets, b"a", 1_000_000.0, 3) == 2
    assert passed(buckets, b"a", 10.0, 3) == 0
    assert passed(buckets, b"a", 11.0, 3) == 1


def test_a_clock_that_is_set_forward_fills_the_buckets() -> None:
    buckets = Buckets(1.0, 2.0)
    assert passed(buckets, b"a", 10.0, 3) == 2
    assert passed(buckets, b"a", 1_000_000.0, 3) == 2


def test_what_was_taken_is_gone_under_other_limits_too() -> None:
    buckets = Buckets(100.0, 100.0)
    assert passed(buckets, b"a", 0.0, 4) == 4
    buckets.change(1.0, 5.0)
    assert passed(buckets, b"a", 0.0, 9) == 1
    assert passed(buckets, b"b", 0.0, 9) == 5
    assert passed(buckets, b"a", 1.0, 9) == 1


def test_nobody_owes_more_than_a_whole_bucket() -> None:
    buckets = Buckets(1 / 3600, 20.0)
    assert passed(buckets, b"a", 0.0, 20) == 20
    buckets.change(1.0, 2.0)
    assert passed(buckets, b"a", 0.0, 9) == 0
    assert passed(buckets, b"a", 2.0, 9) == 2
