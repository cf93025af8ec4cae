from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from wsrelay.balancers.least_connections import LeastConnections
from wsrelay.testing import FakeHandshake, FakeUpstream

WEIGHTS_AND_LOADS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 40)), min_size=1, max_size=8
)


@given(WEIGHTS_AND_LOADS)
def test_the_choice_has_the_lowest_load_for_its_weight(numbers: list[tuple[int, int]]) -> None:
    pool = [FakeUpstream(str(index), *each) for index, each in enumerate(numbers)]
    choice = LeastConnections().choose(FakeHandshake(), pool)
    assert Fraction(choice.active, choice.weight) == min(
        Fraction(each.active, each.weight) for each in pool
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5))
def test_sessions_that_stay_fill_the_pool_exactly_by_weight(
    weights: list[int], rounds: int
) -> None:
    balancer = LeastConnections()
    pool = [FakeUpstream(str(index), weight) for index, weight in enumerate(weights)]
    for _ in range(rounds * sum(weights)):
        balancer.choose(FakeHandshake(), pool).active += 1
    assert [each.active for each in pool] == [rounds * each.weight for each in pool]


def test_an_idle_pool_is_used_in_turn_by_weight() -> None:
    balancer = LeastConnections()
    pool = [FakeUpstream("a", 1), FakeUpstream("b", 3), FakeUpstream("busy", 5, active=5)]
    picks = Counter(balancer.choose(FakeHandshake(), pool).name for _ in range(40))
    assert picks == {"a": 10, "b": 30}


def test_the_turns_of_those_that_left_the_pool_are_forgotten() -> None:
    balancer = LeastConnections()
    pool = [FakeUpstream("a"), FakeUpstream("b"), FakeUpstream("c")]
    balancer.choose(FakeHandshake(), pool)
    balancer.upstreams_changed(pool[1:])
    assert balancer._turns._credit.keys() == {"b", "c"}
