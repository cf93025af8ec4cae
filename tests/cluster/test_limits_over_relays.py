"""Limits of addresses over several relays with a real Redis, and what is left of them without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from tests.support import RelayProcess, started_relay
from tests.system.support import RawUpstream, handshake, wait_until
from wsrelay.cluster.presence import DEAD_AFTER

from .support import (
    RedisBox,
    Visitor,
    connected,
    is_up,
    relay_ini,
    running_redis,
    several_relays,
    wait_for_cluster,
)

ROUTES = (
    "[route:two]\npath = /two\npool = main\nconnections_per_ip = 2",
    "[route:ten]\npath = /ten\npool = main\nconnections_per_ip = 10",
    "[route:rare]\npath = /rare\npool = main\nhandshakes_per_ip = 1/m burst 4",
    "[route:both]\npath = /both\npool = main\nhandshakes_per_ip = 1/m burst 4\n"
    "connections_per_ip = 2",
    "[route:free]\npath = /free\npool = main",
)


@frozen
class Place:
    """Some relays, their Redis, and the upstream behind them."""

    redis: RedisBox
    upstream: RawUpstream
    relays: list[RelayProcess]
    text: str

    def visitor(self, address: str) -> Visitor:
        return Visitor(self.upstream, address)

    def total(self, route: str, address: str) -> int:
        return sum(self.redis.counts(route, address))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        upstream = RawUpstream.tcp()
        text = relay_ini(
            redis.url, ROUTES, f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}"
        )
        folder = tmp_path_factory.mktemp("relays")
        relays = stack.enter_context(several_relays(3, text, folder))
        wait_for_cluster(*relays)
        yield Place(redis, upstream, relays, text)
        upstream.close()


def test_three_relays_let_in_as_many_as_one(place: Place) -> None:
    visitor = place.visitor("10.0.0.1")
    found = [visitor.come(place.relays[number % 3], b"/ten") for number in range(15)]
    assert found == [101] * 10 + [429] * 5
    assert place.total("ten", "10.0.0.1") == 10
    visitor.leave()
    wait_until(lambda: place.total("ten", "10.0.0.1") == 0, "that all is given back")
    assert visitor.come(place.relays[2], b"/ten") == 101
    visitor.leave()


def test_who_leaves_makes_room_on_the_other_relay(place: Place) -> None:
    visitor, other = place.visitor("10.0.0.2"), place.visitor("10.0.0.2")
    assert [visitor.come(place.relays[0], b"/two") for _ in range(2)] == [101, 101]
    assert other.come(place.relays[1], b"/two") == 429
    visitor.leave()
    wait_until(lambda: place.total("two", "10.0.0.2") == 0, "that all is given back")
    assert [other.come(place.relays[1], b"/two") for _ in range(3)] == [101, 101, 429]
    other.leave()


def test_networks_of_ipv6_are_one_client(place: Place) -> None:
    one, other = place.visitor("2001:db8::1"), place.visitor("2001:db8::ffff")
    assert [one.come(place.relays[0], b"/two"), other.come(place.relays[1], b"/two")] == [101] * 2
    assert one.come(place.relays[2], b"/two") == 429
    assert place.total("two", "2001:db8::/64") == 2
    one.leave()
    other.leave()


def test_a_rate_is_one_over_all_relays(place: Place) -> None:
    visitor = place.visitor("10.0.0.3")
    found = [visitor.come(place.relays[number % 3], b"/rare") for number in range(9)]
    assert found == [101] * 4 + [429] * 5
    visitor.leave()


def test_who_has_too_many_has_used_up_its_turn_everywhere(place: Place) -> None:
    visitor = place.visitor("10.0.0.4")
    assert [visitor.come(each, b"/both") for each in place.relays] == [101, 101, 429]
    assert place.total("both", "10.0.0.4") == 2
    visitor.leave()
    wait_until(lambda: place.total("both", "10.0.0.4") == 0, "that all is given back")
    assert [visitor.come(each, b"/both") for each in place.relays[:2]] == [101, 429]
    visitor.leave()


def test_many_at_once_are_counted_exactly(place: Place) -> None:
    """Ten of one address may come; forty do, by all relays, in the same moment."""
    visitor = place.visitor("10.0.0.5")
    wires = [connected(place.relays[number % 3]) for number in range(40)]
    for wire in wires:
        wire.send(handshake(b"/ten", b"X-Forwarded-For: 10.0.0.5"))
    assert sorted(visitor.status(each) for each in wires) == [101] * 10 + [429] * 30
    for wire in wires:
        wire.close()
    visitor.leave()
    wait_until(lambda: place.total("ten", "10.0.0.5") == 0, "that all is given back")


def test_a_client_that_leaves_while_redis_is_asked_leaves_nothing_behind(place: Place) -> None:
    server = place.redis.server
    assert server is not None
    server.freeze()
    try:
        wire = connected(place.relays[0])
        wire.send(handshake(b"/two", b"X-Forwarded-For: 10.0.0.6"))
        wire.reset()
        place.relays[0].wait_for_event(event="refused", client="10.0.0.6", status=499)
    finally:
        server.thaw()
    wait_until(lambda: place.total("two", "10.0.0.6") == 0, "that nothing is counted")
    wait_until(lambda: all(map(is_up, place.relays)), "that Redis is back")
    visitor = place.visitor("10.0.0.6")
    assert [visitor.come(each, b"/two") for each in place.relays] == [101, 101, 429]
    visitor.leave()


def test_a_relay_that_is_killed_takes_what_it_had_counted_along(
    place: Place, tmp_path: Path
) -> None:
    visitor = place.visitor("10.0.0.7")
    with started_relay(place.text, tmp_path) as doomed:
        wait_for_cluster(doomed)
        assert [visitor.come(doomed, b"/two") for _ in range(2)] == [101, 101]
        assert visitor.come(place.relays[0], b"/two") == 429
        doomed.kill()
    wait_until(
        lambda: visitor.come(place.relays[0], b"/two") == 101,
        "that the dead do not count",
        DEAD_AFTER + 5,
    )
    visitor.leave()


def test_a_relay_that_stops_takes_it_along_at_once(place: Place, tmp_path: Path) -> None:
    visitor = place.visitor("10.0.0.8")
    with started_relay(place.text + "[relay]\ndrain_timeout = 0s\n", tmp_path) as leaving:
        wait_for_cluster(leaving)
        assert [visitor.come(leaving, b"/two") for _ in range(2)] == [101, 101]
        leaving.terminate()
        leaving.wait()
    assert [visitor.come(place.relays[0], b"/two") for _ in range(3)] == [101, 101, 429]
    visitor.leave()
