from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from wsrelay.balancers.first import First
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.interfaces import IUpstream
from wsrelay.pools.pool import Lease, Pool, Upstream


def upstream_config(name: str, **options) -> UpstreamConfig:
    return UpstreamConfig(name, f"ws://{name}:9000", **options)


def pool_of(*upstreams: UpstreamConfig, max_fails: int = 1) -> tuple[Pool, Clock]:
    clock = Clock()
    config = PoolConfig("chat", upstreams, max_fails=max_fails, fail_timeout=10.0)
    return Pool(config, First(), clock.seconds), clock


def upstream_with(max_fails: int, fail_timeout: float = 10.0) -> tuple[Upstream, Clock]:
    clock = Clock()
    policy = PoolConfig("chat", max_fails=max_fails, fail_timeout=fail_timeout)
    return Upstream(upstream_config("a"), policy, clock.seconds), clock


def names(upstreams: tuple[Upstream, ...]) -> str:
    return "".join(each.name for each in upstreams)


def test_an_upstream_is_what_its_line_in_the_configuration_says() -> None:
    config = UpstreamConfig("a", "wss://a/base", weight=3, max_connections=7, backup=True)
    pool, _ = pool_of(config)
    upstream = pool.upstreams[0]
    assert verifyObject(IUpstream, upstream)
    assert (upstream.name, upstream.url, upstream.weight) == ("a", "wss://a/base", 3)
    assert (upstream.max_connections, upstream.backup) == (7, True)
    assert (upstream.active, upstream.state, upstream.health, upstream.rtt) == (
        0,
        "ready",
        "unknown",
        None,
    )
    assert upstream.config is config
    assert (pool.name, pool.config.upstreams) == ("chat", (config,))


def test_a_lease_counts_one_session_and_is_given_back_once() -> None:
    upstream, _ = upstream_with(max_fails=3)
    one, other = upstream.take(), upstream.take()
    assert upstream.active == 2
    one.release()
    one.release()
    assert upstream.active == 1
    other.release()
    assert upstream.active == 0


# Passive health


def test_max_fails_failures_within_fail_timeout_make_it_look_down_for_fail_timeout() -> None:
    upstream, clock = upstream_with(max_fails=3)
    upstream.failed("refused")
    clock.advance(5)
    upstream.failed("refused")
    assert upstream.health == "unknown"
    clock.advance(5)
    upstream.failed("refused")
    assert upstream.health == "down"
    clock.advance(9.999)
    assert upstream.health == "down"
    clock.advance(0.001)
    assert upstream.health == "unknown"


def test_failures_further_apart_do_not_add_up() -> None:
    upstream, clock = upstream_with(max_fails=3)
    for _ in range(20):
        upstream.failed("refused")
        clock.advance(5.001)
    assert upstream.health == "unknown"


def test_a_success_forgets_the_failures_before_it() -> None:
    upstream, _ = upstream_with(max_fails=2)
    for _ in range(5):
        upstream.failed("refused")
        upstream.succeeded()
    assert upstream.health == "up"
    upstream.failed("refused")
    assert upstream.health == "up"
    upstream.failed("refused")
    assert upstream.health == "down"


def test_a_success_lifts_it_at_once() -> None:
    upstream, _ = upstream_with(max_fails=1)
    upstream.failed("refused")
    assert upstream.health == "down"
    upstream.succeeded()
    assert upstream.health == "up"


def test_what_was_seen_before_it_looked_down_does_not_count_afterwards() -> None:
    upstream, clock = upstream_with(max_fails=1)
    upstream.succeeded()
    upstream.failed("refused")
    clock.advance(10)
    assert upstream.health == "unknown"


def test_after_its_time_one_failure_is_enough_to_look_down_again() -> None:
    upstream, clock = upstream_with(max_fails=3)
    for _ in range(3):
        upstream.failed("refused")
    for _ in range(3):
        clock.advance(60)
        assert upstream.health == "unknown"
        upstream.failed("refused")
        assert upstream.health == "down"


