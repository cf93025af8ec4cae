"""PROXY headers in front of clients' connections, and of those to upstreams, in memory."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from tests.relay.support import FakeTransport
from tests.relay.world import REQUEST, SWITCHING, UPSTREAMS, World, answer_in
from wsrelay.config.model import ListenerConfig, PoolConfig, RouteConfig, UpstreamConfig
from wsrelay.relay.client import ClientConnection
from wsrelay.relay.proxied import HeaderFirst
from wsrelay.relay.reconfigure import prepare
from wsrelay.wire.proxy_protocol import UNKNOWN, Ends, encode_header

PROXY = IPv4Address("TCP", "10.0.0.1", 40000)
STRANGER = IPv4Address("TCP", "192.0.2.66", 40000)
UNIX = UNIXAddress(b"")
ENDS = Ends(("203.0.113.9", 56324), ("198.51.100.1", 443))
V1, V2 = (encode_header(version, ENDS) for version in ("v1", "v2"))
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

versions = pytest.mark.parametrize("version", ["v1", "v2"])


class Proxied(World):
    """A relay whose listener wants PROXY headers."""

    def __init__(self, trusted: Any = TRUSTED, **options: Any) -> None:
        config = ListenerConfig(
            "web", "tcp:8080", proxy_protocol=True, trusted_proxies=trusted, handshake_timeout=5.0
        )
        super().__init__(listener=config, **options)
        self.front = HeaderFirst(self.listener, self.listener)

    def client(self, address: IAddress = PROXY) -> FakeTransport:
        host = UNIX if isinstance(address, UNIXAddress) else FakeTransport().host
        transport = FakeTransport(address, host)
        transport.protocol = self.front.buildProtocol(address)
        assert transport.protocol is not None, self.observer.refusals
        self.transports.append(transport)
        transport.protocol.makeConnection(transport)
        return transport

    def head(self) -> dict[bytes, bytes]:
        """Return the fields that the upstream got."""
        upstream = self.accept()
        rows = bytes(upstream.received).split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        return dict(row.split(b": ", 1) for row in rows)


def only_refusal(world: World) -> tuple[int, str, str]:
    """Return status, word and client of the only record."""
    (facts,) = world.observer.refused_facts
    return facts.status, facts.refusal, facts.client


@pytest.mark.parametrize("header", [V1, V2])
def test_the_client_is_who_the_header_says(header: bytes) -> None:
    world = Proxied()
    client = world.ask(header + REQUEST)
    # Nothing is between them: a native pump needs the bare transport.
    assert type(client.protocol) is ClientConnection
    assert client.protocol.transport is client
    fields = world.head()
    assert fields[b"X-Forwarded-For"] == b"203.0.113.9"
    assert fields[b"X-Real-IP"] == b"203.0.113.9"
    assert fields[b"X-Forwarded-Port"] == b"443"
    assert fields[b"X-Forwarded-Proto"] == b"http"
    world.send(world.transports[-1], SWITCHING)
    assert client.received.startswith(b"HTTP/1.1 101 ")
    (facts,) = world.observer.opened
    assert facts.client == "203.0.113.9:56324"
    world.leave_all()
    world.assert_clean()
    assert not world.relay.arriving


@pytest.mark.parametrize("header", [V1, V2])
def test_a_header_and_a_request_may_come_in_any_pieces(header: bytes) -> None:
    world = Proxied()
    client = world.client()
    for byte in header + REQUEST:
        world.send(client, bytes([byte]))
    assert world.head()[b"X-Real-IP"] == b"203.0.113.9"
    world.leave_all()
    world.assert_clean()


@versions
@pytest.mark.parametrize(
    ("address", "trusted", "known"),
    [(PROXY, TRUSTED, b"10.0.0.1"), (UNIX, ("unix:",), None)],
)
def test_a_proxy_that_speaks_for_itself_is_the_client(
    version: str, address: IAddress, trusted: Any, known: bytes | None
) -> None:
    world = Proxied(trusted)
    client = world.client(address)
    world.send(client, encode_header(version, UNKNOWN) + REQUEST)
    fields = world.head()
    assert fields.get(b"X-Forwarded-For") == known
    assert fields.get(b"X-Real-IP") == known
    assert fields.get(b"X-Forwarded-Port") == (b"8080" if known else None)


@pytest.mark.parametrize(
    ("source", "chain", "real_ip"),
    [
        # The client in the header is a stranger, whatever the proxy is.
        ("203.0.113.9", b"203.0.113.9", b"203.0.113.9"),
        # The header names a proxy, too: a chain of them.
        ("10.0.0.2", b"198.51.100.7, 10.0.0.2", b"198.51.100.7"),
    ],
)
def test_who_is_in_the_header_is_judged_and_not_who_sent_it(
    source: str, chain: bytes, real_ip: bytes
) -> None:
    world = Proxied()
    more = (
        b"\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Port: 9\r\n\r\n"
    )
    request = REQUEST.replace(b"\r\n\r\n", more)
    header = encode_header("v2", Ends((source, 1), ("198.51.100.1", 443)))
    world.ask(header + request)
    fields = world.head()
    assert fields[b"X-Forwarded-For"] == chain
    assert fields[b"X-Real-IP"] == real_ip
    is_proxy = source == "10.0.0.2"
    assert fields[b"X-Forwarded-Proto"] == (b"https" if is_proxy else b"http")
    assert fields[b"X-Forwarded-Port"] == (b"9" if is_proxy else b"443")


def test_balancers_get_the_address_of_the_header() -> None:
    world = Proxied()
    offered = []
    world.pool.balancer = type(
        "Balancer", (), {"choose": lambda _, request, found: offered.append(request) or found[0]}
    )()
    world.ask(V1 + REQUEST)
    assert [each.client_address for each in offered] == ["203.0.113.9"]


@pytest.mark.parametrize(
    ("address", "trusted", "name", "who"),
    [
        (STRANGER, TRUSTED, "192.0.2.66:40000", "192.0.2.66"),
        (STRANGER, ("unix:",), "192.0.2.66:40000", "192.0.2.66"),
        (IPv6Address("TCP", "2001:db8::1", 4), TRUSTED, "[2001:db8::1]:4", "2001:db8::1"),
        (UNIX, TRUSTED, "unix:", "unix:"),
    ],
)
def test_a_peer_that_is_not_trusted_is_not_even_listened_to(
    address: IAddress, trusted: Any, name: str, who: str
) -> None:
    world = Proxied(trusted)
    assert world.front.buildProtocol(address) is None
    assert only_refusal(world) == (403, "untrusted", name)
    ((_, reason),) = world.observer.refusals
    assert reason.startswith(f"{who} is none of the trusted_proxies of listener web")
    assert "add it there" in reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (REQUEST, "does not begin with a PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "does not begin with a PROXY header"),
        (b"PROXY TCP4 203.0.113.9\r\n" + REQUEST, "The PROXY v1 line is not as it has to be"),
        (V2[:12] + b"\x31" + V2[13:], "The PROXY v2 header's version"),
    ],
)
def test_a_proxy_that_sends_something_else_is_cut_off(data: bytes, words: str) -> None:
    world = Proxied()
    client = world.client()
    world.send(client, data)
    assert client.aborted
    assert not client.received
    assert only_refusal(world) == (400, "malformed", "10.0.0.1:40000")
    assert words in world.observer.refusals[0][1]
    assert not world.relay.arriving
    world.assert_clean()


def test_a_header_that_does_not_come_in_time_ends_the_connection() -> None:
    world = Proxied()
    client = world.client()
    world.send(client, V1[:-1])
    world.advance(4.9)
    assert not client.lost
    world.advance(0.2)
    assert client.aborted
    assert only_refusal(world) == (408, "too-slow", "10.0.0.1:40000")
    assert world.observer.refusals[0][1] == "The PROXY header was not complete after 5 seconds."
    assert not world.relay.arriving
    world.assert_clean()


def test_the_request_has_its_own_time_behind_the_header() -> None:
    world = Proxied()
    client = world.client()
    world.advance(4.9)
    world.send(client, V1)
    world.advance(4.9)
    assert not client.lost
    world.advance(0.2)
    assert answer_in(client).status == 408
    assert only_refusal(world)[2] == "203.0.113.9:56324"


def test_a_header_that_breaks_off_is_noted() -> None:
    world = Proxied()
    world.send(world.client(), V1[:20])
    world.end(world.transports[0])
    assert only_refusal(world) == (400, "malformed", "10.0.0.1:40000")
    assert world.observer.refusals == [(400, "The PROXY header broke off.")]
    world.assert_clean()


@pytest.mark.parametrize("how", ["peer_ends", "peer_resets"])
def test_who_only_looks_whether_there_is_a_listener_is_not_noted(how: str) -> None:
    world = Proxied()
    getattr(world.client(), how)()
    world.settle()
    assert world.observer.refusals == []
    assert not world.relay.arriving
    world.assert_clean()


def test_a_connection_without_a_header_yet_ends_with_the_relay() -> None:
    world = Proxied()
    client = world.client()
    (arriving,) = world.relay.arriving
    assert arriving.listener is world.listener
    arriving.abort()
    world.settle()
    assert client.aborted
    assert world.observer.refusals == []
    world.assert_clean()


def test_who_arrives_during_a_reload_finds_the_routes_that_are_there() -> None:
    world = Proxied()
    client = world.client()
    old = world.relay.config
    pool = PoolConfig("new", (UpstreamConfig("n", "ws://192.0.2.200:1"),))
    world.relay.listeners.clear()  # its listener is gone, too
    prepare(world.relay, evolve(old, routes=(RouteConfig("n", "new"),), pools=(pool,))).apply()
    world.send(client, V1 + REQUEST)
    assert world.dials[-1].where == "192.0.2.200"


# towards upstreams


def sent_for(version: str, address: IAddress, request: bytes = REQUEST, **listener: Any) -> bytes:
    """Return what an upstream gets first for a client."""
    config = ListenerConfig("web", "tcp:8080", **listener)
    world = World(listener=config, proxy_protocol=version)
    client = world.client(address)
    if isinstance(address, UNIXAddress):
        client.host = UNIX
    world.send(client, request)
    received = bytes(world.accept().received)
    header, get, _ = received.partition(b"GET ")
    assert get
    return header


CLIENT = IPv4Address("TCP", "203.0.113.9", 56324)
FORWARDED = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")


@versions
def test_an_upstream_hears_first_whose_connection_it_is(version: str) -> None:
    ends = Ends(("203.0.113.9", 56324), ("192.0.2.1", 8080))
    assert sent_for(version, CLIENT) == encode_header(version, ends)
    assert sent_for("off", CLIENT) == b""


@versions
def test_a_client_behind_a_trusted_proxy_has_no_port(version: str) -> None:
    ends = Ends(("198.51.100.7", 0), ("192.0.2.1", 8080))
    header = sent_for(version, PROXY, FORWARDED, trusted_proxies=TRUSTED)
    assert header == encode_header(version, ends)


@versions
def test_what_a_client_claims_is_not_passed_on(version: str) -> None:
    ends = Ends(("203.0.113.9", 56324), ("192.0.2.1", 8080))
    header = sent_for(version, CLIENT, FORWARDED, trusted_proxies=TRUSTED)
    assert header == encode_header(version, ends)


@versions
def test_of_a_client_on_a_unix_socket_nothing_is_known(version: str) -> None:
    assert sent_for(version, UNIX) == encode_header(version, UNKNOWN)


@versions
def test_a_client_that_is_told_of_through_a_unix_socket_came_to_no_address(version: str) -> None:
    header = sent_for(version, UNIX, FORWARDED, trusted_proxies=("unix:",))
    assert header == encode_header(version, Ends(("198.51.100.7", 0), ("0.0.0.0", 0)))
    request = FORWARDED.replace(b"198.51.100.7", b"2001:db8::7")
    header = sent_for(version, UNIX, request, trusted_proxies=("unix:",))
    assert header == encode_header(version, Ends(("2001:db8::7", 0), ("::", 0)))


@versions
def test_ipv4_in_ipv6_is_ipv4_and_keeps_its_port(version: str) -> None:
    address = IPv6Address("TCP", "::ffff:203.0.113.9", 56324)
    ends = Ends(("203.0.113.9", 56324), ("192.0.2.1", 8080))
    assert sent_for(version, address) == encode_header(version, ends)


@versions
def test_both_ends_pass_through_a_relay_as_they_came(version: str) -> None:
    world = Proxied(proxy_protocol=version)
    world.ask(V1 + REQUEST)
    received = bytes(world.accept().received)
    assert received.startswith(encode_header(version, ENDS) + b"GET ")


def test_tls_that_ended_at_the_proxy_is_not_forgotten() -> None:
    header = encode_header("v2", evolve(ENDS, is_secure=True))
    for version in ("off", "v1", "v2"):
        world = Proxied(proxy_protocol=version)
        world.ask(header + REQUEST)
        received = bytes(world.accept().received)
        assert b"X-Forwarded-Proto: https\r\n" in received
        if version == "v2":
            assert received.startswith(header + b"GET ")


def test_tls_that_a_trusted_proxy_tells_of_is_told_of() -> None:
    request = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-Proto: https\r\n\r\n")
    header = sent_for("v2", PROXY, request, trusted_proxies=TRUSTED)
    ends = Ends(("10.0.0.1", 40000), ("192.0.2.1", 8080), is_secure=True)
    assert header == encode_header("v2", ends)
    ends = Ends(("203.0.113.9", 56324), ("192.0.2.1", 8080))
    header = sent_for("v2", CLIENT, request, trusted_proxies=TRUSTED)
    assert header == encode_header("v2", ends)


@versions
def test_every_upstream_that_is_tried_gets_the_header(version: str) -> None:
    world = World(proxy_protocol=version)
    world.ask()
    world.refuse()
    assert len(world.dials) == 2
    assert bytes(world.accept().received).startswith(encode_header(version, UNKNOWN)[:5])


class Counting(FakeTransport):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)


def test_the_header_goes_out_as_one_with_the_request() -> None:
    """The specification wants it sent at once."""
    world = World(upstreams=UPSTREAMS[:1], proxy_protocol="v2")
    world.ask()
    transport = Counting()
    protocol = world.dials[-1].factory.buildProtocol(None)
    protocol.makeConnection(transport)
    (first,) = transport.writes
    assert first.startswith(b"\r\n\r\n\x00\r\nQUIT\n")
    assert b"GET /chat" in first
