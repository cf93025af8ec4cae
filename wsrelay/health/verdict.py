"""What a row of checks says of an upstream; pure."""

from __future__ import annotations

from typing import Literal

from attrs import define, field

Health = Literal["unknown", "up", "down"]


@define
class Verdict:
    """
    Counts successes and failures in a row, and knows whether the upstream is up.

    The first success of an upstream that nothing is known of makes it up at once: it may
    be the only one.

    :param rise: successes in a row that make a down one up.
    :param fall: failures in a row that make one down.

    *successes* and *failures* are the length of the row that lasts; one of them is 0.
    """

    rise: int
    fall: int
    health: Health = field(default="unknown", init=False)
    successes: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)

    def note(self, ok: bool) -> bool:
        """Count one check; return whether `health` became another."""
        before = self.health
        if ok:
            self.successes, self.failures = self.successes + 1, 0
            if before == "unknown" or self.successes >= self.rise:
                self.health = "up"
        else:
            self.successes, self.failures = 0, self.failures + 1
            if self.failures >= self.fall:
                self.health = "down"
        return self.health != before
