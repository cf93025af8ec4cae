"""Orders that hold on several relays: the later one, however they arrive."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.cluster.order import KEPT, Book, Order, parse

STATES = st.sampled_from(["ready", "drain", "down"])
POOLS = st.sampled_from(["p", "q"])


@st.composite
def orders(draw: st.DrawFn) -> Order:
    at, by, pool = draw(st.integers(0, 5)), draw(st.sampled_from("xyz")), draw(POOLS)
    kind = draw(st.sampled_from(["pool", "state", "weight"]))
    value = draw(st.integers(1, 9) if kind == "weight" else STATES)
    # One relay gives no two orders about one thing at one time; see `Book.give`.
    fixed = {"pool": "drain", "state": "down", "weight": 3}[kind] if at else value
    name = "" if kind == "pool" else draw(st.sampled_from("ab"))
    return Order(kind, pool, name, fixed, at or 99, by if at else f"{by}{value}")


def noted(*given: Order) -> Book:
    book = Book()
    for order in given:
        book.note(order)
    return book


@given(st.lists(orders()), st.randoms(use_true_random=False))
def test_the_sequence_in_which_orders_arrive_makes_no_difference(
    given: list[Order], random
) -> None:  # type: ignore[no-untyped-def]
    mixed = [*given, *given]
    random.shuffle(mixed)
    assert list(noted(*mixed)) == list(noted(*given))


@given(st.lists(orders()), st.lists(orders()))
def test_two_that_have_told_each_other_what_the_other_lacks_agree(
    one: list[Order], other: list[Order]
) -> None:
    first, second = noted(*one), noted(*other)
    for order in first.lacking(list(second)):
        assert second.note(order)
    for order in second.lacking(list(first)):
        assert first.note(order)
    assert list(first) == list(second)
    assert first.lacking(list(second)) == []


@given(orders())
def test_an_order_can_be_written_and_read(order: Order) -> None:
    assert parse(order.text.encode()) == order


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"value": "up"},
        {"value": 3},
        {"value": None},
        {"at": "now"},
        {"at": True},
        {"pool": 3},
        {"pool": "x" * 2000},
        {"upstream": ""},
        {"kind": "weight"},
        {"kind": "weight", "value": 0},
        {"kind": "weight", "value": True},
        {"kind": "pool"},
        {"more": 1},
    ],
)
def test_what_is_no_order_is_none(change: dict[str, object]) -> None:
    good = json.loads(Order("state", "p", "a", "drain", 1, "x").text)
    assert parse(json.dumps(good).encode()) is not None
    assert parse(json.dumps({**good, **change}).encode()) is None


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"3", b"{}", b"[" * 100_000])
def test_any_bytes_are_an_order_or_none(text: bytes) -> None:
    assert parse(text) is None


def test_who_orders_knowing_of_an_order_overrides_it_however_the_clocks_differ() -> None:
    book = noted(Order("pool", "p", "", "drain", 5_000_000, "fast"))
    mine = book.give("state", "p", "a", "ready", 1_000, "slow")
    assert book.holds(mine)
    again = book.give("state", "p", "a", "down", 1_000, "slow")
    assert again.overrides(mine)


def test_an_order_about_a_pool_holds_for_its_upstreams_until_a_later_one() -> None:
    early = Order("state", "p", "a", "ready", 1, "x")
    whole = Order("pool", "p", "", "drain", 2, "x")
    late = Order("state", "p", "b", "ready", 3, "x")
    weight = Order("weight", "p", "a", 7, 1, "x")
    book = noted(late, whole, early, weight)
    assert book.about("p") == [weight, whole, late]
    assert book.about("q") == []


def test_what_takes_others_back_is_forgotten_when_all_have_heard_of_it() -> None:
    ready = Order("state", "p", "a", "ready", 1_000, "x")
    drain = Order("state", "p", "b", "drain", 1_000, "x")
    book = noted(ready, drain)
    assert book.forget(1_000 + KEPT) == []
    assert book.forget(1_001 + KEPT) == [ready]
    assert list(book) == [drain]
