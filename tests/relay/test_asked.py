"""Handshakes about which other relays are asked, when this one has nothing against them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from tests.relay.support import FakeTransport
from tests.relay.test_admission import Says
from tests.relay.world import REQUEST, ROUTE, SWITCHING, Answer, World, answer_in
from wsrelay.config.model import PluginCall, Rate, RouteConfig
from wsrelay.interfaces import Deny
from wsrelay.relay.admission import Policies
from wsrelay.relay.gate import Limit
from wsrelay.relay.reconfigure import prepare

GET = b"GET /page HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"
TWO = evolve(ROUTE, connections_per_ip=2)
BOTH = evolve(TWO, handshakes_per_ip=Rate(10.0, 20))
RARE = evolve(ROUTE, handshakes_per_ip=Rate(10.0))


@define(eq=False)
class Elsewhere:
    """The other relays: what they are asked, and what they are told that this one has."""

    is_there: bool = True
    asked: list[tuple[Limit, Deferred[float]]] = field(factory=list)
    held: int = 0

    def hold(self, limit: Limit, give_back: Callable[[], None]) -> Callable[[], None]:
        self.held += 1

        def release() -> None:
            give_back()
            self.held -= 1

        return release

    def ask(self, limit: Limit) -> Deferred[float] | None:
        if not self.is_there:
            return None
        self.asked.append((limit, Deferred()))
        return self.asked[-1][1]

    def say(self, seconds: float) -> None:
        self.asked.pop(0)[1].callback(seconds)


def world_with(route: RouteConfig = TWO) -> tuple[World, Elsewhere]:
    world, gate = World(route), Elsewhere()
    world.relay.gate = gate
    return world, gate


def here(world: World) -> int:
    """Return how many of the client this relay counts by itself."""
    guards = world.relay.guards.of("chat")
    assert guards is not None
    return guards.counts.of(bytes([192, 0, 2, 7]))


def answered(world: World, client: FakeTransport) -> Answer:
    world.settle()
    return answer_in(client)


def ask(world: World, request: bytes = REQUEST) -> FakeTransport:
    client = world.client()
    world.send(client, request)
    return client


def check_nothing_is_left(world: World, gate: Elsewhere) -> None:
    assert (here(world), gate.held) == (0, 0)
    assert not world.relay.admissions


def test_a_client_that_may_come_goes_on_and_is_counted_until_it_leaves() -> None:
    world, gate = world_with(BOTH)
    client = ask(world)
    ((limit, _),) = gate.asked
    assert limit == Limit("chat", bytes([192, 0, 2, 7]), 2, (10.0, 20))
    assert world.names_dialled() == []
    gate.say(0)
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    assert answered(world, client).status == 101
    assert (here(world), gate.held) == (1, 1)
    world.reset(client)
    world.reset(upstream)
    world.settle()
    check_nothing_is_left(world, gate)


@pytest.mark.parametrize(
    ("said", "refusal", "wait"),
    [(-1.0, "too-many-connections", b"5"), (2.3, "too-many-handshakes", b"3")],
)
def test_a_client_that_may_not_is_told_as_by_this_relay(
    said: float, refusal: str, wait: bytes
) -> None:
    world, gate = world_with(BOTH)
    client = ask(world)
    gate.say(said)
    answer = answered(world, client)
    assert answer.status == 429
    assert answer.header(b"Retry-After") == wait
    assert world.observer.refused_facts[0].refusal == refusal
    assert world.names_dialled() == []
    check_nothing_is_left(world, gate)


def test_a_client_that_leaves_meanwhile_leaves_nothing_behind() -> None:
    world, gate = world_with()
    client = ask(world)
    world.reset(client)
    ((status, _),) = world.observer.refusals
    assert status == 499
    check_nothing_is_left(world, gate)
    gate.say(0)
    assert world.names_dialled() == []
    check_nothing_is_left(world, gate)


def test_a_relay_that_drains_meanwhile_refuses() -> None:
    world, gate = world_with()
    client = ask(world)
    world.relay.drains.drain_relay()
    assert answered(world, client).status == 503
    gate.say(0)
    assert world.names_dialled() == []
    check_nothing_is_left(world, gate)


def test_who_is_over_the_limit_here_is_not_asked_about() -> None:
    world, gate = world_with()
    ask(world)
    ask(world)
    assert answer_in(ask(world)).status == 429
    assert len(gate.asked) == 2


def test_where_nobody_can_be_asked_this_relay_decides() -> None:
    world, gate = world_with()
    gate.is_there = False
    ask(world)
    assert len(world.names_dialled()) == 1
    assert (here(world), gate.held) == (1, 1)


def test_a_rate_alone_counts_no_sessions() -> None:
    world, gate = world_with(RARE)
    ask(world)
    ((limit, _),) = gate.asked
    assert (limit.most, limit.rate) == (None, (10.0, 10.0))
    assert gate.held == 0


@pytest.mark.parametrize("route", [ROUTE, evolve(ROUTE, origins=("none",))])
def test_a_route_without_limits_asks_nobody(route: RouteConfig) -> None:
    world, gate = world_with(route)
    ask(world)
    assert gate.asked == []
    assert len(world.names_dialled()) == 1


def test_plain_requests_are_not_asked_about() -> None:
    world, gate = world_with(BOTH)
    ask(world, GET)
    assert gate.asked == []
    assert len(world.names_dialled()) == 1


def test_policies_come_afterwards() -> None:
    world, gate = world_with()
    policy = Says(Deny(403))
    world.relay.policies["chat"] = Policies((("says", policy),), (PluginCall("says"),))
    client = ask(world)
    assert policy.asked == []
    gate.say(0)
    assert answered(world, client).status == 403
    check_nothing_is_left(world, gate)


def test_a_reload_that_takes_the_policies_away_lets_nobody_slip_through() -> None:
    world, gate = world_with()
    world.relay.policies["chat"] = Policies((("says", Says(Deny(403))),), (PluginCall("says"),))
    client = ask(world)
    prepare(world.relay, world.relay.config).apply()
    assert answered(world, client).status == 503
    gate.say(0)
    assert world.names_dialled() == []
    check_nothing_is_left(world, gate)
