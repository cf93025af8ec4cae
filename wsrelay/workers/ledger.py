"""What workers said last, and what stays of those that are dead.  Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final, Generic, TypeVar

from attrs import define, field

__all__ = ["Ledger"]

REMEMBERED: Final = 100
"""Dead workers whose last words are not taken any more when they come late."""

Said = TypeVar("Said")
Lasting = TypeVar("Lasting")


@define(eq=False)
class Ledger(Generic[Said, Lasting]):
    """
    Keeps the last words of each worker, so that no sum of counters ever falls.

    A worker is known by its number and its process; of one that is dead its counters are
    added to those of the dead before it.  What it counted after its last words is lost.

    :param lasting: returns the counters of what a worker said; *add* adds two of them.
    :param retired: the counters of the dead: of none, to begin with.
    """

    _lasting: Callable[[Said], Lasting]
    _add: Callable[[Lasting, Lasting], Lasting]
    retired: Lasting
    _last: dict[int, tuple[int, Said]] = field(factory=dict, init=False)
    _dead: deque[tuple[int, int]] = field(factory=lambda: deque(maxlen=REMEMBERED), init=False)

    def learn(self, number: int, pid: int, said: Said) -> None:
        """Take what a worker says."""
        if (number, pid) in self._dead:
            return
        if number in self._last and self._last[number][0] != pid:
            self._retire(number)
        self._last[number] = pid, said

    def keep(self, living: Mapping[int, int | None]) -> None:
        """Retire all workers but these: number -> process."""
        for number, (pid, _) in list(self._last.items()):
            if living.get(number) != pid:
                self._retire(number)

    @property
    def said(self) -> dict[int, Said]:
        """The last words of the living, by number."""
        return {number: said for number, (_, said) in sorted(self._last.items())}

    def change(self, numbers: Collection[int], change: Callable[[Said], Said]) -> None:
        """Put something else in the place of what some have said."""
        for number in numbers:
            pid, said = self._last[number]
            self._last[number] = pid, change(said)

    def _retire(self, number: int) -> None:
        pid, said = self._last.pop(number)
        self._dead.append((number, pid))
        self.retired = self._add(self.retired, self._lasting(said))
