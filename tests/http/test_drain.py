"""A relay that stops: plain requests under way end, idle connections go at once."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.http.plain import OK, answer, ask, check_over, read_head, take
from tests.relay.support import FakeTransport
from tests.relay.world import ROUTE, UPSTREAMS, World
from wsrelay.relay.client import KEEP_ALIVE, MAX_UNSENT


def drain(world: World, seconds: float = 30.0) -> list[float]:
    """Begin to stop; return a list that gets the time at which all has ended."""
    ended: list[float] = []
    world.relay.config = evolve(world.relay.config, drain_timeout=seconds)
    world.relay.drains.drain_relay()
    drained = world.relay.exchanges.drain(seconds)
    drained.addCallback(lambda _: ended.append(world.reactor.seconds()))
    world.settle()
    return ended


def idle_pair(world: World) -> tuple[FakeTransport, FakeTransport]:
    """Bring one request about; return the connections of client and upstream, which wait."""
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, OK)
    assert take(client).status == 200
    take(upstream)
    return client, upstream


def test_idle_connections_end_at_once() -> None:
    world = World()
    client, upstream = idle_pair(world)
    assert drain(world)
    assert client.eof
    assert upstream.lost
    assert not upstream.aborted
    assert client.received == b""
    check_over(world)


def test_an_answer_that_begins_in_a_drain_is_the_last_of_its_connection() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    ended = drain(world)
    world.advance(5)
    assert not ended
    world.send(upstream, answer(body=b"hello"))
    got = take(client)
    assert (got.body, got.get("Connection")) == (b"hello", "close")
    assert client.eof
    world.advance(0)
    assert ended
    world.relay.close_idle()
    check_over(world)


def test_an_answer_under_way_goes_on_and_its_connection_ends_behind_it() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    ended = drain(world)
    world.advance(5)
    world.send(upstream, b"def")
    assert read_head(bytes(client.received))[1] == b"abcdef"
    assert client.eof
    world.advance(0)
    assert ended
    world.relay.close_idle()
    check_over(world)


def test_a_body_that_still_comes_is_taken() -> None:
    world = World()
    client = world.ask(ask("/", "Content-Length: 6", method="POST") + b"abc")
    upstream = world.accept()
    ended = drain(world)
    world.send(client, b"def")
    assert take(upstream).body == b"abcdef"
    world.send(upstream, OK)
    assert take(client).get("Connection") == "close"
    world.advance(0)
    assert ended
    world.relay.close_idle()
    check_over(world)


def test_the_next_request_of_a_client_that_sent_it_already_is_not_begun() -> None:
    world = World()
    client = world.ask(ask("/1") + ask("/2"))
    upstream = world.accept()
    drain(world)
    world.send(upstream, OK)
    world.advance(0)
    assert take(client).get("Connection") == "close"
    assert client.eof
    assert take(upstream).target == "/1"
    world.relay.close_idle()
    check_over(world)


@pytest.mark.parametrize("has_head", [True, False])
def test_what_is_left_after_the_time_is_cut_off(has_head: bool) -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    if has_head:
        world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    ended = drain(world, 10.0)
    world.advance(9)
    assert not ended
    world.advance(1.1)
    assert ended
    assert upstream.aborted
    if has_head:
        assert client.aborted
        assert world.observer.exchanges[0][1].problem != ""
    else:
        got = take(client)
        assert (got.status, got.get("Connection")) == (503, "close")
    check_over(world)


@pytest.mark.parametrize("has_head", [True, False])
def test_who_is_in_a_hurry_cuts_off_at_once(has_head: bool) -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    if has_head:
        world.send(upstream, b"HTTP/1.1 200 OK\r\n\r\nabc")
    ended = drain(world)
    world.relay.exchanges.hurry()
    world.settle()
    world.advance(0)
    assert ended
    assert client.aborted == has_head
    assert world.reactor.seconds() == 0
    check_over(world)


def test_nobody_new_is_served_and_the_refusal_says_close() -> None:
    world = World()
    waiting = world.client()
    ended = drain(world)
    world.send(waiting, ask())
    got = take(waiting)
    assert (got.status, got.get("Connection")) == (503, "close")
    assert world.dials == []
    assert ended
    check_over(world)


def test_own_answers_in_a_drain_say_close() -> None:
    world = World(evolve(ROUTE, retries=0))
    client = world.ask(ask())
    drain(world)
    world.refuse()
    got = take(client)
    assert (got.status, got.get("Connection")) == (502, "close")
    assert client.eof
    world.advance(0)
    check_over(world)


def test_those_who_wait_in_the_queue_are_refused() -> None:
    world = World(
        upstreams=[evolve(UPSTREAMS[0], max_connections=1)], queue_timeout=60.0, queue_size=10
    )
    first, second = world.ask(ask()), world.ask(ask())
    ended = drain(world)
    got = take(second)
    assert (got.status, got.get("Connection")) == (503, "close")
    assert first.received == b""
    assert not ended
    world.send(world.accept(), OK)
    assert take(first).status == 200
    world.relay.close_idle()
    world.advance(1)  # the queue's rounds end
    check_over(world)


def test_the_last_answer_is_waited_for_until_a_slow_client_has_it() -> None:
    world = World()
    client = world.ask(ask())
    client.stalled = True
    ended = drain(world)
    world.send(world.accept(), answer(body=b"x" * 1000))
    world.advance(20)
    assert not ended
    client.stalled = False
    world.settle()
    assert take(client).body == b"x" * 1000
    world.advance(0)
    assert ended
    world.relay.close_idle()
    check_over(world)


def test_an_idle_client_that_has_not_taken_its_last_answer_is_waited_for_too() -> None:
    world = World()
    client = world.ask(ask())
    client.stalled = True
    world.send(world.accept(), OK)
    ended = drain(world)
    world.advance(20)
    assert not ended
    client.stalled = False
    world.settle()
    assert take(client).status == 200
    world.advance(0)
    assert ended
    check_over(world)


def test_a_client_that_asked_on_before_it_took_its_last_answer_is_waited_for_too() -> None:
    world = World()
    client = world.ask(ask("/1") + ask("/2"))
    client.stalled = True
    world.send(world.accept(), answer(body=bytes(MAX_UNSENT)))
    world.advance(1)
    ended = drain(world)
    world.advance(20)
    assert not ended
    client.stalled = False
    world.settle()
    assert take(client).body == bytes(MAX_UNSENT)
    world.advance(0.2)
    assert ended
    assert len(world.dials) == 1
    check_over(world)


def test_a_client_that_does_not_take_its_last_answer_is_waited_for_so_long_only() -> None:
    world = World()
    client = world.ask(ask())
    client.stalled = True
    ended = drain(world, 10.0)
    world.send(world.accept(), OK)
    world.advance(9.9)
    assert not ended
    world.advance(0.2)
    assert ended
    assert client.aborted
    world.relay.close_idle()
    check_over(world)


def test_a_drain_that_is_taken_back_lets_clients_ask_again() -> None:
    world = World()
    world.relay.drains.drain_relay()
    client = world.ask(ask())
    assert take(client).status == 503
    world.relay.drains.undrain_relay()
    client = world.ask(ask())
    world.send(world.accept(), OK)
    assert take(client).get("Connection") is None
    world.advance(KEEP_ALIVE - 1)
    world.send(client, ask())
    world.send(world.accept(), OK)
    assert take(client).status == 200
    check_over(world)


# upstreams


@pytest.mark.parametrize("how", ["drained", "drained with its pool", "down", "removed"])
def test_the_idle_connections_to_an_upstream_end_when_it_is(how: str) -> None:
    world = World(upstreams=UPSTREAMS[:2])
    client, upstream = idle_pair(world)
    one = world.pool.upstreams[0]
    drains = world.relay.drains
    if how == "drained":
        one.state = "drain"
        drains.drain_upstream(world.pool, one)
    elif how == "drained with its pool":
        one.state = "drain"
        drains.drain_pool(world.pool)
    elif how == "down":
        one.state = "down"
        drains.lose(world.pool, one, "keep", "down")
    else:
        world.relay.members_changed(world.pool, world.pool.set_members("file", UPSTREAMS[1:2]))
    world.settle()
    assert upstream.lost
    assert not upstream.aborted
    world.send(client, ask())
    assert world.names_dialled() == ["a", "b"]
    world.send(world.accept(), OK)
    assert take(client).status == 200
    check_over(world)


@pytest.mark.parametrize("how", ["drained", "removed"])
def test_a_connection_to_an_upstream_that_left_meanwhile_is_not_kept(how: str) -> None:
    world = World(upstreams=UPSTREAMS[:2])
    client = world.ask(ask())
    upstream = world.accept()
    one = world.pool.upstreams[0]
    if how == "drained":
        one.state = "drain"
        world.relay.drains.drain_upstream(world.pool, one)
    else:
        world.relay.members_changed(world.pool, world.pool.set_members("file", UPSTREAMS[1:2]))
    world.send(upstream, OK)
    assert take(client).get("Connection") is None
    assert upstream.lost
    assert not upstream.aborted
    check_over(world)


# of an upstream or a pool


def two_requests(world: World) -> tuple[FakeTransport, FakeTransport]:
    """Bring about a stream of events and a request without an answer, on the first upstream."""
    stream = world.ask(ask("/events"))
    world.send(world.accept(), b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
    hanging = world.ask(ask("/hangs"))
    world.accept()
    return stream, hanging


@pytest.mark.parametrize("whole", [False, True], ids=["upstream", "pool"])
def test_what_is_under_way_on_a_drained_upstream_ends_in_its_time(whole: bool) -> None:
    world = World(evolve(ROUTE, http_timeout=None))
    world.relay.config = evolve(world.relay.config, drain_timeout=10.0)
    stream, hanging = two_requests(world)
    upstream, drains = world.pool.upstreams[0], world.relay.drains
    upstream.state = "drain"
    for _ in range(3):  # however often it is ordered
        if whole:
            drains.drain_pool(world.pool)
        else:
            drains.drain_upstream(world.pool, upstream)
        world.advance(3)
    world.advance(0.9)
    assert not stream.lost
    assert hanging.received == b""
    world.advance(0.2)
    assert stream.aborted
    got = take(hanging)
    assert got.status == 503
    assert b"is drained; connect again." in got.body
    assert upstream.active == 0
    check_over(world)


def test_an_upstream_that_is_ready_again_keeps_its_requests() -> None:
    world = World(evolve(ROUTE, http_timeout=None))
    world.relay.config = evolve(world.relay.config, drain_timeout=10.0)
    stream, hanging = two_requests(world)
    world.relay.drains.drain_upstream(world.pool, world.pool.upstreams[0])
    world.advance(5)
    world.relay.drains.stop(world.pool.upstreams[0])
    world.advance(60)
    assert not stream.lost
    assert hanging.received == b""
    for client in (stream, hanging):
        world.reset(client)
    check_over(world)


def test_a_drain_of_requests_that_end_by_themselves_leaves_nothing_behind() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.relay.drains.drain_upstream(world.pool, world.pool.upstreams[0])
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


def test_a_relay_that_lets_clients_in_again_keeps_its_requests() -> None:
    world = World(evolve(ROUTE, http_timeout=None))
    world.relay.config = evolve(world.relay.config, drain_timeout=10.0)
    stream, hanging = two_requests(world)
    world.relay.drains.drain_relay()
    world.advance(5)
    world.relay.drains.undrain_relay()
    world.advance(60)
    assert not stream.lost
    assert hanging.received == b""
    for client in (stream, hanging):
        world.reset(client)
    check_over(world)
