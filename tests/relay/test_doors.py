"""max_connections: who comes in, who is told that there is no room, and who not even that."""

from __future__ import annotations

import random
import ssl
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from tests.peers.certificates import Authority
from tests.relay.support import FakeTransport
from tests.relay.test_tls import Transport
from tests.relay.test_tls_transport import PLAIN, Client
from tests.relay.world import REQUEST, SWITCHING, World, answer_in
from wsrelay.config.model import ListenerConfig
from wsrelay.relay.client import LINGER
from wsrelay.relay.doors import AT_LEAST
from wsrelay.relay.listener_tls import listener_tls
from wsrelay.relay.proxied import HeaderFirst
from wsrelay.relay.tls_transport import tls_factory
from wsrelay.wire.proxy_protocol import Ends, encode_header

WEB = ListenerConfig("web", "tcp:8080", max_connections=2)
PROXY = IPv4Address("TCP", "10.0.0.1", 40000)
HEADER = encode_header("v2", Ends(("203.0.113.9", 56324), ("198.51.100.1", 443)))
FULL = b"The relay has as many clients as it takes; try again later.\n"


def limited(most: int | None = 2, relay: int | None = None) -> World:
    world = World(listener=evolve(WEB, max_connections=most))
    world.relay.config = evolve(world.relay.config, max_connections=relay)
    return world


def is_told_so(client: FakeTransport) -> bool:
    answer = answer_in(client)
    return (answer.status, answer.header(b"Retry-After"), answer.body) == (503, b"5", FULL)


def words(world: World) -> list[str]:
    return [each.refusal for each in world.observer.refused_facts]


def let_in(world: World, count: int) -> list[FakeTransport]:
    """Connect clients that are not told anything yet."""
    clients = [world.client() for _ in range(count)]
    world.settle()
    assert all(not each.received and not each.lost for each in clients)
    return clients


def test_who_is_one_too_many_is_told_so_before_it_asks() -> None:
    world = limited(2)
    let_in(world, 2)
    client = world.client()
    world.settle()
    assert is_told_so(client)
    assert answer_in(client).header(b"Connection") == b"close"
    assert client.eof
    assert words(world) == ["full"]
    assert world.observer.refused_facts[0].client == "192.0.2.7:50123"
    world.leave_all()
    world.assert_clean()


def test_what_a_refused_client_still_sends_does_not_take_its_answer_away() -> None:
    world = limited(2)
    let_in(world, 2)
    client = world.client()
    world.send(client, REQUEST)
    assert is_told_so(client)
    assert not client.lost
    assert not world.dials
    world.end(client)
    assert client.lost
    assert words(world) == ["full"]


def test_a_refused_client_that_stays_is_cut_off() -> None:
    world = limited(2)
    let_in(world, 2)
    client = world.client()
    world.advance(LINGER - 0.1)
    assert not client.lost
    world.advance(0.2)
    assert client.aborted
    assert world.relay.doors.refused == 0


@pytest.mark.parametrize("begun", [b"", REQUEST[:20], REQUEST])
def test_a_client_counts_from_its_first_moment_to_its_last(begun: bytes) -> None:
    world = limited(1)
    client = world.client()
    world.send(client, begun)
    assert is_told_so(world.ask())
    world.reset(client)
    let_in(world, 1)


def test_a_session_counts_until_its_client_is_gone() -> None:
    world = limited(1)
    client, upstream = world.establish()
    assert is_told_so(world.ask())
    world.reset(client)
    let_in(world, 1)
    world.end(upstream)
    world.leave_all()
    world.advance(30.0)
    world.assert_clean()


def test_a_listener_and_the_relay_have_limits_of_their_own() -> None:
    world = limited(3, relay=5)
    other = world.relay.make_listener(ListenerConfig("other", "tcp:8081"))
    let_in(world, 3)
    assert is_told_so(world.ask())
    world.listener = other
    let_in(world, 2)
    assert world.relay.doors.by_name() == {"web": 3, "other": 2}
    assert is_told_so(world.ask())
    world.transports[0].peer_ends()
    world.settle()
    let_in(world, 1)
    assert world.relay.doors.by_name() == {"web": 2, "other": 3}


def test_a_limit_that_is_lowered_lets_those_stay_who_are_there() -> None:
    world = limited(None)
    clients = let_in(world, 5)
    world.listener.config = evolve(WEB, max_connections=3)
    assert is_told_so(world.ask())
    for client in clients[:3]:
        world.end(client)
    let_in(world, 1)
    assert is_told_so(world.ask())
    world.listener.config = evolve(WEB, max_connections=None)
    let_in(world, 10)


def test_a_crowd_of_refused_clients_is_bounded_and_those_beyond_are_reset() -> None:
    world = limited(200)
    let_in(world, 200)
    bound = AT_LEAST + 2
    told = [world.ask() for _ in range(bound)]
    assert all(map(is_told_so, told))
    assert world.relay.doors.refused == bound
    cut = [world.ask() for _ in range(100)]
    assert all(each.aborted and not each.received and not each.dropped for each in cut)
    assert words(world) == ["full"] * (bound + 100)
    assert world.relay.doors.refused == bound
    world.end(told[0])
    assert is_told_so(world.ask())


# with TLS


@pytest.fixture(scope="module")
def tls_world_config(tmp_path_factory: pytest.TempPathFactory) -> tuple[ListenerConfig, Path]:
    folder = tmp_path_factory.mktemp("papers")
    authority = Authority(folder)
    own = authority.issue("own.test")
    config = ListenerConfig("web", "tcp:1", own.certificate, own.key, max_connections=1)
    return config, authority.certificate()


