from __future__ import annotations

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from wsrelay.turns import LOOK, PAUSE, SLACK, Turns


@define
class FakeTally:
    parts: list[int]
    index: int = 0

    @property
    def own(self) -> int:
        return self.parts[self.index]


@define(eq=False)
class FakePort:
    connected: bool = True
    disconnecting: bool = False
    reads: bool = field(default=True, init=False)

    def startReading(self) -> None:  # noqa: N802
        self.reads = True

    def stopReading(self) -> None:  # noqa: N802
        self.reads = False


def turns_with(clients: list[int], present: list[int] | None = None) -> tuple[Turns, Clock]:
    clock = Clock()
    here = present if present is not None else [1] * len(clients)
    return Turns(clock, FakeTally(clients), FakeTally(here)), clock  # type: ignore[arg-type]


def test_who_has_as_few_as_the_others_accepts() -> None:
    turns, _ = turns_with([10 + SLACK, 10, 12])
    assert all(turns.may_accept() for _ in range(5))


def test_who_has_more_than_another_looks_away_for_a_moment() -> None:
    turns, clock = turns_with([11 + SLACK, 10])
    port = FakePort()
    turns.watch(port)
    assert not turns.may_accept()
    assert not port.reads
    assert not turns.may_accept()  # Twisted may have begun to accept a hundred in a row
    clock.advance(PAUSE)
    assert port.reads


def test_after_that_it_accepts_one_in_case_nobody_else_does() -> None:
    turns, clock = turns_with([100, 0])
    turns.watch(FakePort())
    for _ in range(3):
        assert not turns.may_accept()
        clock.advance(PAUSE)
        assert turns.may_accept()


def test_who_is_not_there_is_nobody_to_wait_for() -> None:
    turns, _ = turns_with([100, 0, 99], [1, 0, 1])
    assert turns.may_accept()


def test_alone_or_while_all_begin_it_accepts() -> None:
    assert turns_with([1000], [1])[0].may_accept()
    assert turns_with([SLACK, 0], [0, 0])[0].may_accept()


def test_a_port_that_comes_or_goes_meanwhile_is_treated_as_the_others() -> None:
    turns, clock = turns_with([100, 0])
    first, late, gone = FakePort(), FakePort(), FakePort(disconnecting=True)
    turns.watch(first)
    turns.watch(gone)
    turns.may_accept()
    turns.watch(late)
    assert not late.reads
    clock.advance(PAUSE)
    assert late.reads
    assert not gone.reads


def test_without_ports_no_timer_is_left() -> None:
    turns, clock = turns_with([100, 0])
    port = FakePort()
    turns.watch(port)
    turns.may_accept()
    turns.forget(port)
    turns.forget(port)
    assert clock.getDelayedCalls() == []


def test_who_comes_only_after_that_may_well_go_to_another() -> None:
    turns, clock = turns_with([100, 0])
    turns.watch(FakePort())
    assert not turns.may_accept()
    clock.advance(PAUSE)
    clock.advance(LOOK)
    assert not turns.may_accept()


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_whoever_looks_first_clients_end_nearly_even(order: list[bool]) -> None:
    clients, clock = [0, 0], Clock()
    both = [
        Turns(clock, FakeTally(clients, number), FakeTally([1, 1]))  # type: ignore[arg-type]
        for number in (0, 1)
    ]
    for second in order:
        taker = second if both[second].may_accept() else not second
        clients[taker] += 1
        clock.advance(PAUSE)
        clock.advance(LOOK)
    assert abs(clients[0] - clients[1]) <= SLACK + 1 + min(clients) // 50
