"""What a relay does about orders of others, and which of its own it passes on."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from tests.config.samples import parsed
from wsrelay.admin.control import Refused
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.order import Order, parse
from wsrelay.cluster.orders import Orders
from wsrelay.pools.choosing import make_pool
from wsrelay.pools.pool import Pool

from .test_limits import FakeRedis

INI = "[listener:l]\nendpoint = tcp:1\n[route:r]\npool = p\n[pool:p]\nupstreams ="


def make(*names: str) -> Pool:
    lines = "".join(
        f"\n    ws://10.0.0.1:{number + 1} name={name}" for number, name in enumerate(names)
    )
    return make_pool(parsed(f"{INI}{lines}\n").pools[0], Clock())


@define(eq=False)
class Steered:
    """A relay of one pool, as far as orders go; it tells of each, as the real one does."""

    pool: Pool
    redis: FakeRedis = field(factory=FakeRedis)
    done: list[tuple[Any, ...]] = field(factory=list)
    orders: Orders = field(init=False)

    def __attrs_post_init__(self) -> None:
        control: Any = self
        redis: Any = self.redis
        self.orders = Orders("me", control, Keys("t"), lambda: 1.0, redis)
        self.orders.pool_changed(self.pool)

    def change_upstream(self, pool: str, name: str, state: Any, weight: Any) -> None:
        found = [each for each in self.pool.upstreams if each.name == name]
        if not found:
            raise Refused(404, "there is none")
        self.done.append((name, state, weight))
        found[0].state = state or found[0].state
        found[0].weight = weight or found[0].weight
        self.orders.given(pool, name, state, weight)

    def drain(self, pool: str) -> None:
        self._all("drain", "ready", "down")

    def ready(self, pool: str) -> None:
        self._all("ready", "drain")

    def _all(self, state: Any, *of: str) -> None:
        self.done.append(("", state, None))
        self.pool.is_draining = state == "drain"
        for each in self.pool.upstreams:
            each.state = state if each.state in of else each.state
        self.orders.given("p", "", state, None)

    def hears(self, kind: Any, name: str, value: str | int, at: int) -> None:
        self.orders.heard(Order(kind, "p", name, value, at, "other").text.encode())

    @property
    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in self.pool.upstreams}

    def passed_on(self) -> list[Order | None]:
        """Return the orders that Redis was given."""
        return [parse(text) for command in self.redis.told for text in command[8::4]]


def test_an_order_of_another_relay_is_followed_once_and_not_echoed() -> None:
    relay = Steered(make("a", "b"))
    relay.hears("state", "a", "drain", 5)
    relay.hears("state", "a", "drain", 5)
    relay.hears("weight", "a", 7, 5)
    assert relay.done == [("a", "drain", None), ("a", None, 7)]
    assert relay.redis.told == []


def test_an_order_that_is_earlier_is_not_followed() -> None:
    relay = Steered(make("a", "b"))
    relay.hears("state", "a", "down", 6)
    relay.hears("state", "a", "drain", 5)
    relay.hears("pool", "", "drain", 9)
    relay.hears("state", "b", "ready", 8)
    assert relay.states == {"a": "drain", "b": "drain"}
    relay.hears("state", "b", "ready", 10)
    assert relay.states == {"a": "drain", "b": "ready"}


def test_an_order_about_a_pool_that_comes_late_leaves_what_was_ordered_after_it() -> None:
    relay = Steered(make("a", "b"))
    relay.hears("state", "a", "down", 9)
    relay.hears("pool", "", "drain", 5)
    assert relay.states == {"a": "down", "b": "drain"}


def test_an_order_of_ones_own_is_passed_on_with_its_time() -> None:
    relay = Steered(make("a"))
    relay.change_upstream("p", "a", "drain", 3)
    relay.drain("p")
    assert relay.passed_on() == [
        Order("weight", "p", "a", 3, 1000, "me"),
        Order("state", "p", "a", "drain", 1001, "me"),
        Order("pool", "p", "", "drain", 1002, "me"),
    ]


def test_what_comes_later_gets_the_orders_that_were_given_before() -> None:
    relay = Steered(make("a"))
    relay.hears("state", "new", "down", 5)
    relay.hears("weight", "new", 9, 5)
    assert relay.done == []
    known = relay.pool.upstreams
    relay.pool.set_members("api", [make("x", "new").upstreams[1].config])
    relay.orders.pool_changed(relay.pool)
    assert relay.done == [("new", "down", None), ("new", None, 9)]
    assert relay.pool.upstreams[0] is known[0]
    relay.orders.pool_changed(relay.pool)
    assert len(relay.done) == 2


def test_what_is_as_it_was_ordered_is_left_alone() -> None:
    relay = Steered(make("a"))
    relay.hears("state", "a", "ready", 5)
    relay.hears("pool", "", "ready", 6)
    relay.hears("weight", "a", 1, 7)
    assert relay.done == []


def test_reading_all_follows_what_is_new_and_passes_on_what_redis_does_not_have() -> None:
    relay = Steered(make("a", "b"))
    relay.change_upstream("p", "a", "drain", None)
    relay.redis.told.clear()
    relay.done.clear()
    relay.orders.begin()
    ((command, answer),) = relay.redis.calls
    assert command == ("HGETALL", "t:orders")
    theirs = Order("state", "p", "b", "down", 7, "other")
    answer.callback([theirs.about.encode(), theirs.text.encode(), b"nonsense", b"{"])
    assert relay.done == [("b", "down", None)]
    assert relay.passed_on() == [Order("state", "p", "a", "drain", 1000, "me")]
    assert [each["upstream"] for each in relay.orders.standing()] == ["b", "a"]


def test_what_is_no_order_harms_nothing() -> None:
    relay = Steered(make("a"))
    for text in (b"", b"\xff", b"[]", json.dumps({"kind": "state"}).encode()):
        relay.orders.heard(text)
    assert relay.done == []


def test_a_pool_is_ready_again_with_all_that_were_drained_one_by_one() -> None:
    relay = Steered(make("a", "b"))
    relay.hears("state", "a", "drain", 5)
    relay.hears("pool", "", "ready", 6)
    assert relay.states == {"a": "ready", "b": "ready"}


def test_a_pool_that_is_drained_is_drained_again_with_those_that_were_let_in() -> None:
    relay = Steered(make("a", "b"))
    relay.hears("pool", "", "drain", 5)
    relay.hears("state", "a", "ready", 6)
    assert relay.states == {"a": "ready", "b": "drain"}
    relay.hears("pool", "", "drain", 7)
    assert relay.states == {"a": "drain", "b": "drain"}


def test_who_comes_later_learns_what_is_down_in_a_pool_that_was_made_ready() -> None:
    relay, late = Steered(make("a", "b")), Steered(make("a", "b"))
    relay.change_upstream("p", "a", "down", None)
    relay.ready("p")
    assert relay.states == {"a": "down", "b": "ready"}
    for order in relay.passed_on():
        assert order is not None
        late.orders.heard(order.text.encode())
    assert late.states == relay.states
    assert [each["value"] for each in late.orders.standing()] == ["down"]
    relay.drain("p")
    relay.ready("p")
    for order in relay.passed_on()[-2:]:
        assert order is not None
        late.orders.heard(order.text.encode())
    assert late.states == relay.states == {"a": "ready", "b": "ready"}


def test_a_weight_that_was_ordered_holds_when_a_reload_says_another() -> None:
    relay = Steered(make("a", "b"))
    relay.hears("weight", "a", 7, 5)
    changed = INI + "\n    ws://10.0.0.1:1 name=a weight=3\n    ws://10.0.0.1:2 name=b weight=3\n"
    relay.pool.update(parsed(changed).pools[0])
    relay.orders.pool_changed(relay.pool)
    assert {each.name: each.weight for each in relay.pool.upstreams} == {"a": 7, "b": 3}
