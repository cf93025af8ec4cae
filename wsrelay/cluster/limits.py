"""
``connections_per_ip`` and ``handshakes_per_ip`` over several relays.

Each relay has counted by itself before it asks; so who floods one relay is refused there, and
Redis is asked no more often for one client than that client's own rate.

What stands in Redis is never added to or taken from: each participant writes how many sessions
of a client *it* has, so that nothing drifts, whatever is lost or comes twice.  A participant
that gives no sign of life does not count; see `Presence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.cluster.client import Redis
from wsrelay.cluster.connection import Argument, Away
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.scripts import ADMIT, COUNT
from wsrelay.relay.gate import Limit

__all__ = ["BATCH", "KEPT", "RENEWED", "Limits"]

KEPT: Final = 600.0
"""Seconds that a count stays in Redis without being written again."""

RENEWED: Final = 120.0
"""Seconds between two times at which a relay writes all its counts."""

BATCH: Final = 500
"""Counts that are written at once; a millisecond of Redis' time."""


@define(eq=False)
class _Held:
    """A session's part of a count."""

    limits: Limits
    limit: Limit
    _give_back: Callable[[], None]
    _held: bool = field(default=True, init=False)

    def release(self) -> None:
        if self._held:
            self._held = False
            self._give_back()
            self.limits._fewer(self.limit)


@define(eq=False)
class Limits:
    """
    What the relays' clients have on this relay, and may have on all; a `wsrelay.relay.gate.Gate`.

    It outlives connections, and a change of ``[cluster]``: what it has counted stays.

    :ivar redis: None while nothing is shared.
    :ivar me: who this participant is at the moment.
    """

    keys: Keys
    redis: Redis | None = None
    me: str = ""
    _own: dict[tuple[str, bytes], int] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _left: Iterator[tuple[str, bytes]] | None = field(default=None, init=False)

    def hold(self, limit: Limit, give_back: Callable[[], None]) -> Callable[[], None]:
        """Count a session here; see `Gate`."""
        key = limit.route, limit.key
        self._own[key] = self._own.get(key, 0) + 1
        return _Held(self, limit, give_back).release

    def ask(self, limit: Limit) -> Deferred[float] | None:
        """Ask Redis, if it is there; see `Gate`."""
        if self.redis is None or not self.redis.is_up:
            return None
        per_second, size = limit.rate or (0.0, 0.0)
        interval = 1e6 / per_second if per_second else 0.0
        keys = self.keys.count(limit.route, limit.key), self.keys.rate(limit.route, limit.key)
        asked = self.redis.call(
            *("EVALSHA", ADMIT.sha, 3, self.keys.alive, *keys),
            *(self.me, self._own.get((limit.route, limit.key), 0), limit.most or 0),
            *(f"{interval:.3f}", f"{max(size - 1, 0) * interval:.3f}", round(KEPT * 1000)),
        )
        return asked.addCallbacks(_seconds, _nobody_knows)

    def publish(self) -> None:
        """Write all counts, some at a time; called when Redis knows none of them."""
        self.pause()
        self._left = iter(list(self._own))
        self._write_some()

    def pause(self) -> None:
        """Write nothing more; Redis is away."""
        self._left = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fewer(self, limit: Limit) -> None:
        key = limit.route, limit.key
        left = self._own.pop(key) - 1
        if left:
            self._own[key] = left
        if self.redis is not None and self.redis.is_up:
            self.redis.tell(*self._written([key]))

    def _written(self, keys: list[tuple[str, bytes]]) -> tuple[Argument, ...]:
        """Return the command that writes some counts."""
        names = [self.keys.count(*each) for each in keys]
        counts = [self._own.get(each, 0) for each in keys]
        begin = ("EVALSHA", COUNT.sha, len(keys))
        return (*begin, *names, self.me, round(KEPT * 1000), *counts)

    def _write_some(self, _: object = None) -> None:
        if self._left is None or self.redis is None or not self.redis.is_up:
            return
        some = list(islice(self._left, BATCH))
        if some:
            written = self.redis.call(*self._written(some))
            written.addCallbacks(self._write_some, _nobody_knows)
        else:
            self._left = None
            self._timer = self.redis.reactor.callLater(RENEWED, self._renew)

    def _renew(self) -> None:
        self._timer = None
        self.publish()


def _seconds(answer: int) -> float:
    return answer / 1000 if answer > 0 else float(answer)


def _nobody_knows(failure: Failure) -> float:
    """Let in whom this relay would let in by itself: Redis did not answer."""
    failure.trap(Away)
    return 0.0
