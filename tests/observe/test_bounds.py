"""What keeps label sets bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.observe import bounds
from wsrelay.observe.bounds import FORGOTTEN_AFTER, OTHER, Counts, Departures, Distinct

A, B = ("pool", "a"), ("pool", "b")


def test_counts_begin_at_one() -> None:
    counts: Counts[tuple[str, str]] = Counts()
    for key in (A, A, B):
        counts.add(key)
    assert counts == {A: 2, B: 1}


def test_of_too_many_counts_the_one_that_was_made_first_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "MAX_LABEL_SETS", 3)
    counts: Counts[int] = Counts()
    for key in (1, 2, 3, 1, 3, 4, 4):
        counts.add(key)
    assert counts == {2: 1, 3: 2, 4: 2}
    counts.add(1)
    assert counts == {3: 2, 4: 2, 1: 1}


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(0, 8))
def test_the_first_values_keep_their_names_and_all_others_share_one(
    values: list[str], limit: int
) -> None:
    distinct = Distinct(limit)
    first = list(dict.fromkeys(values))[:limit]
    assert [distinct.name(each) for each in values] == [
        each if each in first else OTHER for each in values
    ]


def test_an_upstream_is_overdue_after_it_was_gone_for_long_enough() -> None:
    departures = Departures()
    assert departures.overdue([A, B], {A, B}, 0.0) == set()
    assert departures.overdue([A, B], {A}, 100.0) == set()
    assert departures.overdue([A, B], {A}, 100.0 + FORGOTTEN_AFTER - 1) == set()
    assert departures.overdue([A, B], {A}, 100.0 + FORGOTTEN_AFTER) == {B}


def test_an_upstream_that_came_back_meanwhile_is_not_overdue() -> None:
    departures = Departures()
    departures.overdue([A], set(), 0.0)
    departures.overdue([A], {A}, 10.0)
    assert departures.overdue([A], set(), FORGOTTEN_AFTER + 5.0) == set()
    assert departures.overdue([A], set(), 2 * FORGOTTEN_AFTER + 5.0) == {A}


def test_of_an_upstream_that_nothing_is_kept_of_nothing_is_remembered() -> None:
    departures = Departures()
    departures.overdue([A], set(), 0.0)
    departures.overdue([], set(), 1.0)
    assert departures.overdue([A], set(), FORGOTTEN_AFTER) == set()
