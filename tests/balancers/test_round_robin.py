from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from wsrelay.balancers.round_robin import RoundRobin
from wsrelay.testing import FakeHandshake, FakeUpstream

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def pool_of(weights: Sequence[int]) -> tuple[FakeUpstream, ...]:
    return tuple(FakeUpstream(str(index), weight) for index, weight in enumerate(weights))


def picks(balancer: RoundRobin, pool: Sequence[FakeUpstream], number: int) -> list[str]:
    return [balancer.choose(FakeHandshake(), pool).name for _ in range(number)]


@given(WEIGHTS)
def test_every_cycle_is_exact(weights: list[int]) -> None:
    balancer, pool = RoundRobin(), pool_of(weights)
    for _ in range(3):
        cycle = Counter(picks(balancer, pool, sum(weights)))
        assert cycle == {each.name: each.weight for each in pool}


@given(WEIGHTS)
def test_nobody_is_ever_a_whole_turn_ahead(weights: list[int]) -> None:
    balancer, pool = RoundRobin(), pool_of(weights)
    total, so_far = sum(weights), Counter[str]()
    for number, name in enumerate(picks(balancer, pool, 2 * total), 1):
        so_far[name] += 1
        for each in pool:
            assert so_far[each.name] * total < number * each.weight + total


def test_a_heavy_upstream_has_its_turns_spread_out() -> None:
    assert "".join(picks(RoundRobin(), pool_of([5, 1, 1]), 7)) == "0010200"
    assert "".join(picks(RoundRobin(), pool_of([2, 2, 1]), 5)) == "01201"


@given(WEIGHTS.filter(lambda weights: len(weights) > 1), st.integers(0, 99))
def test_one_that_was_away_comes_back_to_its_share(weights: list[int], turns: int) -> None:
    balancer, pool = RoundRobin(), pool_of(weights)
    picks(balancer, pool, 3)
    picks(balancer, pool[1:], turns)
    back = Counter(picks(balancer, pool, 10 * sum(weights)))
    for each in pool:
        # One cycle at most to settle what was left open.
        assert abs(back[each.name] - 10 * each.weight) <= each.weight + len(pool)


@given(st.data())
def test_credit_stays_bounded_and_sums_to_nothing_whoever_is_away(data: st.DataObject) -> None:
    pool = pool_of(data.draw(WEIGHTS))
    balancer = RoundRobin()
    offers = st.lists(st.sampled_from(pool), min_size=1, unique=True)
    for offer in data.draw(st.lists(offers, max_size=60)):
        balancer.choose(FakeHandshake(), offer)
    credits = balancer._credit.values()
    assert sum(credits) == 0
    assert max(map(abs, credits), default=0) <= len(pool) * sum(each.weight for each in pool)


def test_a_weight_takes_effect_at_the_next_choice() -> None:
    balancer, pool = RoundRobin(), pool_of([1, 1])
    picks(balancer, pool, 2)
    pool[1].weight = 3
    balancer.upstreams_changed(pool)
    assert Counter(picks(balancer, pool, 4)) == {"0": 1, "1": 3}


def test_those_that_left_the_pool_are_forgotten_and_the_others_keep_their_turn() -> None:
    balancer, pool = RoundRobin(), pool_of([1, 1, 1])
    assert picks(balancer, pool, 1) == ["0"]
    balancer.upstreams_changed(pool[:2])
    assert balancer._credit.keys() == {"0", "1"}
    assert picks(balancer, pool[:2], 1) == ["1"]
