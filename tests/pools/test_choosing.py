from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence

import pytest
from attrs import define, field
from twisted.internet.defer import AlreadyCalledError, CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.config.model import PluginCall, PoolConfig, UpstreamConfig
from wsrelay.interfaces import IBalancer, IStickyBalancer
from wsrelay.pools.choosing import (
    BalancerFailed,
    BalancerRefused,
    NoUpstream,
    announce,
    choose,
    make_pool,
)
from wsrelay.pools.pool import Pool, Upstream
from wsrelay.testing import FakeHandshake

HANDSHAKE = FakeHandshake()


@implementer(IBalancer)
@define
class Scripted:
    """A balancer that answers as a test says, and remembers what it was offered."""

    answer: Callable[[Sequence[Upstream]], object]
    offers: list[tuple[Upstream, ...]] = field(factory=list)

    def choose(self, request, upstreams):
        assert request is HANDSHAKE
        self.offers.append(upstreams)
        return self.answer(upstreams)

    def upstreams_changed(self, upstreams):
        raise RuntimeError(f"cannot learn {len(upstreams)}")


@pytest.fixture
def logged() -> Iterator[list[dict]]:
    """What was logged; what no test looked at fails it, unhandled errors in Deferreds included."""
    with capturedLogs() as events:
        yield events
        gc.collect()
    assert events == []


def pool_with(answer: Callable[[Sequence[Upstream]], object]) -> Pool:
    upstreams = tuple(
        UpstreamConfig(name, f"ws://{name}:9000", max_connections=2) for name in "abc"
    )
    return Pool(PoolConfig("chat", upstreams), Scripted(answer), Clock().seconds)


def pool_with_a_slow_balancer() -> tuple[Pool, list[Deferred]]:
    """Its balancer answers each time with a Deferred, put at the end of the list."""
    asked: list[Deferred] = []

    def answer(_: object) -> Deferred:
        asked.append(Deferred())
        return asked[-1]

    return pool_with(answer), asked


def wait(pool: Pool, tried: Sequence[Upstream] = ()) -> tuple[Deferred, list]:
    """Choose; return the Deferred and the list its outcome, value or exception, will be in."""
    waiting = choose(pool, HANDSHAKE, tried)
    assert isinstance(waiting, Deferred)
    outcome: list = []
    waiting.addCallbacks(outcome.append, lambda failure: outcome.append(failure.value))
    return waiting, outcome


def one_failure(events: list[dict], reason: type[Exception]) -> None:
    """Take the one event that is there: a traceback, with the pool's name in its text."""
    [event] = events
    events.clear()
    assert event["pool"] == "chat"
    assert event["log_failure"].type is reason


def full(upstream: Upstream) -> None:
    upstream.take()
    upstream.take()


# A balancer that answers at once


def test_a_choice_made_at_once_comes_back_as_it_is(logged) -> None:
    pool = pool_with(lambda upstreams: upstreams[1])
    assert choose(pool, HANDSHAKE) is pool.upstreams[1]
    assert pool.balancer.offers == [pool.upstreams]


def test_those_tried_are_not_offered(logged) -> None:
    pool = pool_with(lambda upstreams: upstreams[0])
    a, b, c = pool.upstreams
    assert choose(pool, HANDSHAKE, [a]) is b
    assert pool.balancer.offers == [(b, c)]


def test_the_balancer_is_not_asked_when_nothing_is_on_offer(logged) -> None:
    pool = pool_with(lambda upstreams: upstreams[0])
    with pytest.raises(NoUpstream, match="No upstream of pool 'chat' may take a connection now"):
        choose(pool, HANDSHAKE, pool.upstreams)
    assert pool.balancer.offers == []


def test_one_draining_and_one_down_are_no_upstream_at_once(logged) -> None:
    pool = pool_with(lambda upstreams: upstreams[0])
    pool.upstreams[0].state = pool.upstreams[1].state = "drain"
    pool.upstreams[2].state = "down"
    with pytest.raises(NoUpstream):
        choose(pool, HANDSHAKE)


