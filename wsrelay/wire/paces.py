"""
Paces: so many a second, and how many at once.

Token buckets.  `wsrelay/relay/native/pace.c` computes the same, to the last bit.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

STEP: Final = 0.05
"""Seconds' worth of room that is waited for, so that a fast pace is not kept up one by one."""

_UNITS: Final = {"second": 1, "minute": 60}


@frozen
class Pace:
    """*per_second* as a rule, and up to *burst*, at least 1, at once."""

    per_second: float
    burst: float

    @property
    def enough(self) -> float:
        """How much room is worth an end of the wait for it; never more than there can be."""
        return max(1.0, min(self.burst / 2, self.per_second * STEP))

    def say(self, what: str) -> str:
        """Say what is more than this: ``more than 10 messages a second``."""
        for unit, seconds in _UNITS.items():
            count = self.per_second * seconds
            if count > 0.5 and abs(count - round(count)) < 1e-6:
                return f"more than {count:.0f} {what}{'s' * (round(count) != 1)} a {unit}"
        return f"more than {self.per_second:.3g} {what}s a second"


@define(eq=False)
class Bucket:
    """
    The room that a pace leaves at a moment.

    A clock that is set back gives no room, and takes none away.
    """

    pace: Pace
    room: float = field(init=False)
    _filled_at: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.room = self.pace.burst

    def fill(self, now: float) -> None:
        """Add the room of the time since the last call; *now* in seconds."""
        elapsed = now - self._filled_at
        self._filled_at = now
        if elapsed > 0:
            self.room = min(self.pace.burst, self.room + elapsed * self.pace.per_second)

    def take(self) -> bool:
        """Take room for one; False, and nothing changes, if there is none."""
        if self.room < 1.0:
            return False
        self.room -= 1.0
        return True

    def take_up_to(self, count: int) -> int:
        """Take room for as many of *count* as there is; return for how many that was."""
        taken = min(count, int(self.room))
        self.room -= taken
        return taken

    @property
    def wait(self) -> float:
        """Seconds from the last `fill` until there is enough room."""
        return max(0.0, (self.pace.enough - self.room) / self.pace.per_second)
