"""Connections to upstreams between two requests: who keeps them, how long, and what ends them."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.http.plain import NO_BODY, OK, answer, ask, check_over, take
from tests.relay.support import FakeTransport
from tests.relay.world import UPSTREAMS, World
from wsrelay.pools.upstream import TRIALS
from wsrelay.relay.idle import LONGEST, MOST, UNTOLD, patience_of
from wsrelay.wire.headers import Headers
from wsrelay.wire.response import Response


def response(*fields: str, version: str = "1.1") -> Response:
    pairs = [field.partition(": ") for field in fields]
    headers = Headers(tuple([(name.encode(), value.encode()) for name, _, value in pairs]))
    return Response(200, b"OK", headers, version)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ((), UNTOLD),
        (("Connection: keep-alive",), UNTOLD),
        (("Connection: Close",), 0),
        (("Connection: X, close",), 0),
        (("Connection: close", "Keep-Alive: timeout=5"), 0),
        (("Keep-Alive: timeout=5",), 4),
        (("Keep-Alive: max=100, timeout = 20",), 19),
        (("Keep-Alive: max=100", "Keep-Alive: Timeout=20"), 19),
        (("Keep-Alive: timeout=1",), 0),
        (("Keep-Alive: timeout=0",), 0),
        (("Keep-Alive: timeout=86400",), LONGEST),
        (("Keep-Alive: timeout=99999999",), LONGEST),
        (("Keep-Alive: xtimeout=2",), UNTOLD),
        (("Keep-Alive: timeout=soon",), UNTOLD),
        (("Keep-Alive: max=100",), UNTOLD),
    ],
)
def test_an_upstream_says_for_how_long_it_can_be_asked_again(
    fields: tuple[str, ...], seconds: float
) -> None:
    assert patience_of(response(*fields)) == seconds


def test_http_1_0_goes_on_only_if_it_says_so() -> None:
    assert patience_of(response(version="1.0")) == 0
    assert patience_of(response("Connection: Keep-Alive", version="1.0")) == UNTOLD


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30))
def test_no_upstream_can_say_anything_that_is_not_understood(text: str) -> None:
    field = (b"Keep-Alive", text.encode("latin-1"))
    assert 0 <= patience_of(Response(200, b"", Headers((field,)), "1.1")) <= LONGEST


def served(world: World, *fields: str) -> tuple[FakeTransport, FakeTransport]:
    """Bring one request about; return the connections of client and upstream, which wait."""
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, answer(*fields))
    assert take(client).status == 200
    take(upstream)
    return client, upstream


def asks_anew(world: World, client: FakeTransport) -> bool:
    """Let a client ask again, and have it answered; say whether that took another connection."""
    dials = len(world.dials)
    world.send(client, ask())
    if len(world.dials) == dials:
        upstream = next(each for each in world.transports if each.received.startswith(b"GET "))
    else:
        upstream = world.accept()
    take(upstream)
    world.send(upstream, OK)
    assert take(client).body == b"ok"
    return len(world.dials) > dials


@pytest.mark.parametrize(("fields", "seconds"), [((), UNTOLD), (("Keep-Alive: timeout=10",), 9.0)])
def test_an_idle_connection_ends_before_the_upstream_ends_it(
    fields: tuple[str, ...], seconds: float
) -> None:
    world = World()
    client, upstream = served(world, *fields)
    world.advance(seconds - 0.1)
    assert not asks_anew(world, client)
    world.advance(UNTOLD)
    assert upstream.lost
    assert not upstream.aborted
    assert asks_anew(world, client)
    check_over(world)


@pytest.mark.parametrize("fields", [("Connection: close",), ("Keep-Alive: timeout=1",)])
def test_a_connection_that_may_not_be_kept_is_closed_and_not_reset(fields: tuple[str, ...]) -> None:
    world = World()
    client, upstream = served(world, *fields)
    assert upstream.lost
    assert not upstream.aborted
    assert asks_anew(world, client)
    check_over(world)


@pytest.mark.parametrize("how", ["ends", "resets", "speaks"])
def test_a_connection_that_does_not_stay_silent_is_not_asked_again(how: str) -> None:
    world = World()
    client, upstream = served(world)
    if how == "speaks":
        world.send(upstream, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    else:
        (world.end if how == "ends" else world.reset)(upstream)
    assert upstream.lost
    assert asks_anew(world, client)
    assert world.pool.upstreams[0].failures == 0
    check_over(world)


def test_the_one_that_was_used_last_is_used_first() -> None:
    world = World()
    clients = [world.ask(ask()) for _ in range(3)]
    upstreams = [world.accept(number) for number in range(3)]
    for upstream in upstreams:
        take(upstream)
        world.send(upstream, OK)
    world.send(clients[0], ask())
    assert [bool(each.received) for each in upstreams] == [False, False, True]
    world.send(clients[1], ask())
    assert [bool(each.received) for each in upstreams] == [False, True, True]
    check_over(world)


def test_so_many_are_kept_and_no_more() -> None:
    world = World(upstreams=UPSTREAMS[:1])
    for _ in range(MOST + 3):
        world.ask(ask())
    upstreams = [world.accept(number) for number in range(MOST + 3)]
    for upstream in upstreams:
        world.send(upstream, OK)
    assert [each.lost for each in upstreams] == [False] * MOST + [True] * 3
    assert not any(each.aborted for each in upstreams)
    check_over(world)


def test_each_upstream_has_its_own() -> None:
    world = World(balancer=lambda offered: offered[0], upstreams=UPSTREAMS[:2])
    client, upstream = served(world)
    assert world.balancer is not None
    world.balancer.answer = lambda offered: offered[1]
    assert asks_anew(world, client)
    assert world.names_dialled() == ["a", "b"]
    assert upstream.received == b""
    check_over(world)


def test_who_waits_for_a_place_asks_by_the_connection_that_came_free() -> None:
    world = World(upstreams=[evolve(UPSTREAMS[0], max_connections=1)], queue_timeout=60.0)
    clients = [world.ask(ask(f"/{number}")) for number in range(5)]
    upstream = world.accept()
    for number, client in enumerate(clients):
        assert take(upstream).target == f"/{number}"
        assert world.active == {"a": 1}
        world.send(upstream, answer(body=b"%d" % number))
        assert take(client).body == b"%d" % number
    assert len(world.dials) == 1
    assert world.active == {}
    world.advance(1)
    check_over(world)


def test_many_streams_on_an_upstream_do_not_keep_its_queue_waiting() -> None:
    """They are no handshakes on trial, however long they last and whatever failed meanwhile."""
    places = TRIALS + 1
    world = World(upstreams=[evolve(UPSTREAMS[0], max_connections=places)], queue_timeout=60.0)
    streams = [world.ask(ask("/events")) for _ in range(places)]
    for number in range(places):
        upstream = world.accept(number)
        world.send(upstream, b"HTTP/1.1 200 OK\r\n\r\n")
    waiting = world.ask(ask("/waits"))
    world.pool.upstreams[0].failed("something else")
    assert (world.pool.upstreams[0].openings, world.pool.upstreams[0].sessions) == (0, 0)
    world.end(streams[0])
    assert len(world.dials) == places + 1
    world.send(world.accept(), OK)
    assert take(waiting).status == 200
    world.leave_all()
    world.advance(1)
    assert world.pool.upstreams[0].answering == 0
    check_over(world)


def test_a_kept_connection_is_the_same_for_other_methods_and_framings() -> None:
    world = World()
    client, upstream = served(world)
    for method, response_ in (("HEAD", answer(body=b"")), ("PUT", NO_BODY), ("GET", OK)):
        world.send(client, ask(method=method, body=b"x" if method == "PUT" else None))
        assert take(upstream).first.startswith(method)
        world.send(upstream, response_)
        take(client, method)
    assert len(world.dials) == 1
    check_over(world)


def test_timers_of_the_last_request_do_not_reach_the_next() -> None:
    world = World()
    client, upstream = served(world, "Keep-Alive: timeout=56")
    world.advance(50)
    world.send(client, ask())
    world.advance(59)
    assert client.received == b""
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


@pytest.mark.parametrize(
    "fields", [("NTLM TlRM",), ("ntlm TlRM",), ("Negotiate YII=",), ("Basic YTpi", "NTLM TlRM")]
)
def test_a_connection_that_a_client_may_have_logged_in_is_nobody_elses(
    fields: tuple[str, ...],
) -> None:
    world = World()
    client = world.ask(ask("/", *(f"Authorization: {each}" for each in fields)))
    upstream = world.accept()
    world.send(upstream, OK)
    assert take(client).status == 200
    assert upstream.lost
    assert asks_anew(world, client)
    check_over(world)


def test_other_logins_are_of_one_request_and_its_connection_is_kept() -> None:
    world = World()
    client = world.ask(ask("/", "Authorization: Basic bnRsbTpuZWdvdGlhdGU="))
    upstream = world.accept()
    take(upstream)
    world.send(upstream, OK)
    assert take(client).status == 200
    assert not asks_anew(world, client)
    check_over(world)