def test_a_balancer_may_refuse(logged) -> None:
    with pytest.raises(BalancerRefused, match="The balancer of pool 'chat' refused the connection"):
        choose(pool_with(lambda upstreams: None), HANDSHAKE)


def test_a_balancer_that_raises_is_logged_once_with_its_traceback(logged) -> None:
    pool = pool_with(lambda upstreams: upstreams[7])
    with pytest.raises(BalancerFailed, match="balancer of pool 'chat' failed"):
        choose(pool, HANDSHAKE)
    one_failure(logged, IndexError)


@pytest.mark.parametrize("nonsense", ["a", 0, object(), False])
def test_a_balancer_that_chooses_nonsense_is_logged(logged, nonsense: object) -> None:
    with pytest.raises(BalancerFailed, match="'chat' chose what was not offered"):
        choose(pool_with(lambda upstreams: nonsense), HANDSHAKE)
    [event] = logged
    logged.clear()
    assert (event["log_level"], event["pool"], event["choice"]) == (
        LogLevel.error,
        "chat",
        nonsense,
    )


def test_an_upstream_that_was_not_offered_is_nonsense_too(logged) -> None:
    pool = pool_with(lambda upstreams: pool.upstreams[0])
    with pytest.raises(BalancerFailed):
        choose(pool, HANDSHAKE, [pool.upstreams[0]])
    assert logged.pop()["choice"] is pool.upstreams[0]


# A balancer that answers later


def test_a_choice_may_come_later(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool)
    assert outcome == []
    asked[0].callback(pool.upstreams[2])
    assert outcome == [pool.upstreams[2]]


def test_a_deferred_may_have_fired_already(logged) -> None:
    pool = pool_with(lambda upstreams: succeed(upstreams[1]))
    _, outcome = wait(pool)
    assert outcome == [pool.upstreams[1]]


def test_a_balancer_may_refuse_later(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool)
    asked[0].callback(None)
    assert [type(each) for each in outcome] == [BalancerRefused]


def test_a_balancer_that_fails_later_is_logged_once_with_its_traceback(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool)
    asked[0].errback(OSError("its database is away"))
    assert [type(each) for each in outcome] == [BalancerFailed]
    one_failure(logged, OSError)


def test_a_deferred_may_have_failed_already(logged) -> None:
    _, outcome = wait(pool_with(lambda upstreams: fail(OSError())))
    assert [type(each) for each in outcome] == [BalancerFailed]
    one_failure(logged, OSError)


def test_nonsense_may_come_later(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool, tried=pool.upstreams[:1])
    asked[0].callback(pool.upstreams[0])
    assert [type(each) for each in outcome] == [BalancerFailed]
    assert logged.pop()["choice"] is pool.upstreams[0]


def test_a_balancer_that_cancels_its_own_deferred_has_failed(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool)
    asked[0].cancel()
    assert [type(each) for each in outcome] == [BalancerFailed]
    one_failure(logged, CancelledError)


# Cancelling


def test_cancelling_cancels_the_balancers_deferred(logged) -> None:
    cancelled = []
    pool = pool_with(lambda upstreams: Deferred(cancelled.append))
    waiting, outcome = wait(pool)
    waiting.cancel()
    assert len(cancelled) == 1
    assert [type(each) for each in outcome] == [CancelledError]


@pytest.mark.parametrize("late", ["a choice", Failure(OSError())])
def test_a_balancer_that_answers_after_it_was_cancelled_harms_nothing(logged, late) -> None:
    pool, asked = pool_with_a_slow_balancer()
    waiting, outcome = wait(pool)
    waiting.cancel()
    asked[0].callback(late)
    assert [type(each) for each in outcome] == [CancelledError]


