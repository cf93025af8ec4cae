"""How many sessions each client has."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from wsrelay.guards.counts import Counts, Place


def test_a_place_counts_until_it_is_given_back() -> None:
    counts = Counts()
    first, second = counts.take(b"a"), counts.take(b"a")
    other = counts.take(b"b")
    assert (counts.of(b"a"), counts.of(b"b"), counts.of(b"c")) == (2, 1, 0)
    first.release()
    assert counts.of(b"a") == 1
    second.release()
    other.release()
    assert (counts.of(b"a"), counts.of(b"b")) == (0, 0)


def test_giving_back_twice_takes_nothing_from_the_others() -> None:
    counts = Counts()
    first, second = counts.take(b"a"), counts.take(b"a")
    first.release()
    first.release()
    assert counts.of(b"a") == 1
    second.release()
    first.release()
    assert counts.of(b"a") == 0


def test_a_client_without_any_is_forgotten() -> None:
    counts = Counts()
    places = [counts.take(bytes([number])) for number in range(100)]
    assert len(counts) == 100
    for place in places:
        place.release()
    assert len(counts) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20))))
def test_the_counts_are_those_that_are_held(steps: list[tuple[str, int]]) -> None:
    counts = Counts()
    taken: list[tuple[str, Place]] = []
    held: dict[int, str] = {}
    for name, number in steps:
        if number < len(taken):
            taken[number][1].release()
            held.pop(number, None)
        else:
            held[len(taken)] = name
            taken.append((name, counts.take(name.encode())))
        expected = Counter(held.values())
        assert {each: counts.of(each.encode()) for each in "abc"} == {
            each: expected[each] for each in "abc"
        }
        assert len(counts) == len(expected)
