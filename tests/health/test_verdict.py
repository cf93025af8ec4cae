"""A row of checks, against a reading of the rules from the whole history."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from wsrelay.health.verdict import Verdict


def ends_with(history: Sequence[bool], ok: bool, count: int) -> bool:
    return list(history[-count:]) == [ok] * count


def health_after(history: Sequence[bool], rise: int, fall: int) -> str:
    """Say what the upstream is, without counting anything."""
    if not history:
        return "unknown"
    before = health_after(history[:-1], rise, fall)
    if ends_with(history, False, fall):
        return "down"
    if before == "unknown" and history[-1]:
        return "up"
    if before == "down" and ends_with(history, True, rise):
        return "up"
    return before


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_health_follows_the_rules(history: list[bool], rise: int, fall: int) -> None:
    verdict = Verdict(rise, fall)
    assert verdict.health == "unknown"
    for number, ok in enumerate(history, 1):
        before = verdict.health
        flipped = verdict.note(ok)
        assert verdict.health == health_after(history[:number], rise, fall)
        assert flipped == (verdict.health != before)


@given(st.lists(st.booleans(), max_size=60))
def test_the_length_of_the_last_row_is_known(history: list[bool]) -> None:
    verdict = Verdict(2, 5)
    for ok in history:
        verdict.note(ok)
    row = max(n for n in range(len(history) + 1) if len(set(history[-n:] if n else [])) <= 1)
    is_good = bool(history) and history[-1]
    assert (verdict.successes, verdict.failures) == ((row, 0) if is_good else (0, row))


def test_one_success_makes_an_unknown_upstream_up_and_too_few_make_a_down_one_nothing() -> None:
    verdict = Verdict(rise=2, fall=3)
    assert [verdict.note(ok) for ok in (False, False, True)] == [False, False, True]
    assert verdict.health == "up"
    assert [verdict.note(ok) for ok in (False, False, False)] == [False, False, True]
    assert [verdict.note(ok) for ok in (True, False, True, True)] == [False, False, False, True]
    assert verdict.health == "up"
