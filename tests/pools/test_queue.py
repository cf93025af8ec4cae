from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from wsrelay.balancers.first import First
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.pools.pool import Pool
from wsrelay.pools.queue import Place, WaitingLine
from wsrelay.pools.rounds import Rounds


def pool_of(*limits: int | None, **options) -> tuple[Pool, Clock]:
    clock = Clock()
    upstreams = tuple(
        UpstreamConfig(name, f"ws://{name}:9000", max_connections=limit)
        for name, limit in zip("abc", limits, strict=False)
    )
    return Pool(PoolConfig("chat", upstreams, **options), First(), clock.seconds), clock


class Waiters:
    """Clients that take the first upstream with room when they are called."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.called: list[int] = []
        self.leases: list = []

    def join(self, number: int) -> Place:
        return self.pool.line.join(lambda: self.turn(number))

    def turn(self, number: int) -> None:
        self.called.append(number)
        self.leases.append(self.pool.candidates()[0].take())


class LineInUse(RuleBasedStateMachine):
    """Clients come, are called, have no luck and leave, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.line = WaitingLine()
        self.places: list[Place] = []
        self.waiting: set[int] = set()
        self.resting: set[int] = set()
        self.trying: set[int] = set()

    @rule()
    def join(self) -> None:
        number = len(self.places)
        self.places.append(self.line.join(lambda: self.called(number)))
        self.waiting.add(number)

    def called(self, number: int) -> None:
        assert number == min(self.waiting)
        self.waiting.discard(number)
        self.trying.add(number)

    @rule()
    def call_next(self) -> None:
        first = min(self.waiting, default=None)
        may = first is not None and first not in self.resting
        assert self.line.call_next() is may
        assert first is None or (first in self.trying) is may

    @precondition(lambda self: self.trying)
    @rule(data=st.data())
    def have_no_luck(self, data) -> None:
        number = data.draw(st.sampled_from(sorted(self.trying)))
        self.trying.discard(number)
        self.waiting.add(number)
        self.resting.add(number)
        self.line.come_back(self.places[number])

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def leave(self, data) -> None:
        """One that was called, or has left, may leave too."""
        number = data.draw(st.integers(0, len(self.places) - 1))
        self.places[number].leave()
        self.waiting.discard(number)

    @rule()
    def begin_round(self) -> None:
        self.line.begin_round()
        self.resting.clear()

    @invariant()
    def it_is_as_long_as_there_are_people(self) -> None:
        assert len(self.line) == len(self.waiting)


TestLineInUse = LineInUse.TestCase
TestLineInUse.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_as_many_are_called_as_there_is_room_for_in_the_order_in_which_they_came() -> None:
    pool, _ = pool_of(2, 1)
    waiters = Waiters(pool)
    for number in range(5):
        waiters.join(number)
    pool.call_waiting()
    assert waiters.called == [0, 1, 2]
    waiters.leases[1].release()
    assert waiters.called == [0, 1, 2, 3]
    assert len(pool.line) == 1


def test_places_that_are_given_back_at_once_go_to_any_number_of_clients_in_the_same_turn() -> None:
    pool, _ = pool_of(1)
    called: list[int] = []

    def turn(number: int) -> None:
        called.append(number)
        pool.candidates()[0].take().release()

    for number in range(2000):  # deeper than calls may be nested
        pool.line.join(lambda number=number: turn(number))
    pool.call_waiting()
    assert called == list(range(2000))


def test_nobody_is_called_for_an_upstream_that_looks_down_but_in_a_new_round() -> None:
    pool, _ = pool_of(None, max_fails=1)
    waiters = Waiters(pool)
    waiters.join(0)
    pool.upstreams[0].failed("refused")
    pool.call_waiting()
    assert waiters.called == []
    pool.call_waiting(again=True)
    assert waiters.called == [0]


def test_a_health_check_that_finds_an_upstream_up_calls_those_who_wait() -> None:
    pool, _ = pool_of(None)
    waiters = Waiters(pool)
    pool.upstreams[0].check_found("down", "refused")
    waiters.join(0)
    pool.upstreams[0].check_found("up", "well")
    assert waiters.called == [0]


def test_few_are_called_at_a_time_for_an_upstream_that_has_not_answered_yet() -> None:
    for max_fails in (0, 1):
        pool, _ = pool_of(None, max_fails=max_fails)
        waiters = Waiters(pool)
        for number in range(30):
            waiters.join(number)
        pool.upstreams[0].failed("refused")
        pool.call_waiting(again=True)
        assert waiters.called == list(range(8)), max_fails
        waiters.leases[3].release()
        pool.call_waiting(again=True)
        assert waiters.called == list(range(9)), max_fails
        pool.upstreams[0].succeeded()
        pool.call_waiting(again=True)
        assert waiters.called == list(range(30)), max_fails


def test_a_call_that_raises_leaves_the_line_in_order() -> None:
    pool, _ = pool_of(None)
    waiters = Waiters(pool)

    def broken() -> None:
        raise RuntimeError("a fault")

    pool.line.join(broken)
    waiters.join(1)
    try:
        pool.call_waiting()
    except RuntimeError:
        pool.call_waiting()
    assert waiters.called == [1]


# Rounds


def test_rounds_go_on_while_somebody_waits_and_end_with_the_last() -> None:
    pool, clock = pool_of()
    rounds = Rounds(clock)
    calls: list[float] = []

    def turn(number: int) -> None:
        calls.append(clock.seconds())

    place = rounds.join(pool, lambda: turn(0))
    rounds.join(pool, lambda: turn(1))
    clock.pump([0.25] * 8)
    assert calls == []
    assert len(clock.getDelayedCalls()) == 1
    place.leave()
    pool.set_members("file", [UpstreamConfig("a", "ws://a:9000")])
    clock.advance(0.25)
    assert calls == [2.25]
    assert clock.getDelayedCalls() == []
    rounds.join(pool, lambda: turn(2))
    clock.advance(0.25)
    assert calls == [2.25, 2.5]
    assert clock.getDelayedCalls() == []


def test_each_pool_has_its_own_rounds() -> None:
    one, clock = pool_of()
    other, _ = pool_of(None)
    rounds = Rounds(clock)
    calls: list[str] = []
    rounds.join(one, lambda: calls.append("one"))
    clock.advance(0.1)
    rounds.join(other, lambda: calls.append("other"))
    clock.pump([0.25, 0.25])
    assert calls == ["other"]
