"""
Upstreams and the pool that holds them.  Pure: time comes in as a callable.

A pool says which upstreams may take a session now; its balancer chooses one of
them; a `Lease` counts the session there until it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Literal

from attrs import define, field
from zope.interface import implementer

from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.interfaces import IBalancer, IUpstream

__all__ = ["Lease", "Pool", "Upstream"]

Seconds = Callable[[], float]


@define(eq=False)
class Lease:
    """One session's place on an upstream, from the choice until the session's end."""

    upstream: Upstream
    _held: bool = field(default=True, init=False)

    def release(self) -> None:
        """Give the place back; only the first call counts, so every way out may call it."""
        if self._held:
            self._held = False
            self.upstream.active -= 1


@implementer(IUpstream)
@define(eq=False)
class Upstream:
    """
    One server of a pool.

    :param max_fails: failures within *fail_timeout* that make it look down; 0: never.
    :param fail_timeout: seconds that the failures are counted over, and that it
        then looks down for.
    :param seconds: the monotonic time, in seconds.
    :ivar down_until: it looks down before this time.
    """

    config: UpstreamConfig
    _max_fails: int
    _fail_timeout: float
    _seconds: Seconds
    name: str = field(init=False)
    url: str = field(init=False)
    weight: int = field(init=False)
    max_connections: int | None = field(init=False)
    backup: bool = field(init=False)
    active: int = field(default=0, init=False)
    state: Literal["ready", "drain", "down"] = field(default="ready", init=False)
    rtt: float | None = field(default=None, init=False)
    down_until: float = field(default=float("-inf"), init=False)
    _seen_up: bool = field(default=False, init=False)
    _on_trial: bool = field(default=False, init=False)
    _failures: deque[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.name = self.config.name
        self.url = self.config.url
        self.weight = self.config.weight
        self.max_connections = self.config.max_connections
        self.backup = self.config.backup
        self._failures = deque(maxlen=self._max_fails)

    @property
    def health(self) -> Literal["unknown", "up", "down"]:
        """What the last handshakes showed; 'unknown' also while it waits for a new trial."""
        if self._seconds() < self.down_until:
            return "down"
        return "up" if self._seen_up else "unknown"

    @property
    def has_room(self) -> bool:
        """Whether it is below its ``max_connections``."""
        return self.max_connections is None or self.active < self.max_connections

    def take(self) -> Lease:
        """
        Count one more session here, whatever the limits: `Pool.candidates` asks about those.

        Take in the same turn of the reactor in which the choice was made.
        """
        self.active += 1
        return Lease(self)

    def succeeded(self) -> bool:
        """
        Note a finished handshake: every earlier failure is forgotten.

        :returns: True if it had looked down.
        """
        was_down = self._on_trial
        self._seen_up = True
        self._on_trial = False
        self.down_until = float("-inf")
        self._failures.clear()
        return was_down

    def failed(self) -> bool:
        """
        Note a connect or a handshake that failed.

        Once it has looked down, one failure is enough to look down again, until
        a handshake succeeds: a dead server costs one try every ``fail_timeout``,
        not ``max_fails``.

        :returns: True if it looks down from now on, and had not before.
        """
        if not self._max_fails:
            return False
        now = self._seconds()
        self._failures.append(now)
        goes_down = not self._on_trial and self._fails_too_often(now)
        if self._on_trial or goes_down:
            self._seen_up = False
            self._on_trial = True
            self.down_until = now + self._fail_timeout
        return goes_down

    def _fails_too_often(self, now: float) -> bool:
        enough = len(self._failures) == self._max_fails
        return enough and now - self._failures[0] <= self._fail_timeout


class Pool:
    """
    The upstreams of one ``[pool:NAME]`` and the balancer that chooses among them.

    :param balancer: told of the upstreams by whoever makes the pool; see
        `wsrelay.pools.choosing.make_pool`.
    :param seconds: the monotonic time, in seconds.
    """

    def __init__(self, config: PoolConfig, balancer: IBalancer, seconds: Seconds) -> None:
        self.config = config
        self.name = config.name
        self.balancer = balancer
        self.upstreams = tuple(
            Upstream(upstream, config.max_fails, config.fail_timeout, seconds)
            for upstream in config.upstreams
        )
        self._seconds = seconds

    def candidates(self, tried: Collection[Upstream] = ()) -> tuple[Upstream, ...]:
        """
        Return those that may take a session now, in configuration order.

        They are ready, do not look down, have room, and are not in *tried*.
        Backups stand in when that leaves no primary.  When every upstream that
        is ready looks down, all of them count as up: a try may fail, a refusal
        surely does.  Empty: nothing may take it.

        :param tried: those that this handshake has failed on.
        """
        now = self._seconds()
        ready = [upstream for upstream in self.upstreams if upstream.state == "ready"]
        up = [upstream for upstream in ready if upstream.down_until <= now]
        free = [each for each in up or ready if each.has_room and each not in tried]
        return tuple([each for each in free if not each.backup]) or tuple(free)
