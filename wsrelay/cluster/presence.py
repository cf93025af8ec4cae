"""
Who takes part: each process gives a sign of life every two seconds.

One that gives none for ten seconds is dead, and what it had counted counts no more.  Each
connection makes a process another participant: what it wrote by an earlier one, and may have
been unable to take back, is void at once, and all that is true is written anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.cluster.client import Redis
from wsrelay.cluster.connection import Argument, Away, RedisConnection
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.scripts import ALL, BEAT

__all__ = ["BEATS", "DEAD_AFTER", "Presence"]

BEATS: Final = 2.0
"""Seconds between two signs of life."""

DEAD_AFTER: Final = 10.0
"""Seconds without one."""


@define(eq=False)
class Presence:
    """
    Keeps one process alive in Redis.

    :param name: of the process; see `wsrelay.cluster.keys.new_name`.
    :ivar me: who it is by this connection.
    """

    name: str
    keys: Keys
    on_new: Callable[[str], None]
    """Called when Redis knows nothing of this process, but its new name: write all."""
    me: str = field(default="", init=False)
    _turn: int = field(default=0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def prepare(self, connection: RedisConnection) -> Deferred[Any]:
        """Make a new connection fit for use."""
        return Deferred.fromCoroutine(self._prepare(connection))

    async def _prepare(self, connection: RedisConnection) -> None:
        """Load the scripts, and give the first sign of life: all that is needed can be done."""
        for script in ALL:
            await connection.call("SCRIPT", "LOAD", script.text)
        await connection.call(*self._renamed())

    def begin(self, redis: Redis) -> None:
        """Go on with it; Redis is up."""
        self.on_new(self.me)
        self._timer = redis.reactor.callLater(BEATS, self._beat, redis)

    def pause(self) -> None:
        """Stop for as long as Redis is away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self, redis: Redis) -> None:
        """Take part no more."""
        self.pause()
        redis.tell("ZREM", self.keys.alive, self.me)

    def _renamed(self) -> tuple[Argument, ...]:
        """Become another participant; return the command that says so."""
        old, self._turn = self.me, self._turn + 1
        self.me = f"{self.name}.{self._turn}"
        return self._sign(old)

    def _sign(self, old: str = "") -> tuple[Argument, ...]:
        return ("EVALSHA", BEAT.sha, 1, self.keys.alive, self.me, round(DEAD_AFTER * 1000), old)

    def _beat(self, redis: Redis) -> None:
        self._timer = redis.reactor.callLater(BEATS, self._beat, redis)
        beaten: Deferred[Any] = redis.call(*self._sign())
        beaten.addCallbacks(partial(self._beaten, redis), _away)

    def _beaten(self, redis: Redis, was_known: int) -> None:
        """Begin anew if Redis had forgotten: it was emptied, or another took its place."""
        if not was_known and redis.is_up:
            redis.tell(*self._renamed())
            self.on_new(self.me)


def _away(failure: Failure) -> None:
    failure.trap(Away)
