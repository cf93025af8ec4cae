"""A route's guards stand before everything else, and count who is there."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet import address as ends
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from tests.relay.support import CLIENT_ADDRESS, FakeTransport, close_payload, frame_from
from tests.relay.world import REQUEST, ROUTE, SWITCHING, UPSTREAMS, World, answer_in
from wsrelay.config.model import ListenerConfig, Rate, RouteConfig
from wsrelay.interfaces import Deny, IAccessPolicy
from wsrelay.relay.admission import Policies
from wsrelay.relay.ends import ProxiedAddress
from wsrelay.relay.pump import Side
from wsrelay.relay.reconfigure import prepare
from wsrelay.wire.frames import CLOSE

GET = b"GET /page HTTP/1.1\r\nHost: chat.example.com\r\nConnection: close\r\n\r\n"
ONE = evolve(ROUTE, connections_per_ip=1)
TWO = evolve(ROUTE, connections_per_ip=2)
SLOW = evolve(ROUTE, handshakes_per_ip=Rate(0.1, 2))
HERE = evolve(ROUTE, allow=(ip_network("192.0.2.0/24"),))
NOT_HERE = evolve(ROUTE, deny=(ip_network("192.0.2.0/24"),))
PAGES = evolve(ROUTE, origins=("https://chat.example.com",))
PROXY = ListenerConfig("web", "tcp:8080", trusted_proxies=(ip_network("192.0.2.7"),))


def v4(last: int) -> ends.IPv4Address:
    return ends.IPv4Address("TCP", f"192.0.2.{last}", 50000)


def v6(text: str) -> ends.IPv6Address:
    return ends.IPv6Address("TCP", text, 50000)


def with_header(name: str, value: str, request: bytes = REQUEST) -> bytes:
    return request[:-2] + f"{name}: {value}\r\n\r\n".encode()


def with_origin(origin: str, request: bytes = REQUEST) -> bytes:
    return with_header("Origin", origin, request)


def ask(
    world: World, request: bytes = REQUEST, address: IAddress = CLIENT_ADDRESS
) -> FakeTransport:
    client = world.client(address)
    world.send(client, request)
    return client


def establish(
    world: World, request: bytes = REQUEST, address: IAddress = CLIENT_ADDRESS
) -> tuple[FakeTransport, FakeTransport]:
    client = ask(world, request, address)
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    assert client.received.startswith(b"HTTP/1.1 101 ")
    return client, upstream


def is_let_in(world: World, request: bytes = REQUEST, address: IAddress = CLIENT_ADDRESS) -> bool:
    """Ask, and leave again; whoever is not let in is refused."""
    dials = len(world.dials)
    client = ask(world, request, address)
    if len(world.dials) > dials:
        assert client.received == b""
        world.reset(client)
        return True
    assert answer_in(client).status in (403, 429)
    world.end(client)
    return False


def check_refused(world: World, client: FakeTransport, status: int, refusal: str) -> str:
    """Check an answer, and what the relay tells of it; return Retry-After."""
    answer = answer_in(client)
    assert answer.status == status
    told, reason = world.observer.refusals[-1]
    assert (told, reason.encode() + b"\n") == (status, answer.body)
    facts = world.observer.refused_facts[-1]
    assert (facts.refusal, facts.route) == (refusal, "chat")
    world.end(client)
    assert client.lost
    return (answer.header(b"Retry-After") or b"").decode()


def finish(world: World) -> None:
    world.leave_all()
    world.advance(10.0)
    world.assert_clean()
    guards = world.relay.guards.of("chat")
    assert guards is None or len(guards.counts) == 0


# each of them


def test_a_route_without_guards_has_none() -> None:
    world = World()
    assert world.relay.guards.of("chat") is None
    assert world.relay.guards.of("other") is None


@pytest.mark.parametrize(
    ("request_bytes", "route", "refusal"),
    [
        (REQUEST, NOT_HERE, "address"),
        (GET, NOT_HERE, "address"),
        (REQUEST, PAGES, "origin"),
        (with_origin("https://evil.org"), PAGES, "origin"),
        (with_origin("null"), PAGES, "origin"),
        (with_origin("https://evil.org", GET), PAGES, "origin"),
    ],
)
def test_who_may_never_connect_gets_403(
    request_bytes: bytes, route: RouteConfig, refusal: str
) -> None:
    world = World(route)
    client = ask(world, request_bytes)
    assert world.dials == []
    assert check_refused(world, client, 403, refusal) == ""
    finish(world)


@pytest.mark.parametrize(
    ("request_bytes", "route"),
    [
        (REQUEST, HERE),
        (GET, HERE),
        (with_origin("https://chat.example.com"), PAGES),
        (with_origin("https://chat.example.com", GET), PAGES),
        (GET, PAGES),
        (REQUEST, evolve(PAGES, origins=("none",))),
    ],
)
def test_who_may_connect_gets_to_the_upstream(request_bytes: bytes, route: RouteConfig) -> None:
    world = World(route)
    assert is_let_in(world, request_bytes)
    finish(world)


def test_a_client_has_so_many_connections_and_no_more() -> None:
    world = World(TWO)
    first, second = establish(world), establish(world)
    third = ask(world)
    assert check_refused(world, third, 429, "too-many-connections") == "5"
    assert is_let_in(world, address=v4(8))
    for leg in second:
        world.end(leg)
    assert is_let_in(world)
    establish(world)
    assert not is_let_in(world)
    for leg in first:
        world.end(leg)
    assert is_let_in(world)
    finish(world)


def test_a_session_counts_until_its_upstream_has_gone_too() -> None:
    world = World(ONE)
    client, upstream = establish(world)
    world.end(client)
    check_refused(world, ask(world), 429, "too-many-connections")
    world.end(upstream)
    assert is_let_in(world)
    finish(world)


def test_a_client_may_come_so_often_and_no_more() -> None:
    world = World(SLOW)
    assert is_let_in(world)
    assert is_let_in(world)
    assert check_refused(world, ask(world), 429, "too-many-handshakes") == "10"
    assert is_let_in(world, address=v4(8))
    world.advance(7.5)
    assert check_refused(world, ask(world), 429, "too-many-handshakes") == "3"
    world.advance(2.0)
    assert b"in 1 second." in answer_in(ask(world)).body
    world.advance(1.0)
    assert is_let_in(world)
    assert not is_let_in(world)
    finish(world)


def test_a_rate_without_a_burst_lets_one_seconds_worth_come_at_once() -> None:
    for rate, at_once in ((3.0, 3), (0.5, 1)):
        world = World(evolve(ROUTE, handshakes_per_ip=Rate(rate)))
        assert sum(is_let_in(world) for _ in range(10)) == at_once
        finish(world)


def test_plain_requests_have_no_limits() -> None:
    world = World(evolve(ONE, handshakes_per_ip=Rate(0.1, 1)))
    establish(world)
    assert all(is_let_in(world, GET) for _ in range(5))
    finish(world)


def test_a_connection_that_becomes_a_websocket_counts_from_then_on() -> None:
    world = World(ONE)
    guards = world.relay.guards.of("chat")
    assert guards is not None
    client = ask(world, GET.replace(b"close", b"keep-alive"))
    upstream = world.accept()
    assert len(guards.counts) == 0
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client.received.clear()
    world.send(client, REQUEST)
    assert len(guards.counts) == 1
    assert not is_let_in(world)
    world.accept()
    world.end(client)
    finish(world)


# in which order


def test_the_address_is_judged_before_the_origin_and_both_before_the_limits() -> None:
    everything = evolve(
        PAGES, deny=NOT_HERE.deny, connections_per_ip=1, handshakes_per_ip=Rate(0.1, 1)
    )
    world = World(everything)
    check_refused(world, ask(world), 403, "address")
    finish(world)

    world = World(evolve(everything, deny=()))
    good, bad = with_origin("https://chat.example.com"), with_origin("https://evil.org")
    check_refused(world, ask(world, bad), 403, "origin")
    establish(world, good)  # nothing was taken by the one that was refused
    check_refused(world, ask(world, good), 429, "too-many-handshakes")
    check_refused(world, ask(world, bad), 403, "origin")
    world.advance(10.0)
    check_refused(world, ask(world, good), 429, "too-many-connections")
    finish(world)


def test_a_handshake_that_is_one_too_many_has_come_all_the_same() -> None:
    world = World(evolve(ONE, handshakes_per_ip=Rate(0.1, 2)))
    establish(world)
    check_refused(world, ask(world), 429, "too-many-connections")
    check_refused(world, ask(world), 429, "too-many-handshakes")
    finish(world)


@implementer(IAccessPolicy)
@frozen(eq=False)
class Asked:
    """A policy that takes its time."""

    answers: list[Deferred[Any]] = field(factory=list)

    def admit(self, request: Any) -> Deferred[Any]:
        self.answers.append(Deferred())
        return self.answers[-1]


def test_policies_are_asked_about_those_only_who_pass() -> None:
    world, policy = World(ONE), Asked()
    world.relay.policies["chat"] = Policies((("asked", policy),))
    first = ask(world)
    check_refused(world, ask(world), 429, "too-many-connections")
    assert len(policy.answers) == 1
    policy.answers[0].callback(Deny())
    world.settle()
    assert answer_in(first).status == 403
    ask(world)
    assert len(policy.answers) == 2
    finish(world)


# who is counted


def test_of_ipv6_a_network_is_a_client() -> None:
    world = World(ONE)
    establish(world, address=v6("2001:db8:1:2::1"))
    assert not is_let_in(world, address=v6("2001:db8:1:2:3::9"))
    assert is_let_in(world, address=v6("2001:db8:1:3::1"))
    finish(world)


def test_ipv6_prefix_says_how_large_that_is() -> None:
    world = World(evolve(ONE, ipv6_prefix=48))
    establish(world, address=v6("2001:db8:1:2::1"))
    assert not is_let_in(world, address=v6("2001:db8:1:3::1"))
    assert is_let_in(world, address=v6("2001:db8:2:2::1"))
    finish(world)


def test_ipv4_in_ipv6_is_ipv4() -> None:
    world = World(evolve(ONE, deny=(ip_network("192.0.2.9"),)))
    assert not is_let_in(world, address=v6("::ffff:192.0.2.9"))
    establish(world, address=v6("::ffff:192.0.2.8"))
    assert not is_let_in(world, address=v4(8))
    assert is_let_in(world, address=v6("::ffff:192.0.2.10"))
    finish(world)


def test_whom_a_trusted_proxy_names_is_the_client() -> None:
    world = World(evolve(ONE, deny=(ip_network("198.51.100.9"),)), listener=PROXY)
    establish(world, with_header("X-Forwarded-For", "198.51.100.1"))
    assert not is_let_in(world, with_header("X-Forwarded-For", "10.0.0.1, 198.51.100.1"))
    assert is_let_in(world, with_header("X-Forwarded-For", "198.51.100.1, 198.51.100.2"))
    assert not is_let_in(world, with_header("X-Forwarded-For", "198.51.100.9"))
    finish(world)


def test_what_a_stranger_says_of_itself_counts_for_nothing() -> None:
    world = World(evolve(ONE, deny=(ip_network("198.51.100.9"),)), listener=PROXY)
    establish(world, with_header("X-Forwarded-For", "198.51.100.1"), v4(9))
    assert not is_let_in(world, with_header("X-Forwarded-For", "198.51.100.2"), v4(9))
    assert is_let_in(world, with_header("X-Forwarded-For", "198.51.100.9"), v4(10))
    finish(world)


def test_whom_a_proxy_header_names_is_the_client() -> None:
    def proxied(last: int) -> ProxiedAddress:
        return ProxiedAddress((f"198.51.100.{last}", 50000), ("192.0.2.1", 8080))

    world = World(evolve(ONE, deny=(ip_network("198.51.100.9"),)))
    establish(world, address=proxied(1))
    assert not is_let_in(world, address=proxied(1))
    assert is_let_in(world, address=proxied(2))
    assert not is_let_in(world, address=proxied(9))
    finish(world)


def test_who_has_no_address_has_no_limits_but_is_in_no_network() -> None:
    unix = ends.UNIXAddress(None)
    world = World(evolve(ONE, handshakes_per_ip=Rate(0.1, 1), deny=NOT_HERE.deny))
    establish(world, address=unix)
    assert all(is_let_in(world, address=unix) for _ in range(3))
    finish(world)
    world = World(HERE)
    check_refused(world, ask(world, address=unix), 403, "address")
    finish(world)


def test_same_host_is_the_host_that_was_asked_as_far_as_proxies_are_trusted() -> None:
    route = evolve(ROUTE, origins=("same-host",))
    world = World(route)
    assert is_let_in(world, with_origin("https://chat.example.com"))
    assert not is_let_in(world, with_origin("https://www.example.com"))
    told = with_header("X-Forwarded-Host", "www.example.com")
    assert not is_let_in(world, with_origin("https://www.example.com", told))
    finish(world)
    world = World(route, listener=PROXY)
    assert is_let_in(world, with_origin("https://www.example.com", told))
    assert not is_let_in(world, with_origin("https://chat.example.com", told))
    finish(world)


# reloads


def reload(world: World, *routes: RouteConfig) -> None:
    prepare(world.relay, evolve(world.relay.config, routes=routes)).apply()
    world.settle()


def test_a_reload_keeps_what_was_counted() -> None:
    world = World(evolve(TWO, handshakes_per_ip=Rate(0.1, 3)))
    establish(world)
    establish(world)
    reload(world, evolve(TWO, handshakes_per_ip=Rate(0.1, 4), idle_timeout=60.0))
    check_refused(world, ask(world), 429, "too-many-connections")
    reload(world, evolve(TWO, connections_per_ip=3, handshakes_per_ip=Rate(0.1, 4)))
    assert is_let_in(world)
    check_refused(world, ask(world), 429, "too-many-handshakes")
    reload(world, evolve(TWO, connections_per_ip=1))
    check_refused(world, ask(world), 429, "too-many-connections")
    finish(world)


def test_a_reload_changes_who_may() -> None:
    world = World(HERE)
    reload(world, NOT_HERE)
    check_refused(world, ask(world), 403, "address")
    reload(world, PAGES)
    check_refused(world, ask(world), 403, "origin")
    reload(world, ROUTE)
    assert is_let_in(world)
    reload(world, HERE)
    assert is_let_in(world)
    finish(world)


@pytest.mark.parametrize("between", [(ROUTE,), (evolve(ONE, name="other"),)])
def test_who_lives_on_counts_when_the_guards_come_back(between: tuple[RouteConfig, ...]) -> None:
    world = World(ONE)
    client, upstream = establish(world)
    reload(world, *between)
    reload(world, ONE)
    assert not is_let_in(world)
    world.end(client)
    world.end(upstream)
    assert is_let_in(world)
    finish(world)


def test_guards_that_are_gone_are_forgotten_when_nobody_is_left() -> None:
    world = World(SLOW)
    assert is_let_in(world)
    before = world.relay.guards.of("chat")
    reload(world, ROUTE)
    reload(world, SLOW)
    assert world.relay.guards.of("chat") is not before
    finish(world)


def test_another_prefix_mixes_nobody_up() -> None:
    world = World(evolve(ONE, ipv6_prefix=64))
    client, _ = establish(world, address=v6("2001:db8:1:2::1"))
    reload(world, evolve(ONE, ipv6_prefix=48))
    establish(world, address=v6("2001:db8:1::1"))
    world.end(client)
    assert not is_let_in(world, address=v6("2001:db8:1:2::1"))
    finish(world)


# every way out


class Lives(RuleBasedStateMachine):
    """
    Clients and upstreams do what they like, in any order.

    What the guards count is what is there: handshakes under way and sessions, by address.
    """

    def __init__(self) -> None:
        super().__init__()
        self.policy = Asked()
        upstreams = [evolve(each, max_connections=2) for each in UPSTREAMS]
        self.world = World(evolve(TWO, retries=1, close_timeout=3.0), upstreams, queue_timeout=4.0)
        guards = self.world.relay.guards.of("chat")
        assert guards is not None
        self.guards = guards

    @rule(last=st.integers(1, 3))
    def asks(self, last: int) -> None:
        ask(self.world, address=v4(last))

    @rule(last=st.integers(1, 3))
    def a_session_begins(self, last: int) -> None:
        dials = len(self.world.dials)
        ask(self.world, address=v4(last))
        if len(self.world.dials) > dials:
            self.world.send(self.world.accept(), SWITCHING)

    @rule(last=st.integers(1, 3))
    def asks_for_a_page(self, last: int) -> None:
        ask(self.world, GET, v4(last))

    @rule()
    def a_policy_comes(self) -> None:
        self.world.relay.policies["chat"] = Policies((("asked", self.policy),))

    @rule()
    def it_goes(self) -> None:
        self.world.relay.policies.clear()

    @precondition(lambda self: any(not each.called for each in self.policy.answers))
    @rule(answer=st.sampled_from([None, Deny(), "nonsense"]))
    def a_policy_answers(self, answer: Any) -> None:
        next(each for each in self.policy.answers if not each.called).callback(answer)
        self.world.settle()

    @property
    def open_dials(self) -> list[int]:
        return [number for number, each in enumerate(self.world.dials) if not each.over]

    @precondition(lambda self: self.open_dials)
    @rule()
    def an_upstream_refuses_the_connection(self) -> None:
        self.world.refuse(self.open_dials[0])

    @precondition(lambda self: self.open_dials)
    @rule(
        answer=st.sampled_from(
            [
                SWITCHING,
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n",
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                b"nonsense\r\n\r\n",
                b"HTTP/1.1 200",
                b"",
            ]
        )
    )
    def an_upstream_answers(self, answer: bytes) -> None:
        upstream = self.world.accept(self.open_dials[0])
        if not upstream.lost:
            self.world.send(upstream, answer)

    def live(self, number: int) -> FakeTransport | None:
        alive = [each for each in self.world.transports if not each.lost]
        return alive[number % len(alive)] if alive else None

    @rule(number=st.integers(0, 9), how=st.sampled_from(["end", "reset"]))
    def somebody_leaves(self, number: int, how: str) -> None:
        if peer := self.live(number):
            getattr(self.world, how)(peer)

    @rule(number=st.integers(0, 9), side=st.sampled_from(Side))
    def somebody_says_goodbye_or_nonsense(self, number: int, side: Side) -> None:
        if peer := self.live(number):
            self.world.send(peer, frame_from(side, CLOSE, close_payload(1000)))

    @rule(number=st.integers(0, 9))
    def somebody_breaks_the_protocol(self, number: int) -> None:
        if peer := self.live(number):
            self.world.send(peer, b"\xff" * 20)

    @precondition(lambda self: self.world.relay.sessions)
    @rule()
    def an_operator_ends_a_session(self) -> None:
        next(iter(self.world.relay.sessions.values())).close(1000, "enough", "admin")
        self.world.settle()

    @precondition(lambda self: self.world.relay.sessions)
    @rule()
    def a_session_fails(self) -> None:
        next(iter(self.world.relay.sessions.values())).abort()
        self.world.settle()

    @rule(most=st.sampled_from([1, 2, 2, 3]))
    def a_reload(self, most: int) -> None:
        policies = self.world.relay.policies
        route = evolve(self.world.relay.config.routes[0], connections_per_ip=most)
        reload(self.world, route)
        self.world.relay.policies = policies  # no plugin of relay.ini's

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(seconds=st.sampled_from([0.0, 1.0, 40.0]))
    def the_relay_drains_for_a_while(self, seconds: float) -> None:
        self.world.relay.drains.drain_relay()
        self.world.advance(seconds)
        self.world.relay.drains.undrain_relay()

    @invariant()
    def the_counts_are_those_who_are_there(self) -> None:
        relay = self.world.relay
        present = Counter(each.facts.client for each in relay.sessions.values())
        inside = {id(each.facts) for each in relay.sessions.values()}
        for client in relay.connections:
            facts = client.facts
            if facts and not (facts.method or client.is_answered or id(facts) in inside):
                present[facts.client] += 1  # its handshake is under way
        counts = self.guards.counts
        by_address = {each: IPv4Address(each.partition(":")[0]).packed for each in present}
        assert present == {each: counts.of(by_address[each]) for each in present}
        assert len(counts) == len(present)

    def teardown(self) -> None:
        self.world.leave_all()
        self.world.advance(60.0)
        self.world.assert_clean()
        assert len(self.guards.counts) == 0


Lives.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLives = Lives.TestCase