class Secure(World):
    def __init__(self, config: ListenerConfig) -> None:
        super().__init__(listener=config)
        tls = listener_tls(config)
        assert tls is not None
        self.factory = tls_factory(tls, self.listener, self.reactor)

    def client(self, address: Any = PROXY) -> FakeTransport:
        transport = Transport(peer=address)
        transport.protocol = self.factory.buildProtocol(address)
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        return transport


@pytest.mark.parametrize("says", [b"", REQUEST])
def test_with_tls_the_answer_comes_when_the_handshake_is_complete(
    tls_world_config: tuple[ListenerConfig, Path], says: bytes
) -> None:
    config, ca = tls_world_config
    world = Secure(config)
    let_in(world, 1)
    transport = world.client()
    world.settle()
    assert not transport.received
    context = ssl.create_default_context(cafile=str(ca))
    client = Client(transport, context)
    for step in range(8):
        client.step(says if step == 2 else b"")
        world.settle()
    assert client.heard.startswith(b"HTTP/1.1 503 ")
    assert client.heard.endswith(FULL)
    assert words(world) == ["full"]
    world.advance(LINGER + 1)
    assert world.relay.doors.refused == 0


@pytest.mark.parametrize("says", [b"\x16\x03\x01\xff\xff", b"nonsense", PLAIN])
def test_with_tls_a_refused_client_that_speaks_none_is_counted_once(
    tls_world_config: tuple[ListenerConfig, Path], says: bytes
) -> None:
    config, _ = tls_world_config
    world = Secure(config)
    let_in(world, 1)
    transport = world.client()
    world.send(transport, says)
    world.advance(LINGER + 1)
    assert transport.lost
    assert words(world) == ["full"]
    world.end(world.transports[0])
    assert (world.relay.doors.inside, world.relay.doors.refused) == (0, 0)


# with PROXY headers


class Proxied(World):
    def __init__(self, most: int | None = 1) -> None:
        super().__init__(
            listener=evolve(
                WEB,
                max_connections=most,
                proxy_protocol=True,
                trusted_proxies=("unix:", *(_network("10.0.0.0/8"),)),
            )
        )
        self.front = HeaderFirst(self.listener, self.listener)

    def client(self, address: Any = PROXY) -> FakeTransport:
        transport = FakeTransport(address)
        transport.protocol = self.front.buildProtocol(address)
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        return transport


def _network(text: str) -> Any:
    from ipaddress import ip_network

    return ip_network(text)


def test_a_connection_counts_before_its_proxy_header_is_there() -> None:
    world = Proxied(1)
    first = world.client()
    second = world.client()
    world.send(second, HEADER)
    assert is_told_so(second)
    assert world.observer.refused_facts[0].client == "203.0.113.9:56324"
    world.send(first, HEADER + REQUEST)
    assert len(world.dials) == 1
    assert words(world) == ["full"]


def test_who_has_not_said_who_it_is_gets_no_answer_until_it_has() -> None:
    world = Proxied(1)
    let_in(world, 2)
    assert (world.relay.doors.inside, world.relay.doors.refused) == (1, 1)
    world.end(world.transports[1])
    assert (world.relay.doors.inside, world.relay.doors.refused) == (1, 0)
    assert words(world) == []


def test_a_place_that_is_free_by_the_time_of_the_header_is_taken() -> None:
    world = Proxied(1)
    first, second = let_in(world, 2)
    world.end(first)
    world.send(second, HEADER + REQUEST)
    assert len(world.dials) == 1
    assert (world.relay.doors.inside, world.relay.doors.refused) == (1, 0)


def test_a_crowd_without_headers_is_bounded_as_well() -> None:
    world = Proxied(1)
    let_in(world, 1 + AT_LEAST)
    last = world.client()
    world.settle()
    assert last.aborted
    assert words(world) == ["full"]
    world.leave_all()
    world.assert_clean()


# whatever happens


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_counts_are_right_after_whatever_happens_to_clients(
    seed: int, here: int, most: int, is_proxied: bool
) -> None:
    source = random.Random(seed)
    world: World = Proxied(here) if is_proxied else limited(here)
    world.relay.config = evolve(world.relay.config, max_connections=most)
    relay, doors = world.relay, world.relay.doors

    def connect() -> None:
        inside = doors.inside
        world.client()
        world.settle()
        limit = world.listener.config.max_connections or 99
        assert doors.inside <= max(inside, min(limit, relay.config.max_connections or 99))

    def somebody() -> FakeTransport:
        return source.choice(world.transports) if world.transports else world.client()

    def accept() -> None:
        for number, dial in enumerate(world.dials):
            if not dial.over:
                world.send(world.accept(number), source.choice([SWITCHING, b"HTTP/1.1 403 No\r\n"]))
                return

    def reload() -> None:
        changed = source.choice([None, 1, 3])
        world.listener.config = evolve(world.listener.config, max_connections=changed)
        relay.config = evolve(relay.config, max_connections=source.choice([None, 2, 5]))

    deeds: list[Any] = [
        connect,
        connect,
        lambda: world.send(somebody(), HEADER * is_proxied + REQUEST),
        lambda: world.send(somebody(), b"nonsense\r\n\r\n"),
        lambda: world.end(somebody()),
        lambda: world.reset(somebody()),
        accept,
        reload,
        lambda: world.advance(source.choice([0.1, 3.0, 20.0])),
    ]
    for _ in range(30):
        source.choice(deeds)()
        assert doors.inside + doors.refused == len(relay.connections) + len(relay.arriving)
        assert sum(doors.by_name().values()) == doors.inside
    for dial in world.dials:
        dial.disconnect()
    world.leave_all()
    world.advance(200.0)
    world.assert_clean()