def test_after_a_success_it_takes_max_fails_failures_again() -> None:
    upstream, clock = upstream_with(max_fails=2)
    upstream.failed("refused")
    upstream.failed("refused")
    clock.advance(10)
    upstream.succeeded()
    upstream.failed("refused")
    assert upstream.health == "up"
    upstream.failed("refused")
    assert upstream.health == "down"


def test_max_fails_0_switches_passive_health_off() -> None:
    upstream, _ = upstream_with(max_fails=0)
    for _ in range(100):
        upstream.failed("refused")
    assert upstream.health == "unknown"


# Who may take a session


def test_all_that_may_take_a_session_are_named_in_configuration_order() -> None:
    pool, _ = pool_of(*map(upstream_config, "cab"))
    assert names(pool.candidates()) == "cab"


@pytest.mark.parametrize("state", ["drain", "down"])
def test_one_that_is_not_ready_takes_no_session(state: str) -> None:
    pool, _ = pool_of(*map(upstream_config, "ab"))
    pool.upstreams[0].state = state
    assert names(pool.candidates()) == "b"


def test_a_full_one_takes_none_until_a_session_ends() -> None:
    pool, _ = pool_of(upstream_config("a", max_connections=2), upstream_config("b"))
    a = pool.upstreams[0]
    a.take()
    assert names(pool.candidates()) == "ab"
    lease = a.take()
    assert names(pool.candidates()) == "b"
    lease.release()
    assert names(pool.candidates()) == "ab"


def test_one_that_looks_down_takes_none_until_its_time_is_over() -> None:
    pool, clock = pool_of(*map(upstream_config, "ab"))
    pool.upstreams[0].failed("refused")
    assert names(pool.candidates()) == "b"
    clock.advance(10)
    assert names(pool.candidates()) == "ab"


def test_those_tried_are_not_offered_again() -> None:
    pool, _ = pool_of(*map(upstream_config, "abc"))
    a, b, c = pool.upstreams
    assert names(pool.candidates([b])) == "ac"
    assert pool.candidates([a, b, c]) == ()


def test_backups_wait_while_a_primary_may_take_the_session() -> None:
    pool, _ = pool_of(upstream_config("x", backup=True), *map(upstream_config, "ab"))
    assert names(pool.candidates()) == "ab"
    assert names(pool.candidates([pool.upstreams[1]])) == "b"


@pytest.mark.parametrize("trouble", ["full", "down", "drained", "tried"])
def test_backups_stand_in_when_no_primary_may_take_the_session(trouble: str) -> None:
    pool, _ = pool_of(
        upstream_config("a", max_connections=1),
        upstream_config("x", backup=True),
        upstream_config("y", backup=True),
    )
    a = pool.upstreams[0]
    tried = []
    match trouble:
        case "full":
            a.take()
        case "down":
            a.failed("refused")
        case "drained":
            a.state = "drain"
        case "tried":
            tried = [a]
    assert names(pool.candidates(tried)) == "xy"


def test_when_all_that_are_ready_look_down_all_are_tried_anyway() -> None:
    pool, _ = pool_of(*map(upstream_config, "abc"), upstream_config("x", backup=True))
    for each in pool.upstreams:
        each.failed("refused")
    a, b, c, x = pool.upstreams
    c.state = "drain"
    assert names(pool.candidates()) == "ab"
    assert names(pool.candidates([a])) == "b"
    assert names(pool.candidates([a, b])) == "x"
    assert pool.candidates([a, b, x]) == ()


def test_full_ones_stay_out_even_when_all_look_down() -> None:
    pool, _ = pool_of(upstream_config("a", max_connections=1), upstream_config("b"))
    for each in pool.upstreams:
        each.take()
        each.failed("refused")
    assert names(pool.candidates()) == "b"


def test_one_that_is_up_but_full_is_no_reason_to_try_those_that_look_down() -> None:
    pool, _ = pool_of(upstream_config("a", max_connections=1), upstream_config("b"))
    pool.upstreams[0].take()
    pool.upstreams[1].failed("refused")
    assert pool.candidates() == ()


