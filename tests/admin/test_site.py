"""Connections: none lasts for ever, none is one too many, and all end with the service."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.admin.support import HANDSHAKE, HOST, Client, World, logged, request
from tests.relay.support import CLOSE
from wsrelay.admin.live import Viewer


@pytest.fixture
def world() -> World:
    return World()


def test_a_connection_is_kept_for_more_and_ends_when_nothing_comes(world: World) -> None:
    client = world.connect()
    for _ in range(3):
        world.advance(50.0, client)
        client.send(request("GET", "/status.json"))
        assert client.reply().status == 200
    world.advance(59.0, client)
    assert not client.transport.lost
    world.advance(1.0, client)
    assert client.transport.lost
    world.assert_at_rest()


def test_a_request_that_trickles_in_gets_no_more_time(world: World) -> None:
    client = world.connect()
    for byte in request("GET", "/status.json", {"X": "x" * 100})[:60]:
        client.send(bytes([byte]))
        world.advance(1.0, client)
    assert client.transport.lost
    assert client.take() == b""
    world.assert_at_rest()


def test_a_body_that_trickles_in_gets_no_more_time(world: World) -> None:
    client = world.connect()
    client.send(request("POST", "/api/drain", {"Content-Length": "1000000000"}))
    for _ in range(60):
        client.send(b" " * 1000)
        world.advance(1.0, client)
    assert client.transport.lost
    assert world.control.orders == []
    world.assert_at_rest()


def test_of_a_body_that_is_too_large_no_more_is_kept_than_may_be(world: World) -> None:
    client = world.connect()
    client.send(request("POST", "/api/drain", {"Content-Length": "1000000000"}))
    for _ in range(100):
        client.send(b" " * 10_000)
    (connection,) = world.site.door.protocols
    (asking,) = connection.wrappedProtocol.requests  # type: ignore[attr-defined]
    assert len(asking.content.getvalue()) == 64 * 1024 + 1


def stalled(world: World, **headers: str) -> Client:
    """Ask, and do not take the answer."""
    client = world.connect()
    client.transport.stalled = True
    world.control.padding = "x" * 1_000_000
    client.send(request("GET", "/status.json", headers))
    assert client.transport.buffer
    return client


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
def test_an_answer_that_nobody_takes_is_given_up(world: World, headers: dict[str, str]) -> None:
    client = stalled(world, **headers)
    world.advance(59.0, client)
    assert not client.transport.lost
    world.advance(61.0, client)
    assert client.transport.lost
    world.assert_at_rest()


def test_an_answer_that_is_taken_late_is_whole(world: World) -> None:
    client = stalled(world, Connection="close")
    world.advance(50.0, client)
    client.transport.stalled = False
    client.settle()
    assert len(client.reply().json["padding"]) == 1_000_000
    assert client.transport.lost
    world.assert_at_rest()


def test_requests_in_one_go_are_answered_in_order(world: World) -> None:
    world.control.reloading = Deferred()
    client = world.connect()
    client.send(request("POST", "/api/reload") + request("GET", "/healthz"))
    assert client.take() == b""
    world.control.reloading.callback([])
    client.settle()
    data = client.take()
    assert data.index(b"changes") < data.index(b"\r\n\r\nok")


def test_there_are_two_hundred_connections_at_most(world: World) -> None:
    clients = [world.connect() for _ in range(200)]
    with logged() as events:
        for _ in range(3):
            assert world.site.door.buildProtocol(clients[0].transport.peer) is None
    assert len(events) == 1
    clients[0].transport.peer_resets()
    clients[0].settle()
    assert world.ask("GET", "/healthz").status == 200


def test_what_is_no_http_is_refused(world: World) -> None:
    client = world.connect()
    client.send(b"\x16\x03\x01 hello\r\n")
    assert client.take().startswith(b"HTTP/1.1 400 ")
    client.settle()
    assert client.transport.lost
    world.assert_at_rest()


def test_http_1_0_is_answered_and_closed(world: World) -> None:
    client = world.connect()
    client.send(request("GET", "/healthz", version="1.0"))
    assert client.reply().body == b"ok"
    assert client.transport.lost
    world.assert_at_rest()


def test_closing_ends_idle_connections_at_once_and_lets_dashboards_say_goodbye(
    world: World,
) -> None:
    idle, dashboard = world.connect(), world.watch()
    dashboard.messages()
    ended: list[None] = []
    world.site.close().addCallback(ended.append)
    idle.settle()
    dashboard.settle()
    assert idle.transport.lost
    assert not dashboard.transport.lost
    (close,) = dashboard.frames()
    assert (close.opcode, close.payload[:2]) == (CLOSE, (1001).to_bytes(2, "big"))
    assert ended == []
    dashboard.say(CLOSE, close.payload[:2])
    assert dashboard.transport.lost
    assert ended == [None]
    world.assert_at_rest()


def test_closing_waits_two_seconds_for_those_that_do_not_answer(world: World) -> None:
    dashboard, half = world.watch(), world.connect()
    half.send(b"GET /")
    slow = stalled(world)
    ended: list[None] = []
    world.site.close().addCallback(ended.append)
    world.advance(1.9, dashboard, half, slow)
    assert ended == []
    world.advance(0.2, dashboard, half, slow)
    assert ended == [None]
    world.assert_at_rest()


def test_closing_without_anybody_is_done_at_once_and_the_site_can_start_again(
    world: World,
) -> None:
    ended: list[None] = []
    world.site.close().addCallback(ended.append)
    assert ended == [None]
    world.assert_at_rest()
    assert world.ask("GET", "/live", {"Upgrade": "websocket"}).status == 503
    world.site.door.doStop()
    world.site.door.doStart()
    world.watch()


@pytest.mark.parametrize("where", ["buildProtocol", "dataReceived"])
def test_a_hand_over_that_fails_ends_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    owner = world.site.live.resource._factory if where == "buildProtocol" else Viewer
    monkeypatch.setattr(owner, where, fail)
    client = world.connect()
    with logged() as events:
        client.send(request("GET", "/live", HANDSHAKE))
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]
    assert client.transport.lost
    world.assert_at_rest()


def test_a_client_that_resets_its_connection_in_an_answer_harms_nobody(world: World) -> None:
    client = stalled(world)
    client.transport.peer_resets()
    client.settle()
    world.assert_at_rest()
    assert world.ask("GET", "/healthz", {"Host": HOST}).status == 200
