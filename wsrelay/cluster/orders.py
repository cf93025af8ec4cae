"""Follows the orders that operators give at any relay of a cluster, and passes on this one's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from attrs import asdict, define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.admin.control import Control, Refused
from wsrelay.cluster.client import Redis
from wsrelay.cluster.connection import Away
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.order import Book, Order, parse
from wsrelay.cluster.scripts import SETTLE
from wsrelay.log import EveryLine, Logger
from wsrelay.pools.pool import Pool, Upstream

__all__ = ["READ_EVERY", "Orders"]

log = Logger()
orders_log = EveryLine()

READ_EVERY: Final = 15.0
"""Seconds between two times at which all orders are read, whatever was heard or missed."""


@define(eq=False)
class Orders:
    """
    What is ordered at one relay holds on all that have such a pool and such an upstream.

    Orders that nobody here can follow are kept, and hold when what they are about comes.
    Those that were given while Redis was away are passed on when it is back.

    :param name: of this relay.
    :param control: by which orders of others are carried out.
    :param now: seconds since the epoch.
    """

    name: str
    control: Control
    keys: Keys
    now: Callable[[], float] = time.time
    redis: Redis | None = None
    book: Book = field(factory=Book)
    _follows: bool = field(default=False, init=False)  # another relay's order
    _seen: dict[tuple[str, str], Upstream] = field(factory=dict, init=False)
    _pools: dict[str, Pool] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    # here

    def given(self, pool: str, upstream: str, state: str | None, weight: int | None) -> None:
        """Pass on what an operator has ordered here; empty *upstream*: of a whole pool."""
        if self._follows:
            return
        at, orders = round(self.now() * 1000), []
        if weight is not None:
            orders.append(self.book.give("weight", pool, upstream, weight, at, self.name))
        if state is not None:
            kind: Any = "state" if upstream else "pool"
            down = [] if upstream or state != "ready" else self.book.down(pool)
            orders.append(self.book.give(kind, pool, upstream, state, at, self.name))
            # A pool's drain is taken back, and not that single upstreams are down.
            orders += [self.book.give("state", pool, each, "down", at, self.name) for each in down]
        self._pass_on(orders)

    def pool_changed(self, pool: Pool) -> None:
        """Let orders that were given before hold for what has come, and weights for all."""
        orders = self.book.about(pool.name)
        if self._pools.get(pool.name) is not pool:
            self._pools[pool.name] = pool
        else:
            known = self._seen
            new = {e.name for e in pool.upstreams if known.get((pool.name, e.name)) is not e}
            # A reload gives an upstream the weight that relay.ini says, once that differs.
            orders = [each for each in orders if each.kind == "weight" or each.upstream in new]
        for key in [key for key in self._seen if key[0] == pool.name]:
            del self._seen[key]
        self._seen.update(((pool.name, each.name), each) for each in pool.upstreams)
        for order in orders:
            self._follow(order)

    def pool_gone(self, pool: Pool) -> None:
        """Forget a pool, but not the orders about it."""
        if self._pools.get(pool.name) is pool:
            del self._pools[pool.name]

    # elsewhere

    def begin(self) -> None:
        """Read all orders, now and from time to time; Redis is up."""
        self.pause()
        if self.redis is None or not self.redis.is_up:
            return
        self._timer = self.redis.reactor.callLater(READ_EVERY, self.begin)
        read: Deferred[Any] = self.redis.call("HGETALL", self.keys.orders)
        read.addCallbacks(self._read, _away)
        read.addErrback(_failed)

    def pause(self) -> None:
        """Read no more; Redis is away."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def standing(self) -> list[dict[str, Any]]:
        """Return the orders that hold, and are not those that take others back."""
        held = (each for each in self.book if self.book.holds(each) and not each.wants_nothing)
        return [asdict(each) for each in held]

    def heard(self, text: bytes) -> None:
        """Follow an order of another relay, if it is the latest."""
        order = parse(text)
        if order is not None and self.book.note(order):
            self._follow_all(order)

    def _read(self, answer: list[bytes]) -> None:
        found = [order for each in answer[1::2] if (order := parse(each)) is not None]
        missing = self.book.lacking(found)
        for order in sorted(found, key=lambda each: each.at):
            if self.book.note(order):
                self._follow_all(order)
        self._pass_on(missing)
        old = self.book.forget(round(self.now() * 1000))
        if old and self.redis is not None:
            self.redis.tell("HDEL", self.keys.orders, *(each.about for each in old))

    def _pass_on(self, orders: list[Order]) -> None:
        if orders and self.redis is not None:
            rows = [part for o in orders for part in (o.about, o.at, o.by, o.text)]
            settle = ("EVALSHA", SETTLE.sha, 1, self.keys.orders, self.keys.orders)
            self.redis.tell(*settle, *rows)

    # carrying them out

    def _follow_all(self, order: Order) -> None:
        """Follow an order, and again those about single upstreams that are later than it."""
        if not self.book.holds(order):
            return
        self._follow(order)
        if order.kind == "pool":
            for each in self.book.about(order.pool):
                if each.kind == "state":
                    self._follow(each)

    def _follow(self, order: Order) -> None:
        if self._is_followed(order):
            return
        done = maybeDeferred(self._carry_out, order)
        done.addCallbacks(lambda _: self._note(order), _refused)
        done.addErrback(_failed)

    def _is_followed(self, order: Order) -> bool:
        """Whether nothing is to be done: all is as it says, or it is about nothing here."""
        if order.kind == "pool":
            return self._is_pool_followed(order)
        upstream = self._seen.get((order.pool, order.upstream))
        if upstream is None:
            return True
        return order.value == (upstream.weight if order.kind == "weight" else upstream.state)

    def _is_pool_followed(self, order: Order) -> bool:
        pool = self._pools.get(order.pool)
        if pool is None:
            return True
        drained = [each.state == "drain" for each in pool.upstreams]
        if order.value == "drain":
            return pool.is_draining and all(drained)
        return not pool.is_draining and not any(drained)

    def _carry_out(self, order: Order) -> Any:
        self._follows = True
        try:
            if order.kind == "weight":
                return self.control.change_upstream(
                    order.pool, order.upstream, None, int(order.value)
                )
            if order.kind == "state":
                return self.control.change_upstream(
                    order.pool, order.upstream, str(order.value), None
                )
            if order.value == "ready":
                return self.control.ready(order.pool)
            return self.control.drain(order.pool)
        finally:
            self._follows = False

    def _note(self, order: Order) -> None:
        orders_log.info("{what}, by order of relay {by}", what=order.words, by=order.by)


def _refused(failure: Failure) -> None:
    """Keep an order about what this relay does not have."""
    failure.trap(Refused)


def _away(failure: Failure) -> None:
    failure.trap(Away)


def _failed(failure: Failure) -> None:
    log.failure("an order of another relay could not be followed", failure)
