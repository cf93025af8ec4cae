"""``handshakes_per_ip``: how often each client may come."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

from attrs import define, field

__all__ = ["MAX_CLIENTS", "Buckets"]

MAX_CLIENTS: Final = 100_000
"""Clients that are remembered at once.  Beyond, the one that has not come for longest goes."""

_NEARLY: Final = 1e-6
"""Of a token: what sums of floats may be short of."""


@define(eq=False)
class Buckets:
    """
    A bucket of tokens for each client, kept as one number: the time at which it is full.

    Of a full bucket nothing needs to be remembered.  They stand in the order in which their
    clients came last, and each call forgets up to two that are full again, more than it adds:
    so it costs the same however many there are.

    :ivar per_second: tokens that come back to each.
    :ivar size: tokens in a full one, 1 at least.
    :ivar most: clients that are remembered at once.
    """

    per_second: float
    size: float
    most: int = MAX_CLIENTS
    _full_at: OrderedDict[bytes, float] = field(factory=OrderedDict, init=False)
    _time: float = field(default=0.0, init=False)  # of its own, which is never set back
    _seen: float | None = field(default=None, init=False)  # on the clock

    def __len__(self) -> int:
        """Return the number of clients that are remembered."""
        return len(self._full_at)

    def take(self, key: bytes, now: float) -> float:
        """
        Take a token, if there is one.

        :param key: whose; see `wsrelay.guards.keys.key_of`.
        :param now: seconds.  While a clock that was set back catches up, no token comes back
            but those of the time that passes.
        :returns: 0: it was taken; else seconds until there is one, and nothing was taken.
        """
        time = self._pass(now)
        full_at = max(self._full_at.get(key, time), time)
        missing = (full_at - time) * self.per_second + 1  # with this one
        wait = (missing - self.size) / self.per_second if missing > self.size + _NEARLY else 0.0
        self._remember(key, full_at if wait else full_at + 1 / self.per_second)
        self._forget()
        return wait

    def change(self, per_second: float, size: float) -> None:
        """Go on with other limits; who has taken tokens has taken them."""
        for key, full_at in self._full_at.items():
            missing = max(full_at - self._time, 0.0) * self.per_second
            self._full_at[key] = self._time + min(missing, size) / per_second
        self.per_second, self.size = per_second, size

    def _pass(self, now: float) -> float:
        if self._seen is not None:
            self._time += max(now - self._seen, 0.0)
        self._seen = now
        return self._time

    def _remember(self, key: bytes, full_at: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self.most:
            self._full_at.popitem(last=False)

    def _forget(self) -> None:
        for key in tuple(islice(self._full_at, 2)):
            if self._full_at[key] > self._time:
                return
            del self._full_at[key]
