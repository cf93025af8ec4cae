"""What the operator, handshakes and health checks say about an upstream, together."""

from __future__ import annotations

from itertools import pairwise
from math import floor

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from wsrelay.balancers.first import First
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import HISTORY, TRIALS, Upstream

LINE = UpstreamConfig("a", "ws://a:9000")
POLICY = PoolConfig("chat", max_fails=2, fail_timeout=10.0)


class Watched:
    """An upstream, its clock, and what was told of its health."""

    def __init__(self, **options) -> None:
        self.clock = Clock()
        self.upstream = Upstream(LINE, evolve(POLICY, **options), self.clock.seconds)
        self.told: list[tuple[float, str, str]] = []
        self.upstream.on_health = self.hear

    def hear(self, upstream: Upstream, change) -> None:
        assert upstream is self.upstream
        self.told.append((change.at, change.to, change.why))

    def fail(self, times: int = 2) -> None:
        for _ in range(times):
            self.upstream.failed("refused")


# Checks and handshakes


def test_a_check_alone_takes_it_down_and_up_again() -> None:
    each = Watched()
    each.upstream.check_found("up", "well")
    each.clock.advance(3)
    each.upstream.check_found("down", "no answer")
    assert (each.upstream.health, each.upstream.looks_down) == ("down", True)
    assert each.upstream.since == 3.0
    each.clock.advance(1000)
    assert each.upstream.health == "down"
    each.upstream.check_found("up", "well again")
    assert each.upstream.health == "up"
    assert each.told == [
        (0.0, "up", "well"),
        (3.0, "down", "no answer"),
        (1003.0, "up", "well again"),
    ]
    assert each.upstream.since == 1003.0
    assert [(change.at, change.to, change.why) for change in each.upstream.history] == each.told


def test_handshakes_that_fail_count_although_checks_are_good() -> None:
    each = Watched()
    each.upstream.check_found("up", "well")
    each.fail()
    assert each.upstream.health == "down"
    each.clock.advance(10)
    assert each.upstream.health == "up"
    assert [to for _, to, _ in each.told] == ["up", "down"]


def test_a_handshake_that_succeeds_does_not_lift_what_checks_say() -> None:
    each = Watched()
    each.upstream.check_found("down", "no answer")
    each.upstream.succeeded()
    assert each.upstream.health == "down"
    assert [to for _, to, _ in each.told] == ["down"]
    each.upstream.check_found("up", "well")
    assert each.upstream.health == "up"


def test_down_twice_over_is_told_once_and_up_when_both_say_so() -> None:
    each = Watched()
    each.fail()
    each.upstream.check_found("down", "no answer")
    each.clock.advance(1)
    each.upstream.succeeded()
    assert each.upstream.health == "down"
    each.upstream.check_found("up", "well")
    assert [(to, why) for _, to, why in each.told] == [("down", "refused"), ("up", "well")]


def test_a_good_check_does_not_lift_what_handshakes_showed() -> None:
    each = Watched()
    each.fail()
    each.upstream.check_found("up", "well")
    assert each.upstream.health == "down"
    assert [to for _, to, _ in each.told] == ["down"]
    each.clock.advance(10)
    assert each.upstream.health == "up"


def test_a_check_that_does_all_that_a_client_does_outdates_handshakes_that_failed() -> None:
    each = Watched()
    each.fail()
    each.upstream.check_found("up", "well", proves=True)
    assert each.upstream.health == "up"
    assert [to for _, to, _ in each.told] == ["down", "up"]
    # It takes max_fails again.
    each.fail(1)
    assert each.upstream.health == "up"
    each.fail(1)
    assert each.upstream.health == "down"


def test_a_check_that_proves_nothing_good_lifts_nothing() -> None:
    each = Watched()
    each.fail()
    each.upstream.check_found("down", "no answer", proves=True)
    each.upstream.check_found("up", "well")
    assert each.upstream.health == "down"


def test_when_checks_are_switched_off_handshakes_decide_alone() -> None:
    each = Watched()
    each.upstream.check_found("down", "no answer")
    each.upstream.check_found("unknown", "")
    assert each.upstream.health == "unknown"
    assert [to for _, to, _ in each.told] == ["down"]
    each.upstream.succeeded()
    assert [to for _, to, _ in each.told] == ["down", "up"]


def test_what_handshakes_showed_is_counted_and_the_last_trouble_kept() -> None:
    each = Watched(max_fails=0)
    each.upstream.succeeded()
    each.upstream.failed("one")
    each.upstream.failed("two")
    upstream = each.upstream
    assert (upstream.handshakes, upstream.failures, upstream.last_problem) == (1, 2, "two")
    assert upstream.health == "up"


def test_plain_requests_count_apart_from_handshakes_and_show_as_much() -> None:
    each = Watched(max_fails=1)
    upstream = each.upstream
    each.fail(1)
    upstream.succeeded(plain=True)
    assert (upstream.handshakes, upstream.answers, upstream.health) == (0, 1, "up")
    assert [(to, why) for _, to, why in each.told] == [
        ("down", "refused"),
        ("up", "a request succeeded"),
    ]