def test_a_balancer_that_answers_while_it_is_cancelled_comes_too_late(logged) -> None:
    pool = pool_with(lambda upstreams: Deferred(lambda it: it.callback(upstreams[0])))
    waiting, outcome = wait(pool)
    waiting.cancel()
    assert [type(each) for each in outcome] == [CancelledError]


def test_a_canceller_that_raises_is_logged_and_harms_nothing(logged) -> None:
    def refuse(_: object) -> None:
        raise OSError("no")

    waiting, outcome = wait(pool_with(lambda upstreams: Deferred(refuse)))
    waiting.cancel()
    assert [type(each) for each in outcome] == [CancelledError]
    one_failure(logged, OSError)


def test_a_second_answer_is_the_balancers_own_error(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool)
    asked[0].callback(pool.upstreams[0])
    with pytest.raises(AlreadyCalledError):
        asked[0].callback(pool.upstreams[1])
    assert outcome == [pool.upstreams[0]]


# What happens while a balancer thinks


def test_it_is_asked_again_when_its_choice_has_filled_up_by_then(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    a, b, c = pool.upstreams
    _, outcome = wait(pool)
    full(a)
    asked[0].callback(a)
    assert (outcome, pool.balancer.offers) == ([], [(a, b, c), (b, c)])
    asked[1].callback(c)
    assert outcome == [c]


def test_a_balancer_that_is_asked_again_may_answer_at_once(logged) -> None:
    first: Deferred = Deferred()
    answers = [first, None]
    pool = pool_with(lambda upstreams: answers.pop(0) or upstreams[0])
    _, outcome = wait(pool)
    full(pool.upstreams[0])
    first.callback(pool.upstreams[0])
    assert outcome == [pool.upstreams[1]]


def test_the_second_wait_is_cancelled_like_the_first(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    waiting, outcome = wait(pool)
    full(pool.upstreams[0])
    asked[0].callback(pool.upstreams[0])
    waiting.cancel()
    assert [type(each) for each in outcome] == [CancelledError]
    asked[1].callback(pool.upstreams[1])
    assert len(outcome) == 1


def test_nothing_may_be_left_by_then(logged) -> None:
    pool, asked = pool_with_a_slow_balancer()
    _, outcome = wait(pool)
    for each in pool.upstreams:
        each.state = "drain"
    asked[0].callback(pool.upstreams[0])
    assert [type(each) for each in outcome] == [NoUpstream]


# Making a pool


def test_a_pool_is_made_with_its_balancer_which_learns_the_upstreams(logged) -> None:
    config = PoolConfig(
        "chat", (UpstreamConfig("a", "ws://a:9000"),), PluginCall("round-robin"), max_fails=1
    )
    clock = Clock()
    pool = make_pool(config, clock)
    assert pool.balancer._credit == {"a": 0}
    a = pool.upstreams[0]
    assert choose(pool, HANDSHAKE) is a
    a.failed("refused")
    assert a.health == "down"
    clock.advance(10)
    assert a.health == "unknown"


def test_a_pool_with_a_bad_balancer_is_not_made(logged) -> None:
    config = PoolConfig("chat", (UpstreamConfig("a", "ws://a:9000"),), PluginCall("hash"))
    with pytest.raises(ValueError, match="key is missing"):
        make_pool(config, Clock())


def test_a_balancer_that_fails_to_learn_is_logged_and_stays_in_use(logged) -> None:
    pool = pool_with(lambda upstreams: upstreams[0])
    announce(pool)
    one_failure(logged, RuntimeError)
    assert choose(pool, HANDSHAKE) is pool.upstreams[0]


# Balancers that know where a request belongs


@implementer(IStickyBalancer)
@define
class Finding:
    """It finds what a test says; what it chooses is the first."""

    answer: Callable[[Sequence[Upstream]], object]

    def find(self, request, upstreams):
        return self.answer(upstreams)

    def choose(self, request, upstreams):
        return upstreams[0]

    def upstreams_changed(self, upstreams):
        pass


def pool_in_slow_start(answer: Callable[[Sequence[Upstream]], object]) -> tuple[Pool, Upstream]:
    """Return a pool, and its upstream that has just come up and gets few new clients."""
    upstreams = tuple(UpstreamConfig(name, f"ws://{name}:9000") for name in "abc")
    config = PoolConfig("chat", upstreams, slow_start=30.0)
    pool = Pool(config, Finding(answer), Clock().seconds)
    slow = pool.upstreams[2]
    slow.begin_slowly()
    return pool, slow


def test_in_slow_start_an_upstream_gets_all_that_belongs_to_it() -> None:
    pool, slow = pool_in_slow_start(lambda upstreams: upstreams[2])
    assert slow not in pool.offer()
    assert {choose(pool, HANDSHAKE) for _ in range(30)} == {slow}


def test_what_belongs_nowhere_in_slow_start_is_placed_by_the_balancer() -> None:
    pool, _ = pool_in_slow_start(lambda upstreams: None)
    assert choose(pool, HANDSHAKE) is pool.upstreams[0]


def test_what_failed_is_not_found_again_in_slow_start() -> None:
    pool, slow = pool_in_slow_start(lambda upstreams: upstreams[-1])
    assert choose(pool, HANDSHAKE, [slow]) is pool.upstreams[1]


def test_a_balancer_that_cannot_find_fails_as_one_that_cannot_choose(logged) -> None:
    pool, _ = pool_in_slow_start(lambda upstreams: 1 / 0)
    with pytest.raises(BalancerFailed):
        choose(pool, HANDSHAKE)
    assert logged[0]["word"] == "find"
    one_failure(logged, ZeroDivisionError)


def test_a_balancer_that_finds_what_was_not_asked_for_fails(logged) -> None:
    pool, _ = pool_in_slow_start(lambda upstreams: "a")
    with pytest.raises(BalancerFailed):
        choose(pool, HANDSHAKE)
    assert logged.pop()["choice"] == "a"


# Who may know more


@define(eq=False)
class Elsewhere:
    """Is asked before the balancer, and answers when a test says so."""

    answer: Deferred[None] | None = None
    asked: int = 0

    def ask(self, pool, request):
        self.asked += 1
        return self.answer


def test_where_nothing_is_to_be_asked_the_balancer_answers_at_once(logged: list[dict]) -> None:
    pool = pool_with(lambda offered: offered[1])
    pool.elsewhere = Elsewhere()
    assert choose(pool, HANDSHAKE) is pool.upstreams[1]


def test_the_balancer_is_asked_when_the_answer_of_others_is_there(logged: list[dict]) -> None:
    pool = pool_with(lambda offered: offered[1])
    pool.elsewhere = elsewhere = Elsewhere(Deferred())
    results: list[object] = []
    choice = choose(pool, HANDSHAKE)
    assert isinstance(choice, Deferred)
    choice.addCallback(results.append)
    assert pool.balancer.offers == []
    elsewhere.answer.callback(None)
    assert results == [pool.upstreams[1]]
    assert elsewhere.asked == 1


def test_who_does_not_wait_any_more_is_not_chosen_for(logged: list[dict]) -> None:
    pool = pool_with(lambda offered: offered[1])
    pool.elsewhere = elsewhere = Elsewhere(Deferred())
    failures: list[Failure] = []
    choice = choose(pool, HANDSHAKE)
    choice.addErrback(failures.append)
    choice.cancel()
    assert failures[0].check(CancelledError)
    assert pool.balancer.offers == []
    assert elsewhere.answer.called


def test_what_nobody_can_take_is_told_through_the_deferred(logged: list[dict]) -> None:
    pool = pool_with(lambda offered: offered[1])
    pool.elsewhere = Elsewhere(succeed(None))
    for upstream in pool.upstreams:
        upstream.state = "down"
    failures: list[Failure] = []
    choose(pool, HANDSHAKE).addErrback(failures.append)
    assert failures[0].check(NoUpstream)
