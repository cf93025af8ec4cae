"""Another process acts between any two steps of a reader that holds no lock, or dies there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wsrelay.sharing import Region, Sizes
from wsrelay.sharing.counting import CountTable, SharedTally
from wsrelay.sharing.digests import Kind
from wsrelay.sharing.region import WIDTH
from wsrelay.sharing.timing import TimeTable

ONE_BUCKET = Sizes(names=WIDTH, clients=WIDTH, rates=WIDTH, sessions=WIDTH)
NOW = 1000.0


class DiedError(Exception):
    """The process is dead."""


class Stepwise:
    """Memory that a process uses step by step; *step* is called before each."""

    def __init__(self, memory: Any, step: Callable[[], None], *, writes: bool) -> None:
        self._memory = memory
        self._step = step
        self._writes = writes

    def __getitem__(self, where: Any) -> Any:
        if not self._writes:
            self._step()
        return self._memory[where]

    def __setitem__(self, where: Any, value: Any) -> None:
        if self._writes:
            self._step()
        self._memory[where] = value

    def find(self, *arguments: Any) -> int:
        if not self._writes:
            self._step()
        return int(self._memory.find(*arguments))


def once_at(number: int, act: Callable[[], None]) -> Callable[[], None]:
    """Return what acts the time of that number when it is called."""
    steps = iter(range(1000))

    def step() -> None:
        if next(steps) == number:
            act()

    return step


def die() -> None:
    raise DiedError


@pytest.fixture
def region() -> Iterator[Region]:
    region = Region.create(2, ONE_BUCKET)
    yield region
    region.close()


def mark(number: int) -> bytes:
    return b"%08d" % number


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("reads", range(6))
@pytest.mark.parametrize("asked", [0, 1, WIDTH])
def test_nobody_gets_the_value_of_another(
    region: Region, asked: int, reads: int, writes: int
) -> None:
    keys = [Kind(region.secret, "chat").key(mark(number)) for number in range(WIDTH + 1)]
    reader, writer = (TimeTable(region, region.layout.sessions) for _ in range(2))
    for number in range(WIDTH):
        reader.put(keys[number], NOW, NOW + 10 + number, mark(number))

    def write() -> None:
        step = once_at(writes, die)
        writer._map = Stepwise(region.map, step, writes=True)  # type: ignore[assignment]
        writer._times = Stepwise(region.times, step, writes=True)  # type: ignore[assignment]
        try:
            writer.put(keys[WIDTH], NOW, NOW + 100, mark(WIDTH))
        except DiedError:
            return

    step = once_at(reads, write)
    reader._map = Stepwise(region.map, step, writes=False)  # type: ignore[assignment]
    reader._times = Stepwise(region.times, step, writes=False)  # type: ignore[assignment]
    for _ in range(2):
        found = reader.get(keys[asked], NOW)
        assert found is None or found[1] == mark(asked)


@pytest.mark.parametrize("reads", range(6))
@pytest.mark.parametrize("has_moved", [True, False])
def test_nobody_gets_the_count_of_another(region: Region, reads: int, has_moved: bool) -> None:
    kind = Kind(region.secret, "chat")
    mine, others = (CountTable(region, region.layout.names, index) for index in range(2))
    asked, other, taker = kind.key(b"asked"), kind.key(b"other"), kind.key(b"taker")
    tally, theirs = SharedTally(mine, asked), SharedTally(others, asked)
    if has_moved:  # it was in the first slot once, which is another's now
        tally.add(1)
        tally.add(-1)
        SharedTally(others, other).add(50)
    theirs.add(3)
    assert SharedTally(others, asked).total == 3

    def take_over() -> None:
        theirs.add(-3)
        SharedTally(others, taker).add(700)

    step = once_at(reads, take_over)
    mine.map = Stepwise(region.map, step, writes=False)  # type: ignore[assignment]
    mine.words = Stepwise(region.words, step, writes=False)  # type: ignore[assignment]
    assert tally.total in (0, 3)
    assert tally.total in (0, 3)
    assert tally.own == 0
    assert sum(tally.parts) in (0, 3)
