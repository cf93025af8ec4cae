"""What `Alone` and `SharedCommons` promise alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wsrelay.commons import ALONE, Commons
from wsrelay.sharing import Region, SharedCommons, Sizes

SMALL = Sizes(names=64, clients=256, rates=256, sessions=256)
A, B = b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"
HERE, THERE = b"mark----", b"another-"


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["alone", "shared by one", "shared by three"])
def commons(request: pytest.FixtureRequest) -> Iterator[Commons]:
    if request.param == "alone":
        yield ALONE
        return
    region = Region.create(1 if request.param == "shared by one" else 3, SMALL)
    yield SharedCommons(region, region.columns - 1)
    region.close()


def test_a_tally_is_what_was_added(commons: Commons) -> None:
    tally = commons.tally("upstream", "chat", "a")
    tally.add(3)
    tally.add(2)
    tally.add(-1)
    assert (tally.own, tally.total, sum(tally.parts)) == (4, 4, 4)
    assert tally.parts[commons.index] == 4


def test_a_tally_that_was_zero_counts_again(commons: Commons) -> None:
    tally = commons.tally("clients")
    for _ in range(3):
        tally.add(1)
        tally.add(-1)
        assert (tally.own, tally.total) == (0, 0)
    assert tally.add_below(1)
    assert tally.total == 1


def test_to_add_nothing_changes_nothing(commons: Commons) -> None:
    tally = commons.tally("clients")
    tally.add(0)
    assert tally.total == 0


def test_a_tally_never_gets_below_zero(commons: Commons) -> None:
    tally = commons.tally("clients")
    tally.add(-1)
    assert tally.total == 0
    tally.add(2)
    tally.add(-5)
    assert (tally.own, tally.total) == (0, 0)
    tally.add(1)
    assert tally.total == 1


def test_what_is_added_below_a_limit_stops_there(commons: Commons) -> None:
    tally = commons.tally("clients")
    assert [tally.add_below(2) for _ in range(4)] == [True, True, False, False]
    assert tally.total == 2
    assert tally.add_below(3)
    tally.add(5)
    assert not tally.add_below(8)
    assert not commons.tally("nobody").add_below(0)


def test_tallies_of_different_names_have_nothing_in_common(commons: Commons) -> None:
    tallies = [commons.tally(*name) for name in (("a", "b"), ("a",), ("ab",), ("a,b",), ())]
    for number, each in enumerate(tallies):
        each.add(number + 1)
    assert [each.total for each in tallies] == [1, 2, 3, 4, 5]


def test_clients_have_so_many_places(commons: Commons) -> None:
    counts = commons.counts("chat")
    places = [counts.take(A, 2) for _ in range(3)]
    assert [place is not None for place in places] == [True, True, False]
    assert (counts.of(A), counts.of(B), len(counts)) == (2, 0, 1)
    assert counts.take(B) is not None
    assert (counts.of(B), len(counts)) == (1, 2)


def test_a_place_is_given_back_once(commons: Commons) -> None:
    counts = commons.counts("chat")
    first, second = counts.take(A, 2), counts.take(A, 2)
    assert first is not None
    assert second is not None
    first.release()
    first.release()
    assert (counts.of(A), len(counts)) == (1, 1)
    second.release()
    assert (counts.of(A), len(counts)) == (0, 0)
    assert bool(counts) is False
    assert counts.take(A, 1) is not None


def test_routes_count_for_themselves(commons: Commons) -> None:
    one, other = commons.counts("one"), commons.counts("other")
    one.take(A)
    assert (one.of(A), other.of(A)) == (1, 0)


def test_a_count_without_a_limit_counts_for_one_with(commons: Commons) -> None:
    counts = commons.counts("chat")
    counts.take(A)
    counts.take(A)
    assert counts.take(A, 2) is None
    assert counts.take(A, 3) is not None


def test_so_many_may_come_at_once_and_then_so_many_a_second(commons: Commons) -> None:
    buckets = commons.buckets("chat", 2.0, 5.0)

    def passed(now: float) -> int:
        return sum(buckets.take(A, now) == 0 for _ in range(9))

    assert [passed(now) for now in (1e6, 1e6 + 1, 1e6 + 1.4, 1e6 + 1.5)] == [5, 2, 0, 1]
    assert passed(2e6) == 5
    assert buckets.take(B, 2e6) == 0


def test_it_says_when_there_is_a_token_again(commons: Commons) -> None:
    buckets = commons.buckets("chat", 0.25, 2.0)
    assert [buckets.take(A, 1e6) for _ in range(3)] == [0.0, 0.0, 4.0]
    assert buckets.take(A, 1e6 + 1) == 3.0
    assert buckets.take(A, 1e6 + 4) == 0.0


@pytest.mark.parametrize(
    ("before", "taken", "after", "left"),
    [
        ((1.0, 10.0), 10, (1.0, 10.0), 0),
        ((1.0, 10.0), 10, (100.0, 10.0), 0),
        ((1.0, 10.0), 4, (1 / 60, 10.0), 6),
        ((1.0, 10.0), 4, (1.0, 20.0), 16),
        ((1.0, 10.0), 4, (7.0, 5.0), 1),
        ((1.0, 10.0), 9, (1.0, 5.0), 0),
    ],
)
def test_who_has_taken_tokens_has_taken_them_when_limits_change(
    commons: Commons,
    before: tuple[float, float],
    taken: int,
    after: tuple[float, float],
    left: int,
) -> None:
    buckets = commons.buckets("chat", *before)
    assert [buckets.take(A, 1e6) for _ in range(taken)] == [0] * taken
    buckets.change(*after)
    assert sum(buckets.take(A, 1e6) == 0 for _ in range(30)) == left
    assert buckets.take(A, 1e6) == pytest.approx(1 / after[0])
    assert buckets.take(A, 1e6 + 1 / after[0]) == 0


def test_a_client_that_was_locked_out_for_long_is_not_after_a_change(commons: Commons) -> None:
    buckets = commons.buckets("chat", 1 / 3600, 1.0)
    assert [buckets.take(A, 1e6), buckets.take(A, 1e6)] == [0.0, pytest.approx(3600)]
    buckets.change(1.0, 1.0)
    assert buckets.take(A, 1e6 + 0.01) == pytest.approx(1, abs=0.02)
    assert buckets.take(A, 1e6 + 1.01) == 0


def test_routes_have_buckets_of_their_own(commons: Commons) -> None:
    one, other = commons.buckets("one", 1.0, 1.0), commons.buckets("other", 1.0, 1.0)
    assert one.take(A, 1e6) == other.take(A, 1e6) == 0
    assert one.take(A, 1e6) > 0


def test_a_session_is_remembered_for_a_time_after_its_last_use(commons: Commons) -> None:
    time = Time()
    memory = commons.memory("chat", "learnt", time, 60.0, 100)
    memory.put("sid", HERE)
    time.now += 59
    assert (memory.get("sid"), memory.get("other")) == (HERE, None)
    memory.put("sid", THERE)
    time.now += 59
    assert memory.get("sid") == THERE
    time.now += 1
    assert memory.get("sid") is None
    memory.put("sid", HERE)
    assert memory.get("sid") == HERE


def test_tables_and_pools_remember_for_themselves(commons: Commons) -> None:
    time = Time()
    memory = commons.memory("chat", "learnt", time, 60.0, 100)
    memory.put("sid", HERE)
    for pool, table in (("chat", "placed"), ("other", "learnt")):
        assert commons.memory(pool, table, time, 60.0, 100).get("sid") is None


def test_sessions_of_those_that_are_kept_stay(commons: Commons) -> None:
    memory = commons.memory("chat", "learnt", Time(), 60.0, 100)
    memory.put("sid", HERE)
    memory.keep({HERE, THERE})
    assert memory.get("sid") == HERE


@pytest.mark.parametrize("key", ["é", "\udc80", "x" * 256, "\0"])
def test_any_text_names_a_session(commons: Commons, key: str) -> None:
    memory = commons.memory("chat", "learnt", Time(), 60.0, 100)
    memory.put(key, HERE)
    assert memory.get(key) == HERE