def test_a_plain_request_is_one_until_its_place_is_given_back() -> None:
    upstream = Watched().upstream
    session, plain = upstream.take(), upstream.take(plain=True)
    assert (upstream.active, upstream.openings, upstream.requests) == (2, 2, 1)
    session.opened()
    assert (upstream.sessions, upstream.openings, upstream.requests) == (1, 1, 1)
    plain.release()
    plain.release()
    assert (upstream.active, upstream.openings, upstream.requests) == (1, 0, 0)
    session.release()
    assert (upstream.active, upstream.openings, upstream.requests) == (0, 0, 0)


def test_only_so_many_changes_are_remembered() -> None:
    each = Watched()
    for number in range(HISTORY):
        each.upstream.check_found("down", f"{number}")
        each.upstream.check_found("up", f"{number}")
    assert len(each.upstream.history) == HISTORY
    assert each.upstream.history[-1].why == f"{HISTORY - 1}"


class HealthInUse(RuleBasedStateMachine):
    """Checks, handshakes and time, in any order, against the few words that define health."""

    def __init__(self) -> None:
        super().__init__()
        self.each = Watched(max_fails=1)
        self.upstream = self.each.upstream
        self.checked = "unknown"
        self.failed_until = -1.0
        self.seen_up = False

    @rule()
    def succeed(self) -> None:
        self.upstream.succeeded()
        self.failed_until, self.seen_up = -1.0, True

    @rule()
    def fail(self) -> None:
        self.upstream.failed("refused")
        self.failed_until, self.seen_up = self.each.clock.seconds() + 10, False

    @rule(found=st.sampled_from(["up", "down"]), proves=st.booleans())
    def check(self, found, proves: bool) -> None:
        self.upstream.check_found(found, "checked", proves=proves)
        self.checked = found
        if found == "down":
            self.seen_up = False
        elif proves:
            self.failed_until = -1.0

    @precondition(lambda self: self.checked != "unknown")
    @rule()
    def switch_checks_off(self) -> None:
        self.upstream.check_found("unknown", "")
        self.checked = "unknown"

    @rule(seconds=st.sampled_from([1, 9, 10, 11]))
    def wait(self, seconds: int) -> None:
        self.each.clock.advance(seconds)

    @invariant()
    def it_is_what_both_say(self) -> None:
        is_down = self.checked == "down" or self.each.clock.seconds() < self.failed_until
        is_up = self.seen_up or self.checked == "up"
        expected = "down" if is_down else "up" if is_up else "unknown"
        assert self.upstream.health == expected

    @invariant()
    def changes_alternate_and_up_is_never_told_while_it_looks_down(self) -> None:
        told = [to for _, to, _ in self.each.told]
        assert all(one != other for one, other in pairwise(told))
        if self.upstream.health == "down":
            assert told[-1] == "down"


TestHealthInUse = HealthInUse.TestCase
TestHealthInUse.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


# Trials


def test_few_handshakes_at_a_time_try_one_that_has_not_answered() -> None:
    upstream = Watched(max_fails=1).upstream
    pool_like = [upstream.take() for _ in range(TRIALS - 1)]
    assert upstream.may_be_tried
    pool_like.append(upstream.take())
    assert not upstream.may_be_tried
    pool_like[0].opened()
    assert upstream.may_be_tried
    assert (upstream.active, upstream.openings, upstream.sessions) == (TRIALS, TRIALS - 1, 1)


def test_once_proven_any_number_may_until_a_failure() -> None:
    upstream = Watched(max_fails=1).upstream
    for _ in range(TRIALS):
        upstream.take()
    upstream.succeeded()
    assert upstream.may_be_tried
    upstream.failed("refused")
    assert not upstream.may_be_tried
    upstream.succeeded()
    upstream.check_found("down", "no answer")
    assert not upstream.may_be_tried


def test_a_pool_that_looks_down_offers_one_to_few_at_a_time() -> None:
    pool, _ = pool_of(LINE, evolve(LINE, name="b", url="ws://b:9000"), max_fails=1)
    for each in pool.upstreams:
        each.failed("refused")
    taken = []
    while offered := pool.offer():
        taken.append(offered[0].take())
        assert len(taken) <= 2 * TRIALS
    assert len(taken) == 2 * TRIALS
    taken[0].release()
    assert pool.offer() == (pool.upstreams[0],)


def test_one_that_looks_up_is_offered_to_any_number() -> None:
    pool, _ = pool_of(LINE)
    for _ in range(10 * TRIALS):
        pool.offer()[0].take()


def test_a_lease_that_is_released_during_the_opening_is_no_opening_any_more() -> None:
    upstream = Watched().upstream
    freed: list[int] = []
    upstream.on_free = lambda: freed.append(upstream.active)
    lease = upstream.take()
    lease.release()
    lease.release()
    lease.opened()
    assert (upstream.active, upstream.openings) == (0, 0)
    assert freed == [0]


# Slow start


