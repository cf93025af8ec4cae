"""How fast one of several processes closes sessions."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.relay.world import ROUTE, World
from wsrelay.config.model import Rate
from wsrelay.relay.shares import share_of


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
