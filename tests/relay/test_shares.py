"""How fast one of several processes closes sessions."""

from __future__ import annotations

import random
from typing import Any

import pytest
from attrs import define, evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.relay.world import ROUTE, World
from wsrelay.commons import OwnTally
from wsrelay.config.model import Rate
from wsrelay.relay.closing import Chosen, Closing, Terms
from wsrelay.relay.shares import share_of, turn_of


@define
class Part:
    """A number of which this process has a part."""

    own: int
    total: int

    def add(self, n: int) -> None:
        self.own += n
        self.total += n


def upstream(own: int, total: int) -> Any:
    return type("Upstream", (), {"tally": Part(own, total)})


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.floats(0.01, 1000))
def test_the_parts_of_all_processes_add_up_to_the_rate(counts: list[int], rate: float) -> None:
    total = sum(counts)
    parts = [share_of(Rate(rate), [upstream(each, total)]).per_second for each in counts]
    assert sum(parts) == pytest.approx(rate)


def test_the_sessions_of_all_upstreams_count_together() -> None:
    assert share_of(Rate(10.0, 8), [upstream(1, 10), upstream(4, 10)]) == Rate(2.5, 2)


def test_who_is_alone_has_all_of_it_and_who_has_nothing_can_still_be_given_something() -> None:
    assert share_of(Rate(10.0, 3), [upstream(0, 0)]) == Rate(10.0, 3)
    assert share_of(Rate(10.0, 3), [upstream(7, 7)]) == Rate(10.0, 3)
    assert share_of(Rate(10.0, 3), [upstream(0, 10)]) == Rate(1.0, 1)


@pytest.mark.parametrize("whose", ["relay", "pool", "upstream", "removed"])
def test_every_drain_goes_at_this_process_part_of_the_rate(whose: str) -> None:
    world = World(ROUTE, on_removed="drain")
    world.relay.config = evolve(world.relay.config, drain_rate=Rate(12.0))
    world.establish()
    first, drains = world.pool.upstreams[0], world.relay.drains
    first.tally = Part(1, 3)  # type: ignore[assignment]
    match whose:
        case "relay":
            closing = drains.drain_relay()
        case "pool":
            closing = drains.drain_pool(world.pool)
        case "upstream":
            closing = drains.drain_upstream(world.pool, first)
        case "removed":
            drains.lose(world.pool, first, "drain", "removed")
            closing = drains.running[first]
    assert closing.terms.rate == Rate(4.0)


@define
class Closed:
    """A session that says when it was closed."""

    clock: Clock
    times: list[float]
    route: Any = ROUTE

    def close(self, code: int, reason: str, why: str) -> None:
        self.times.append(self.clock.seconds())

    def abort(self) -> None:
        """End: it did not do so by itself."""

    __hash__ = object.__hash__


def times_of(terms: Terms, counts: list[int]) -> list[list[float]]:
    """Close so many sessions in each process; return when each was."""
    clock = Clock()
    found: list[list[float]] = [[] for _ in counts]
    for number, count in enumerate(counts):
        own = terms
        if terms.rate is not None:
            own = evolve(terms, rate=Rate(terms.rate.per_second * count / sum(counts)))
        own = evolve(own, offset=turn_of(Parts(counts), number))  # type: ignore[arg-type]
        sessions = [Closed(clock, found[number]) for _ in range(count)]
        Closing(clock, own, Chosen(lambda _: True)).begin(sessions)  # type: ignore[arg-type]
    clock.pump([0.01] * 1500)
    return found


@define
class Parts:
    parts: list[int]


@pytest.mark.parametrize("rate", [None, Rate(1)])
def test_processes_close_one_after_the_other(
    rate: Rate | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    terms = Terms("relay", "it stops", "drain", None if rate else 10.0, rate)
    first, nobody, second, third = times_of(terms, [4, 0, 4, 2])
    assert nobody == []
    assert sorted(map(len, (first, second, third))) == [2, 4, 4]
    assert first[0] == 0
    step = 2.5
    assert first == pytest.approx([0, step, 2 * step, 3 * step], abs=0.02)
    assert second == pytest.approx([step / 3 + each for each in first], abs=0.02)
    assert third == pytest.approx([10 / 3, 10 / 3 + 5], abs=0.02)


def test_what_is_closed_at_once_is_closed_at_once_in_every_process() -> None:
    assert times_of(Terms("relay", "it stops", "drain", 0.0), [2, 2]) == [[0, 0], [0, 0]]


def test_who_is_alone_or_has_nobody_begins_at_once() -> None:
    assert turn_of(Parts([3]), 0) == 0  # type: ignore[arg-type]
    assert turn_of(Parts([3, 0]), 1) == 0  # type: ignore[arg-type]
    assert turn_of(OwnTally(5), 0) == 0
