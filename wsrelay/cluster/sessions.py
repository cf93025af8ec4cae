"""
The tables of ``sticky-sid`` over several relays.

What a relay learns it writes at once, and before the client knows it, whose next request may
come by another relay.  What a relay does not know it asks for, once.  Only what was learnt is
shared, and not where unknown ids were placed by their hash, which is the same everywhere: so
made-up ids are asked for, but fill nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsrelay.cluster.client import Redis
from wsrelay.cluster.connection import Away
from wsrelay.cluster.keys import Keys
from wsrelay.commons import MARK_SIZE
from wsrelay.interfaces import IHandshake, IRecallingBalancer
from wsrelay.log import Logger
from wsrelay.pools.pool import Pool

__all__ = ["MOST", "Sessions"]

log = Logger()

MOST: Final = 100_000
"""Sessions of which a relay remembers that it has written them; of others it writes again."""

BATCH: Final = 200
"""Sessions that are written in one turn, when Redis knows none of them."""


@define
class _Written:
    """A session that was written: where it is, for how long, and when that was."""

    mark: bytes
    ttl: float
    at: float


@define(eq=False)
class Sessions:
    """What `sticky-sid` of this relay and those of others tell each other; a pool's `Elsewhere`."""

    keys: Keys
    seconds: Callable[[], float]
    redis: Redis | None = None
    _telling: Deferred[None] | None = field(default=None, init=False)  # the last one
    _written: OrderedDict[tuple[str, str], _Written] = field(factory=OrderedDict, init=False)

    def attach(self, pool: Pool) -> None:
        """Let a pool's balancer take part, if it is one that can."""
        if IRecallingBalancer.providedBy(pool.balancer):
            balancer = cast(Any, pool.balancer)
            balancer.tell_of(partial(self.tell, pool.name, float(balancer.ttl)))
            pool.elsewhere = None if self.redis is None else self
        else:
            pool.elsewhere = None

    def ask(self, pool: Pool, request: IHandshake) -> Deferred[None] | None:
        """Find out where a request belongs; see `wsrelay.pools.pool.Elsewhere`."""
        if self.redis is None or not self.redis.is_up:
            return None
        balancer = cast(Any, pool.balancer)
        key = balancer.missing(request)
        if not key:
            return None

        def found(mark: bytes | None) -> None:
            if mark is not None and len(mark) == MARK_SIZE:
                balancer.recall(key, mark)

        return self.redis.call("GET", self.keys.session(pool.name, key)).addCallbacks(found, _away)

    def tell(self, pool: str, ttl: float, key: str, mark: bytes) -> None:
        """Write where a session is, unless it stands there for half of its time at least."""
        name, now = (pool, key), self.seconds()
        known = self._written.get(name)
        if known is not None and known.mark == mark and now - known.at < ttl / 2:
            return
        self._written[name] = _Written(mark, ttl, now)
        self._written.move_to_end(name)
        while len(self._written) > MOST:
            self._written.popitem(last=False)
        self._write(name)

    def told(self) -> Deferred[None] | None:
        """Return what fires when Redis has what was written last; see `Elsewhere`."""
        telling, self._telling = self._telling, None
        return telling

    def publish(self) -> None:
        """Write all that was written before and may be in use; Redis has forgotten it."""
        now = self.seconds()
        self._publish_some(
            iter([name for name, each in self._written.items() if now - each.at < each.ttl])
        )

    def _publish_some(self, left: Iterator[tuple[str, str]]) -> None:
        if self.redis is None or not self.redis.is_up:
            return
        some = list(islice(left, BATCH))
        for name in some:
            self._write(name)
        if some:  # the answer to this says that Redis has taken the others
            asked = self.redis.call("PING")
            asked.addCallbacks(lambda _: self._publish_some(left), _away)

    def _write(self, name: tuple[str, str]) -> None:
        if self.redis is not None and self.redis.is_up and name in self._written:
            each = self._written[name]
            seconds = max(round(each.ttl), 1)
            written = self.redis.call("SET", self.keys.session(*name), each.mark, "EX", seconds)
            self._telling = written.addCallbacks(_done, _away)


def _done(_: object) -> None:
    """Be told that it is written."""


def _away(failure: Failure) -> None:
    """Go on with what is known here."""
    failure.trap(Away)