def test_one_draining_and_one_down_leave_nobody_at_once() -> None:
    pool, _ = pool_of(*map(upstream_config, "ab"))
    pool.upstreams[0].state = "drain"
    pool.upstreams[1].state = "down"
    assert pool.candidates() == ()


class PoolInUse(RuleBasedStateMachine):
    """Sessions come and go in any order, and are released once or several times."""

    leases = Bundle("leases")
    upstreams = st.integers(0, 3)

    @initialize(limits=st.lists(st.none() | st.integers(1, 3), min_size=4, max_size=4))
    def make(self, limits: list[int | None]) -> None:
        self.pool, self.clock = pool_of(
            *(
                upstream_config(name, max_connections=limit, backup=name == "d")
                for name, limit in zip("abcd", limits, strict=True)
            ),
            max_fails=2,
        )
        self.held: set[Lease] = set()

    @rule(target=leases, tried=st.sets(upstreams), pick=st.integers(0, 3))
    def open_session(self, tried: set[int], pick: int):
        free = self.pool.candidates([self.pool.upstreams[index] for index in tried])
        if not free:
            return multiple()
        lease = free[pick % len(free)].take()
        self.held.add(lease)
        return lease

    @rule(lease=leases)
    def end_session(self, lease: Lease) -> None:
        lease.release()
        self.held.discard(lease)

    @rule(index=upstreams, good=st.booleans())
    def observe(self, index: int, good: bool) -> None:
        upstream = self.pool.upstreams[index]
        upstream.succeeded() if good else upstream.failed("refused")

    @rule(index=upstreams, state=st.sampled_from(["ready", "drain", "down"]))
    def order(self, index: int, state: str) -> None:
        self.pool.upstreams[index].state = state

    @rule(seconds=st.floats(0, 15))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_session_is_counted_once_and_no_limit_is_passed(self) -> None:
        for each in self.pool.upstreams:
            assert each.active == sum(lease.upstream is each for lease in self.held)
            assert each.max_connections is None or each.active <= each.max_connections

    @invariant()
    def exactly_those_that_may_are_candidates(self) -> None:
        ready = {each for each in self.pool.upstreams if each.state == "ready"}
        down = {each for each in ready if each.health == "down"}
        room = {each for each in ready if each.active != each.max_connections}
        may = room if down == ready else room - down
        primaries = {each for each in may if not each.backup}
        assert set(self.pool.candidates()) == (primaries or may)


TestPoolInUse = PoolInUse.TestCase
TestPoolInUse.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_going_down_and_coming_back_are_told_once() -> None:
    upstream, clock = upstream_with(max_fails=2)
    told: list[tuple[float, str, str]] = []
    upstream.on_health = lambda who, change: told.append((change.at, change.to, change.why))
    for _ in range(3):
        clock.advance(1)
        upstream.failed("refused")
    clock.advance(1)
    upstream.succeeded()
    upstream.succeeded()
    assert told == [(2.0, "down", "refused"), (4.0, "up", "a handshake succeeded")]
    assert [each.to for each in upstream.history] == ["down", "up"]
    assert upstream.since == 4.0


# All look down


def test_those_whose_checks_seem_to_be_wrong_go_first_when_all_look_down() -> None:
    pool, _ = pool_of(*map(upstream_config, "ab"))
    for each in pool.upstreams:
        each.check_found("down", "a check")
    assert names(pool.candidates()) == "ab"
    pool.upstreams[1].succeeded()
    assert names(pool.candidates()) == "b"
    assert not pool.is_hopeless(pool.upstreams[:1])
    assert pool.is_hopeless(pool.upstreams)


def test_one_that_comes_into_a_pool_that_is_drained_is_drained_too() -> None:
    pool, _ = pool_of(upstream_config("a"))
    pool.is_draining = True
    (added,) = pool.set_members("discovery", [upstream_config("b")]).added
    assert added.state == "drain"
