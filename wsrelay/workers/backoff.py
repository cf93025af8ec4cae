"""How long to wait before a process that has died gets a successor.  Pure."""

from __future__ import annotations

from typing import Final

from attrs import define, field

__all__ = ["LONGEST", "STEADY", "Backoff"]

SHORTEST: Final = 0.5
"""Seconds before the second of those that die young has a successor; then twice as many."""

LONGEST: Final = 30.0
"""Seconds between two attempts, at most."""

STEADY: Final = 30.0
"""Seconds after which a process has not died young."""


@define
class Backoff:
    """Counts those of one place that have died young, one after the other."""

    _young: int = field(default=0, init=False)

    def died(self, lived: float) -> float:
        """
        Note that a process has died that *lived* so many seconds.

        :returns: the seconds to wait: none after the first.
        """
        self._young = 1 if lived >= STEADY else min(self._young + 1, 20)
        return 0.0 if self._young == 1 else min(SHORTEST * 2.0 ** (self._young - 2), LONGEST)
