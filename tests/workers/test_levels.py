"""Which worker closes how many sessions when a pool is levelled."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from tests.relay.test_levelling import begin, pool_of
from wsrelay.pools.pool import Pool
from wsrelay.relay.levelling import Levelling, takers_of
from wsrelay.workers.levels import plan, split

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=6)


@st.composite
def loads(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Draw the weights of upstreams, and the sessions of each worker on them."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    of_worker = st.lists(st.integers(0, 12), min_size=len(weights), max_size=len(weights))
    return weights, draw(st.lists(of_worker, min_size=1, max_size=4))


@given(COUNTS, st.data())
def test_parts_add_up_and_are_as_even_as_whole_numbers_are(
    counts: list[int], data: st.DataObject
) -> None:
    total = sum(counts)
    amount = data.draw(st.integers(0, total))
    parts = split(amount, counts)
    assert sum(parts) == amount
    for part, count in zip(parts, counts, strict=True):
        assert 0 <= part <= count
        assert abs(part * total - amount * count) < max(total, 1)


@given(loads())
def test_workers_together_close_what_stands_above_the_shares_and_no_more(
    load: tuple[list[int], list[list[int]]],
) -> None:
    weights, workers = load
    names = [str(number) for number in range(len(weights))]
    levels = {number: dict(zip(names, each, strict=True)) for number, each in enumerate(workers)}
    goals = plan(dict(zip(names, weights, strict=True)), levels)
    kept = Counter[str]()
    for number, (closes, keeps) in goals.items():
        assert closes == sum(workers[number]) - sum(keeps.values())
        kept.update(keeps)
    everything = sum(map(sum, workers))
    for name, weight, total in zip(
        names, weights, map(sum, zip(*workers, strict=True)), strict=True
    ):
        assert kept[name] == min(total, ceil(everything * weight / sum(weights)))


def test_what_only_one_worker_sees_askew_is_level_as_a_whole() -> None:
    levels = {1: {"a": 10, "b": 0}, 2: {"a": 0, "b": 10}}
    assert {who: closes for who, (closes, _) in plan({"a": 1, "b": 1}, levels).items()} == {
        1: 0,
        2: 0,
    }


def pools_of(workers: list[list[int]], weights: list[int]) -> list[Pool]:
    return [pool_of(*weights) for _ in workers]


@given(loads())
def test_each_worker_closes_exactly_its_part(load: tuple[list[int], list[list[int]]]) -> None:
    weights, workers = load
    pools = pools_of(workers, weights)
    sessions = [
        [
            begin(each)
            for each, count in zip(pool.upstreams, counts, strict=True)
            for _ in range(count)
        ]
        for pool, counts in zip(pools, workers, strict=True)
    ]
    levels = {
        number: {each.name: each.sessions for each in pool.upstreams}
        for number, pool in enumerate(pools)
    }
    goals = plan({each.name: each.weight for each in takers_of(pools[0])}, levels)
    for number, pool in enumerate(pools):
        closes, keeps = goals[number]
        levelling = Levelling(pool, keeps)
        levelling.begin(sessions[number])  # type: ignore[arg-type]
        assert levelling.left == closes
        while (session := levelling.next()) is not None:
            session.end()  # type: ignore[attr-defined]
            begin(session.upstream)  # it comes back to where it was, which is no reason to go on
        assert levelling.left == 0
        assert {each.name: each.sessions for each in pool.upstreams} == levels[number]


def test_a_session_that_ends_by_itself_need_not_be_closed() -> None:
    pool = pool_of(1, 1)
    sessions = [begin(pool.upstreams[0]) for _ in range(6)]
    levelling = Levelling(pool, {"a": 3, "b": 0})
    levelling.begin(sessions)  # type: ignore[arg-type]
    for session in sessions[:2]:
        session.end()
    closed = 0
    while (session := levelling.next()) is not None:  # type: ignore[assignment]
        session.end()
        closed += 1
    assert (closed, levelling.spared) == (1, 2)


def test_a_plan_is_void_when_one_that_it_counted_on_takes_nobody() -> None:
    pool = pool_of(1, 1, 1)
    levelling = Levelling(pool, {"a": 3, "b": 0, "c": 0})
    levelling.begin([begin(pool.upstreams[0]) for _ in range(6)])  # type: ignore[list-item]
    assert levelling.next() is not None
    pool.upstreams[2].state = "down"
    assert levelling.next() is None
    assert levelling.spared == 2


def test_who_is_not_in_the_plan_closes_nothing() -> None:
    pool = pool_of(1, 1)
    levelling = Levelling(pool, {})
    levelling.begin([begin(pool.upstreams[0]) for _ in range(6)])  # type: ignore[list-item]
    assert (levelling.left, levelling.next()) == (0, None)
