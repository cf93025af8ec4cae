"""Which sessions are closed so that a pool is level again, and how many at most."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from wsrelay.balancers.first import First
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.pools.pool import Lease, Pool, Upstream
from wsrelay.relay.levelling import Levelling


@define(eq=False)
class FakeSession:
    """A session as far as its place is concerned."""

    lease: Lease
    is_ending: bool = False
    is_over: bool = False

    @property
    def upstream(self) -> Upstream:
        return self.lease.upstream

    def end(self) -> None:
        self.is_ending = self.is_over = True
        self.lease.release()


def begin(upstream: Upstream) -> FakeSession:
    session = FakeSession(upstream.take())
    session.lease.opened()
    return session


def pool_of(*weights: int, **backups: bool) -> Pool:
    names = [chr(ord("a") + number) for number in range(len(weights))]
    upstreams = tuple(
        UpstreamConfig(name, f"ws://{name}:9000", weight=weight, backup=backups.get(name, False))
        for name, weight in zip(names, weights, strict=True)
    )
    return Pool(PoolConfig("chat", upstreams, max_fails=1), First(), Clock().seconds)


def fill(pool: Pool, *counts: int) -> list[FakeSession]:
    pairs = zip(pool.upstreams, counts, strict=True)
    return [begin(upstream) for upstream, count in pairs for _ in range(count)]


def shares(pool: Pool) -> dict[Upstream, float]:
    count = sum(each.sessions for each in pool.upstreams)
    weights = sum(each.weight for each in pool.upstreams)
    return {each: count * each.weight / weights for each in pool.upstreams}


def excess(pool: Pool) -> int:
    return sum(max(each.sessions - ceil(share), 0) for each, share in shares(pool).items())


def where_most_is_missing(pool: Pool, left: Upstream) -> Upstream:
    """Count the one that comes back as present, as it is by then."""
    count = sum(each.sessions for each in pool.upstreams) + 1
    weights = sum(each.weight for each in pool.upstreams)
    return max(pool.upstreams, key=lambda each: count * each.weight / weights - each.sessions)


def where_it_was(pool: Pool, left: Upstream) -> Upstream:
    return left


def begin_levelling(pool: Pool, sessions: list[FakeSession]) -> Any:
    levelling: Any = Levelling(pool)
    levelling.begin(sessions)
    return levelling


def close_all(
    levelling: Any, pool: Pool, come_back: Callable[[Pool, Upstream], Upstream], late: int = 0
) -> int:
    """Close what is to be closed; return how many. *late* clients are on their way back."""
    closed, under_way = 0, []
    while (session := levelling.next()) is not None:
        assert not session.is_ending
        closed += 1
        session.is_ending = True
        under_way.append(session)
        while len(under_way) > late:
            gone = under_way.pop(0)
            gone.end()
            levelling.ended(gone)
            assert levelling.opened(begin(come_back(pool, gone.upstream))) is False
    for gone in under_way:
        gone.end()
        begin(come_back(pool, gone.upstream))
    return closed


LOADS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 12)), min_size=1, max_size=5)


@given(LOADS, st.integers(0, 5))
def test_it_ends_level_and_closes_exactly_those_above_the_shares(
    loads: list[tuple[int, int]], late: int
) -> None:
    pool = pool_of(*[weight for weight, _ in loads])
    sessions = fill(pool, *[count for _, count in loads])
    planned = excess(pool)
    levelling = begin_levelling(pool, sessions)
    assert levelling.left == planned
    assert close_all(levelling, pool, where_most_is_missing, late) == planned
    assert excess(pool) == 0
    assert (levelling.left, levelling.spared) == (0, 0)


@given(LOADS, st.integers(0, 5))
def test_sessions_that_come_back_where_they_were_are_no_more_than_those_above_the_shares(
    loads: list[tuple[int, int]], late: int
) -> None:
    pool = pool_of(*[weight for weight, _ in loads])
    sessions = fill(pool, *[count for _, count in loads])
    planned = excess(pool)
    assert close_all(begin_levelling(pool, sessions), pool, where_it_was, late) <= planned


def test_what_is_level_already_is_left_alone() -> None:
    pool = pool_of(1, 1, 1)
    levelling = begin_levelling(pool, fill(pool, 4, 3, 3))
    assert levelling.left == 0
    assert levelling.next() is None


def test_the_fullest_comes_first() -> None:
    pool = pool_of(1, 1, 1, 1)
    levelling = begin_levelling(pool, fill(pool, 6, 14, 0, 0))
    names = [levelling.next().upstream.name for _ in range(levelling.left)]
    assert names[:8] == ["b"] * 8
    assert sorted(names[8:]) == ["a", "b"]


def test_a_heavy_upstream_keeps_its_share() -> None:
    pool = pool_of(3, 1)
    levelling = begin_levelling(pool, fill(pool, 10, 10))
    assert [levelling.next().upstream.name for _ in range(levelling.left)] == ["b"] * 5


def test_a_weight_that_changed_at_runtime_counts() -> None:
    pool = pool_of(1, 1)
    sessions = fill(pool, 6, 6)
    pool.upstreams[1].weight = 5
    assert begin_levelling(pool, sessions).left == 4


def test_backups_take_no_share_while_a_primary_may() -> None:
    pool = pool_of(1, 1, 1, c=True)
    levelling = begin_levelling(pool, fill(pool, 9, 1, 0))
    assert [levelling.next().upstream.name for _ in range(levelling.left)] == ["a"] * 4


@pytest.mark.parametrize("trouble", ["drain", "down", "failed", "checked"])
def test_those_that_take_nobody_neither_give_nor_count(trouble: str) -> None:
    pool = pool_of(1, 1, 1)
    sessions = fill(pool, 9, 3, 9)
    last = pool.upstreams[2]
    match trouble:
        case "failed":
            last.failed("refused")
        case "checked":
            last.check_found("down", "refused")
        case "drain" | "down":
            last.state = trouble
    levelling = begin_levelling(pool, sessions)
    assert [levelling.next().upstream.name for _ in range(levelling.left)] == ["a"] * 3


def test_handshakes_under_way_are_no_sessions() -> None:
    pool = pool_of(1, 1)
    sessions = fill(pool, 4, 4)
    for _ in range(6):
        pool.upstreams[0].take()
    assert begin_levelling(pool, sessions).left == 0


def test_nobody_takes_sessions() -> None:
    pool = pool_of(1, 1)
    sessions = fill(pool, 4, 0)
    for each in pool.upstreams:
        each.state = "drain"
    levelling = begin_levelling(pool, sessions)
    assert (levelling.left, levelling.next()) == (0, None)


def test_those_that_end_by_themselves_need_not_be_closed() -> None:
    pool = pool_of(1, 1)
    sessions = fill(pool, 10, 0)
    levelling = begin_levelling(pool, sessions)
    assert levelling.left == 5
    for session in sessions[:6]:
        session.end()
    closed = 0
    while (session := levelling.next()) is not None:
        session.is_ending = True
        closed += 1
    # Four were left on one side, none on the other: two too many.
    assert closed == 2
    assert (levelling.left, levelling.spared) == (0, 3)


def test_an_upstream_whose_known_sessions_are_all_ending_does_not_keep_others_from_theirs() -> None:
    pool = pool_of(1, 1, 1)
    sessions = fill(pool, 7, 6, 0)
    levelling = begin_levelling(pool, sessions)
    assert levelling.left == 3
    for session in sessions:
        session.is_ending = session.upstream.name == "a"
    assert levelling.next().upstream.name == "b"


def test_an_upstream_that_goes_down_meanwhile_gives_no_more() -> None:
    pool = pool_of(1, 1)
    levelling = begin_levelling(pool, fill(pool, 10, 0))
    levelling.next()
    pool.upstreams[1].state = "down"
    assert levelling.next() is None
    assert (levelling.left, levelling.spared) == (0, 4)