def pool_of(*lines: UpstreamConfig, **options) -> tuple[Pool, Clock]:
    clock = Clock()
    return Pool(evolve(POLICY, upstreams=lines, **options), First(), clock.seconds), clock


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=200),
    st.sampled_from([1.0, 8.0, 64.0]),
)
def test_its_turns_are_its_growing_share_to_within_one(
    pauses: list[int], slow_start: float
) -> None:
    """At each of any number of moments: the sum of its shares so far, and at most one less."""
    each = Watched(slow_start=slow_start)
    each.upstream.begin_slowly()
    share = taken = 0.0
    for pause in pauses:
        each.clock.advance(pause * slow_start / 4096)  # of a power of two: exact
        now = each.clock.seconds()
        if now >= slow_start:
            assert each.upstream.takes_turn()
            continue
        share += max(now / slow_start, 0.05)
        taken += each.upstream.takes_turn()
        assert share - 1 - 1e-9 < taken <= share + 1e-9
        assert taken in (floor(share - 1e-9), floor(share + 1e-9))


def test_at_half_of_its_time_it_takes_every_second_turn() -> None:
    each = Watched(slow_start=10.0)
    each.upstream.begin_slowly()
    each.clock.advance(5)
    assert [each.upstream.takes_turn() for _ in range(6)] == [False, True] * 3
    each.clock.advance(5)
    assert all(each.upstream.takes_turn() for _ in range(6))


def test_at_the_beginning_it_takes_a_few() -> None:
    each = Watched(slow_start=10.0)
    each.upstream.begin_slowly()
    assert sum(each.upstream.takes_turn() for _ in range(1000)) in (49, 50)


def test_at_the_start_of_the_relay_nobody_begins_slowly() -> None:
    pool, _ = pool_of(LINE, slow_start=10.0)
    pool.upstreams[0].succeeded()
    assert all(pool.upstreams[0].takes_turn() for _ in range(20))


@pytest.mark.parametrize("way", ["handshake", "check", "proof"])
def test_one_that_was_down_begins_slowly_and_each_time_anew(way: str) -> None:
    each = Watched(slow_start=10.0)
    for _ in range(2):
        if way == "check":
            each.upstream.check_found("down", "no answer")
        else:
            each.fail()
        if way == "handshake":
            each.upstream.succeeded()
        else:
            each.upstream.check_found("up", "well", proves=way == "proof")
        each.upstream.succeeded()
        assert sum(each.upstream.takes_turn() for _ in range(19)) == 0
        each.clock.advance(9)
        assert sum(each.upstream.takes_turn() for _ in range(100)) in (90, 91)


def test_without_slow_start_it_takes_every_turn_at_once() -> None:
    each = Watched(slow_start=None)
    each.fail()
    each.upstream.succeeded()
    assert all(each.upstream.takes_turn() for _ in range(20))


def test_one_in_slow_start_is_left_out_of_offers_and_takes_all_when_it_is_alone() -> None:
    pool, clock = pool_of(LINE, evolve(LINE, name="b", url="ws://b:9000"), slow_start=10.0)
    a, b = pool.upstreams
    a.begin_slowly()
    clock.advance(2.5)
    offers = [pool.offer() for _ in range(8)]
    assert [a in offer for offer in offers] == [False, False, False, True] * 2
    assert all(b in offer for offer in offers)
    b.state = "drain"
    assert all(pool.offer() == (a,) for _ in range(8))
    # Asking who may take a session at all costs no turn.
    b.state = "ready"
    assert all(a in pool.candidates() for _ in range(8))


def test_an_upstream_with_all_in_slow_start_refuses_nobody() -> None:
    pool, _ = pool_of(LINE, evolve(LINE, name="b", url="ws://b:9000"), slow_start=10.0)
    for each in pool.upstreams:
        each.begin_slowly()
    assert all(pool.offer() for _ in range(50))


# A line that changes


def test_a_weight_that_was_set_stays_until_the_line_says_another() -> None:
    upstream = Watched().upstream
    upstream.weight = 7
    for line in (LINE, evolve(LINE, max_connections=3), evolve(LINE, backup=True)):
        upstream.update(line, POLICY, "file")
        assert upstream.weight == 7
        assert (upstream.max_connections, upstream.backup) == (line.max_connections, line.backup)
        assert upstream.config is line
    upstream.update(evolve(LINE, weight=2), POLICY, "discovery")
    assert (upstream.weight, upstream.source) == (2, "discovery")
    upstream.update(LINE, POLICY, "file")
    assert upstream.weight == 1


def test_new_options_count_and_failures_so_far_are_not_forgotten() -> None:
    each = Watched(max_fails=3)
    each.fail(2)
    each.upstream.update(LINE, evolve(POLICY, max_fails=2, fail_timeout=50.0), "file")
    each.clock.advance(20)
    each.fail(1)
    assert each.upstream.health == "down"
    each.clock.advance(49)
    assert each.upstream.health == "down"
    each.clock.advance(1)
    assert each.upstream.health == "unknown"


def test_sessions_and_the_operators_word_survive_a_new_line() -> None:
    upstream = Watched().upstream
    upstream.take()
    upstream.state = "drain"
    upstream.update(evolve(LINE, weight=3), POLICY, "file")
    assert (upstream.active, upstream.state) == (1, "drain")
