"""Clients that come back after a relay was lost: none is forgotten, and nothing is done twice."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from bench.storm import (
    FULL_JITTER,
    IMMEDIATE,
    SOCKET_IO,
    SPREAD_OUT,
    Backoff,
    Loss,
    Site,
    simulate,
)

BACKOFFS = st.sampled_from([IMMEDIATE, SOCKET_IO, FULL_JITTER, SPREAD_OUT])
LOSSES = st.builds(
    Loss,
    st.sampled_from([0.0, 1.0, 30.0]),
    st.none() | st.sampled_from([2.0, 10.0, 500.0]),
)
SITES = st.builds(
    Site,
    relays=st.integers(2, 4),
    sessions=st.integers(1, 120),
    capacity=st.sampled_from([2.0, 20.0, 1000.0]),
    backlog=st.integers(1, 40),
    patience=st.sampled_from([1.0, 10.0]),
    way=st.sampled_from([0.0, 0.2]),
    blind=st.sampled_from([0.0, 3.0]),
    silent=st.booleans(),
)
SMALL = Site(relays=3, sessions=100, capacity=1000.0, way=0.0)
SEEDS = st.integers(0, 5)


@given(SITES, LOSSES, BACKOFFS, SEEDS, st.sampled_from([5.0, 60.0]))
def test_nobody_is_lost_and_every_attempt_comes_to_one_end(
    site: Site, loss: Loss, backoff: Backoff, seed: int, until: float
) -> None:
    storm = simulate(site, loss, backoff, seed=seed, until=until)
    assert storm.total("closed") == site.sessions
    assert len(storm.away) + storm.waiting == site.sessions
    assert storm.total("served") == len(storm.away)
    ends = [storm.total(kind) for kind in ("served", "dropped", "refused", "expired")]
    assert storm.total("offered") == sum(ends)
    assert (storm.back_at is None) == (storm.waiting > 0)
    assert all(away > 0 for away in storm.away)


@given(SITES, LOSSES, BACKOFFS, SEEDS)
def test_relays_do_no_more_than_they_can(
    site: Site, loss: Loss, backoff: Backoff, seed: int
) -> None:
    storm = simulate(site, loss, backoff, seed=seed, until=60.0)
    done = zip(storm.counts["served"], storm.counts["expired"], strict=True)
    assert max(map(sum, done)) <= site.left * storm.step + (site.relays - 1)


@given(SITES, LOSSES, BACKOFFS, SEEDS)
def test_the_same_seed_is_the_same_storm(
    site: Site, loss: Loss, backoff: Backoff, seed: int
) -> None:
    assert simulate(site, loss, backoff, seed=seed, until=60.0) == simulate(
        site, loss, backoff, seed=seed, until=60.0
    )


def test_another_seed_is_another_storm() -> None:
    assert simulate(SMALL, Loss(), FULL_JITTER, seed=1) != simulate(
        SMALL, Loss(), FULL_JITTER, seed=2
    )


@given(SITES, BACKOFFS, SEEDS)
def test_with_room_for_all_everybody_is_back(site: Site, backoff: Backoff, seed: int) -> None:
    roomy = evolve(site, capacity=1000.0, backlog=1000)
    storm = simulate(roomy, Loss(), backoff, seed=seed)
    assert storm.waiting == 0
    assert storm.total("dropped") == storm.total("expired") == 0


@given(st.integers(1, 500), st.sampled_from([1.0, 7.0, 100.0]), st.sampled_from([1.0, 30.0]))
def test_closes_keep_to_the_rate_until_time_is_over(
    count: int, rate: float, timeout: float
) -> None:
    times = [Loss(timeout, rate).at(each, count) for each in range(count)]
    assert times == sorted(times)
    assert times[-1] <= timeout
    for second in range(int(timeout)):
        assert sum(second <= each < second + 1 for each in times if each < timeout) <= rate
    late = sum(each == timeout for each in times)
    assert (late > 0) == (count > rate * timeout)


def test_without_a_rate_closes_are_spread_evenly_or_come_all_at_once() -> None:
    assert [Loss(10.0).at(each, 5) for each in range(5)] == [0, 2, 4, 6, 8]
    assert {Loss().at(each, 5) for each in range(5)} == {0}


@pytest.mark.parametrize(
    ("backoff", "failures", "least", "most"),
    [
        (IMMEDIATE, 0, 0.05, 0.05),
        (IMMEDIATE, 9, 0.05, 0.05),
        (SOCKET_IO, 0, 0.5, 1.5),
        (SOCKET_IO, 2, 2.0, 5.0),
        (SOCKET_IO, 3, 4.0, 5.0),
        (SOCKET_IO, 10_000, 5.0, 5.0),
        (FULL_JITTER, 0, 0.0, 1.0),
        (FULL_JITTER, 3, 0.0, 8.0),
        (FULL_JITTER, 9, 0.0, 30.0),
        (SPREAD_OUT, 0, 0.0, 30.0),
    ],
)
def test_a_backoff_waits_as_it_says(
    backoff: Backoff, failures: int, least: float, most: float
) -> None:
    assert backoff.wait(failures, 0.0) == pytest.approx(least)
    assert backoff.wait(failures, 1.0) == pytest.approx(most)


def test_full_jitter_is_over_all_of_a_wait_that_has_come_to_its_end() -> None:
    assert FULL_JITTER.wait(9, 0.5) == 15.0


def test_one_relay_serves_one_client_after_the_other() -> None:
    site = Site(relays=2, sessions=30, capacity=10.0, backlog=100, way=0.0)
    storm = simulate(site, Loss(), IMMEDIATE)
    assert storm.counts["offered"] == [30, 0, 0, 0]
    assert storm.counts["served"] == [9, 10, 10, 1]
    assert storm.back_at == pytest.approx(3.05)
    assert storm.away[0] == pytest.approx(0.15)
    assert storm.peak == 3.0
    assert storm.busy == 3.0


def test_who_finds_the_queue_full_is_tried_again_by_its_kernel_until_it_gives_up() -> None:
    site = Site(relays=2, sessions=3, capacity=0.1, backlog=1, patience=4.0, way=0.0)
    storm = simulate(site, Loss(), IMMEDIATE, until=8.0)
    # Each takes ten seconds.  One is taken at once; the others come again after one second and
    # after two more, but not after four more: after four seconds all begin anew.
    assert storm.counts["offered"][:8] == [3, 2, 0, 2, 3, 3, 0, 3]
    assert storm.total("dropped") == 15
    assert storm.total("expired") == 1
    assert storm.waiting == 3


def test_what_the_front_does_not_know_costs_attempts() -> None:
    blind = simulate(evolve(SMALL, blind=2.0), Loss(), IMMEDIATE)
    assert blind.total("refused") > 0
    assert simulate(SMALL, Loss(), IMMEDIATE).total("refused") == 0
    assert blind.waiting == 0


def test_a_lost_relay_that_is_silent_costs_a_clients_patience() -> None:
    site = evolve(SMALL, blind=2.0, silent=True)
    storm = simulate(site, Loss(), IMMEDIATE)
    assert 0 < storm.total("refused") < 100
    assert storm.total("served") == 100
    assert storm.away[0] < 1
    assert storm.away[-1] == pytest.approx(10.1, abs=0.05)


def test_a_drain_asks_less_of_the_others_than_a_crash() -> None:
    site = Site(relays=3, sessions=4000, capacity=200.0)
    crash = simulate(site, Loss(), SOCKET_IO)
    drain = simulate(site, Loss(timeout=40.0, rate=100.0), SOCKET_IO)
    assert crash.peak > 1
    assert crash.total("dropped") > 0
    assert drain.peak < 0.5
    assert drain.busy == drain.total("dropped") == 0
    assert crash.busy >= 10
    assert drain.away[-1] < 2 < crash.away[-1]


def test_a_rate_that_its_time_is_too_short_for_ends_in_a_crash() -> None:
    site = Site(relays=3, sessions=4000, capacity=200.0)
    storm = simulate(site, Loss(timeout=10.0, rate=100.0), SOCKET_IO)
    assert storm.counts["closed"][9] == 100
    assert storm.counts["closed"][10] == 3000
    assert storm.peak > 1


def test_a_relay_that_is_alone_cannot_be_lost() -> None:
    with pytest.raises(ValueError, match="Two relays are needed"):
        Site(relays=1, sessions=10, capacity=1.0)
