"""Which extensions an upstream is offered, and what the client is told."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.messages.ground import Deflater, compressed_frame
from tests.relay.support import FakeTransport, frames_in
from tests.relay.world import REQUEST, ROUTE, SWITCHING, World
from wsrelay.config.model import RouteConfig
from wsrelay.messages.pump import MessagePump
from wsrelay.relay.pump import Side
from wsrelay.relay.python_pump import PythonPump

BROWSERS = b"permessage-deflate; client_max_window_bits"
AGREED = b"permessage-deflate; client_max_window_bits=12"


def route(compression: str) -> RouteConfig:
    return evolve(ROUTE, mode="messages", compression=compression)


def with_field(head: bytes, value: bytes) -> bytes:
    return head[:-2] + b"Sec-WebSocket-Extensions: " + value + b"\r\n\r\n"


def said(transport: FakeTransport) -> list[bytes]:
    """Return what a peer was told in Sec-WebSocket-Extensions, one for each field."""
    head = bytes(transport.received).partition(b"\r\n\r\n")[0]
    fields = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [value for name, _, value in fields if name.lower() == b"sec-websocket-extensions"]


def establish(
    world: World, offered: bytes = b"", answered: bytes = b""
) -> tuple[FakeTransport, FakeTransport]:
    client = world.ask(with_field(REQUEST, offered) if offered else REQUEST)
    upstream = world.accept()
    world.send(upstream, with_field(SWITCHING, answered) if answered else SWITCHING)
    return client, upstream


@pytest.mark.parametrize(
    ("compression", "offer", "answer"),
    [
        ("off", [], []),
        ("client", [], [AGREED]),
        ("upstream", [BROWSERS], []),
        ("both", [BROWSERS], [AGREED]),
    ],
)
def test_each_leg_has_what_the_route_says(
    compression: str, offer: list[bytes], answer: list[bytes]
) -> None:
    world = World(route(compression))
    client, upstream = establish(world, BROWSERS, b"permessage-deflate" if offer else b"")
    assert said(upstream) == offer
    assert said(client) == answer
    assert world.observer.opened[0].extensions.encode() == b"".join(answer)
    (session,) = world.relay.sessions.values()
    assert type(session.pump) is MessagePump


def test_a_client_that_offers_nothing_gets_nothing_and_the_upstream_is_offered_all_the_same() -> (
    None
):
    client, upstream = establish(World(route("both")), b"", b"permessage-deflate")
    assert said(upstream) == [BROWSERS]
    assert said(client) == []


def test_an_upstream_that_declines_is_not_compressed_and_the_client_is() -> None:
    client, _ = establish(World(route("both")), BROWSERS)
    assert said(client) == [AGREED]


def test_a_bad_offer_is_declined_and_the_client_let_in() -> None:
    world = World(route("client"))
    client, _ = establish(world, b"permessage-deflate; server_max_window_bits=99, x-other")
    assert client.received.startswith(b"HTTP/1.1 101 ")
    assert said(client) == []


def test_no_other_extension_of_the_clients_reaches_the_upstream() -> None:
    _, upstream = establish(World(route("both")), b"x-mux; a=b, permessage-deflate; x")
    assert said(upstream) == [BROWSERS]


@pytest.mark.parametrize(
    ("compression", "answered"),
    [
        ("client", b"permessage-deflate"),
        ("off", b"permessage-deflate"),
        ("upstream", b"x-mux"),
        ("both", b"permessage-deflate; client_max_window_bits"),
        ("both", b"permessage-deflate, permessage-deflate"),
    ],
)
def test_an_upstream_that_agrees_to_what_it_was_not_offered_has_failed(
    compression: str, answered: bytes
) -> None:
    world = World(evolve(route(compression), retries=0))
    client, upstream = establish(world, BROWSERS, answered)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert upstream.lost
    assert world.observer.refusals[0][0] == 502


def test_compressed_messages_cross_legs_that_are_compressed_otherwise() -> None:
    world = World(route("client"))
    client, upstream = establish(world, BROWSERS)
    client.received.clear()
    upstream.received.clear()
    world.send(client, compressed_frame(Side.CLIENT, Deflater(12).deflate(b"hello" * 20), 1))
    frames, _ = frames_in(bytes(upstream.received))
    assert [each.payload for each in frames] == [b"hello" * 20]
    assert upstream.received[0] == 0x81
    world.send(upstream, b"\x81\x64" + b"hello" * 20)
    assert client.received[0] == 0xC1
    frames, _ = frames_in(bytes(client.received))
    assert Deflater(12).inflate(frames[0].payload) == b"hello" * 20


def test_the_subprotocol_is_still_the_upstreams_choice() -> None:
    world = World(route("both"))
    client = world.ask(REQUEST[:-2] + b"Sec-WebSocket-Protocol: chat, superchat\r\n\r\n")
    upstream = world.accept()
    assert b"\r\nSec-WebSocket-Protocol: chat, superchat\r\n" in upstream.received
    world.send(upstream, SWITCHING[:-2] + b"Sec-WebSocket-Protocol: superchat\r\n\r\n")
    assert b"\r\nSec-WebSocket-Protocol: superchat\r\n" in client.received
    assert world.observer.opened[0].subprotocol == "superchat"


def test_frames_still_agree_end_to_end() -> None:
    world = World(ROUTE)
    client, upstream = establish(world, BROWSERS + b"; x", b"permessage-deflate; y")
    assert said(upstream) == [BROWSERS + b"; x"]
    assert said(client) == [b"permessage-deflate; y"]
    (session,) = world.relay.sessions.values()
    assert type(session.pump) is PythonPump


def test_a_plain_request_keeps_the_field_that_means_nothing_there() -> None:
    world = World(route("both"))
    world.ask(b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: x\r\n\r\n")
    assert said(world.accept()) == [b"x"]
