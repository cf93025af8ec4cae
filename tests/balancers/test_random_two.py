from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from wsrelay.balancers.random_two import RandomTwo
from wsrelay.testing import FakeHandshake, FakeUpstream


def test_the_only_upstream_is_chosen() -> None:
    only = FakeUpstream("only", active=7)
    assert RandomTwo().choose(FakeHandshake(), (only,)) is only


def test_the_busiest_is_never_chosen_and_the_others_are() -> None:
    balancer = RandomTwo(Random(1))
    pool = [FakeUpstream("a"), FakeUpstream("b"), FakeUpstream("busiest", active=1)]
    picks = Counter(balancer.choose(FakeHandshake(), pool).name for _ in range(200))
    assert picks.keys() == {"a", "b"}


def test_load_counts_for_its_weight() -> None:
    balancer = RandomTwo(Random(1))
    pool = [FakeUpstream("a", weight=1, active=2), FakeUpstream("b", weight=4, active=7)]
    assert {balancer.choose(FakeHandshake(), pool).name for _ in range(50)} == {"b"}


def test_equals_are_chosen_by_weight() -> None:
    balancer = RandomTwo(Random(1))
    pool = [FakeUpstream("a", weight=1), FakeUpstream("b", weight=3)]
    picks = Counter(balancer.choose(FakeHandshake(), pool).name for _ in range(4000))
    assert picks["b"] / picks["a"] == pytest.approx(3, rel=0.1)


def test_two_choices_keep_the_fullest_near_its_share() -> None:
    balancer = RandomTwo(Random(1))
    pool = [FakeUpstream(str(index)) for index in range(50)]
    for _ in range(50 * 50):
        balancer.choose(FakeHandshake(), pool).active += 1
    # A single random choice leaves the fullest at 65 to 70.
    assert max(each.active for each in pool) <= 54


def test_the_same_seed_makes_the_same_choices() -> None:
    pool = [FakeUpstream(str(index)) for index in range(9)]
    one, other = RandomTwo(Random(5)), RandomTwo(Random(5))
    for _ in range(50):
        assert one.choose(FakeHandshake(), pool) is other.choose(FakeHandshake(), pool)


def test_without_a_source_each_balancer_draws_its_own() -> None:
    pool = [FakeUpstream(str(index)) for index in range(99)]
    runs = {
        tuple(balancer.choose(FakeHandshake(), pool).name for _ in range(20))
        for balancer in (RandomTwo(), RandomTwo())
    }
    assert len(runs) == 2
