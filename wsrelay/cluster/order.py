"""
Orders of operators that hold on several relays.  Pure.

An order says what is wanted of one thing: the state or the weight of an upstream, or the state
of a pool.  Of two orders about one thing the later one holds, wherever and in which sequence
they arrive; so relays that were apart agree when they have told each other all they know.
Orders say when they were given by the clock of the relay that took them, but never earlier
than any that this relay knew of the same pool: who orders knowing of an order overrides it,
however the clocks differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Literal

from attrs import asdict, define, field, frozen

__all__ = ["KEPT", "Book", "Order"]

Kind = Literal["pool", "state", "weight"]

KEPT: Final = 24 * 3600 * 1000
"""Milliseconds after which an order that wants nothing special any more is forgotten."""

_LONGEST: Final = 1000
_STATES: Final = ("ready", "drain", "down")


@frozen
class Order:
    """
    One order.

    :param upstream: empty where the pool as a whole is meant.
    :param value: ``ready``, ``drain`` or ``down``; or a weight.
    :param at: milliseconds since the epoch; see the module.
    :param by: the relay that was asked.
    """

    kind: Kind
    pool: str
    upstream: str
    value: str | int
    at: int
    by: str

    @property
    def about(self) -> str:
        """What it is about, as a name."""
        return json.dumps([self.kind, self.pool, self.upstream])

    @property
    def text(self) -> str:
        """All of it."""
        return json.dumps(asdict(self))

    @property
    def words(self) -> str:
        """What it says, for the log."""
        value = f"weight {self.value}" if self.kind == "weight" else self.value
        return f"{self.pool}/{self.upstream} {value}" if self.upstream else f"{self.pool} {value}"

    @property
    def wants_nothing(self) -> bool:
        """Whether it only takes another one back."""
        return self.value == "ready"

    def overrides(self, other: Order | None) -> bool:
        """Say whether it is later than another one about the same."""
        return other is None or (self.at, self.by) > (other.at, other.by)


def parse(text: bytes) -> Order | None:
    """Read an order; None: it is none, or of a later version's kind."""
    try:
        found = json.loads(text)
        order = Order(**found) if isinstance(found, dict) else None
    except (ValueError, TypeError, RecursionError):
        return None
    return order if order is not None and _makes_sense(order) else None


def _makes_sense(order: Order) -> bool:
    texts: tuple[Any, ...] = (order.pool, order.upstream, order.by)
    if not all(isinstance(each, str) and len(each) <= _LONGEST for each in texts):
        return False
    if type(order.at) is not int or bool(order.upstream) == (order.kind == "pool"):
        return False
    if order.kind == "weight":
        return type(order.value) is int and order.value > 0
    return order.kind in ("pool", "state") and order.value in _STATES


@define(eq=False)
class Book:
    """The orders that hold, and those that take others back."""

    _orders: dict[str, Order] = field(factory=dict, init=False)

    def __iter__(self) -> Any:
        """Return them in the sequence in which they were given."""
        return iter(sorted(self._orders.values(), key=lambda each: (each.at, each.by, each.about)))

    def note(self, order: Order) -> bool:
        """Take an order in; False: there is the same, or a later one."""
        if not order.overrides(self._orders.get(order.about)):
            return False
        self._orders[order.about] = order
        return True

    def give(
        self, kind: Kind, pool: str, upstream: str, value: str | int, at: int, by: str
    ) -> Order:
        """Note an order of an operator's, which overrides all of this pool."""
        latest = max((each.at for each in self._orders.values() if each.pool == pool), default=0)
        order = Order(kind, pool, upstream, value, max(at, latest + 1), by)
        self._orders[order.about] = order
        return order

    def holds(self, order: Order) -> bool:
        """Say whether an order about an upstream's state is later than that about its pool."""
        whole = self._orders.get(json.dumps(["pool", order.pool, ""]))
        return order.kind != "state" or order.overrides(whole)

    def about(self, pool: str) -> list[Order]:
        """Return the orders that hold for a pool and its upstreams, in sequence."""
        return [each for each in self if each.pool == pool and self.holds(each)]

    def down(self, pool: str) -> list[str]:
        """Return the upstreams of a pool that are to be down."""
        return [each.upstream for each in self.about(pool) if each.value == "down"]

    def lacking(self, others: Iterable[Order]) -> list[Order]:
        """Return what somebody who knows *others* does not know yet."""
        known = {each.about: each for each in others}
        return [each for each in self if each.overrides(known.get(each.about))]

    def forget(self, now: int) -> list[Order]:
        """Let go, and return, of orders that have wanted nothing for long."""
        old = [each for each in self if each.wants_nothing and each.at < now - KEPT]
        for each in old:
            del self._orders[each.about]
        return old
