"""Listeners and routes that come, go and change at a reload, and who came through them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import free_port
from tests.system.site import MAIN, Site, listener, route
from tests.system.support import (
    BINARY,
    answer_close,
    end_normally,
    fd_count,
    handshake,
    masked,
    read_data,
    refuses,
    wait_until,
)


@contextmanager
def taken_port() -> Iterator[int]:
    """Let somebody else listen on a port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_listener_that_is_added_serves_and_one_that_is_removed_refuses(site: Site) -> None:
    site.reload(listener("new"), wanted="reload: listener new opened on tcp:")
    client, other = site.stage.begin(listener="new")
    port = site.relay.ports["new"]
    site.reload(wanted="reload: listener new closed")
    assert refuses(port)
    client.send(masked(BINARY, b"still here"))
    assert read_data(other).payload == b"still here"
    end_normally(client, other)
    site.stage.works()


def test_a_listener_with_another_endpoint_moves(site: Site) -> None:
    old = site.relay.ports["main"]
    site.relay.ports = {}
    site.reload(wanted="reload: listener main opened on tcp:")
    assert site.relay.ports["main"] != old
    assert refuses(old)
    site.stage.works()


def test_listeners_may_exchange_their_names_and_routes_follow(site: Site) -> None:
    more = listener("b"), route("b", "listener = b")
    site.reload(*more, wanted="reload: listener b opened")
    ports = site.relay.ports
    site.relay.ports = {"main": ports["b"], "b": ports["main"]}
    site.reload(*more, wanted="reload: listener main is called b now")
    end_normally(*site.stage.begin(b"/b", listener="b"))
    end_normally(*site.stage.begin(b"/b", listener="main"))
    site.relay.wait_for_words("listener=b route=b ")
    site.relay.wait_for_words("listener=main route=main ")


def test_clients_of_a_listener_that_is_gone_are_led_by_the_routes_that_are_left(
    site: Site,
) -> None:
    gone = f"[route:gone]\npath = /gone\npool = gone\n[pool:gone]\nupstreams = {site.url}"
    site.reload(listener("gone"), gone, wanted="reload: listener gone opened")
    descriptors = fd_count(site.relay.pid)
    clients = [site.stage.connect("gone") for _ in range(2)]
    wait_until(lambda: fd_count(site.relay.pid) >= descriptors + 2, "two clients")
    site.reload(wanted="reload: listener gone closed")
    for client, path in zip(clients, (b"/here", b"/gone"), strict=True):
        client.send(handshake(path))
        assert site.stage.accept().read_head().startswith(b"GET " + path)
    site.relay.wait_for_words("pool gone removed")


def test_an_address_that_is_taken_refuses_the_whole_reload(site: Site) -> None:
    with taken_port() as port:
        first = f"tcp:{free_port()}:interface=127.0.0.1"
        second = f"tcp:{port}:interface=127.0.0.1"
        more = listener("first", endpoint=first), listener("second", endpoint=second), route("x")
        line = site.reload(*more, wanted="reload refused: ")
        assert (
            f"cannot listen on 127.0.0.1:{port}: Address already in use (listener second)" in line
        )
        assert refuses(int(first.split(":")[1]))
        assert "route x" not in site.relay.log()
        site.stage.works()
    site.relay.hang_up("reload: listener second opened")
    for name, endpoint in (("first", first), ("second", second)):
        site.relay.ports[name] = int(endpoint.split(":")[1])
        end_normally(*site.stage.begin(listener=name))


def test_when_what_takes_a_listeners_place_cannot_open_the_old_one_opens_again(
    site: Site,
) -> None:
    port = site.relay.ports["main"]
    with taken_port() as other:
        # The same address said otherwise: it is free once the old listener is closed.
        same = listener("main", endpoint=f"tcp:port={port}:interface=127.0.0.1")
        second = listener("second", endpoint=f"tcp:{other}:interface=127.0.0.1")
        site.reload(second, main=same, wanted="reload refused: ")
        site.relay.ports["main"] = port
        site.stage.works()
    site.relay.hang_up("reload: listener second opened")
    site.stage.works()


def test_sessions_of_a_route_are_closed_when_it_goes_and_not_when_it_is_back(site: Site) -> None:
    relay = "[relay]\ndrain_timeout = 1h\n"
    site.reload(route("x"), main=relay + MAIN, wanted="reload: route x added")
    old = [site.stage.begin(b"/x") for _ in range(3)]
    site.reload(main=relay + MAIN, wanted="reload: route x removed")
    closed = wait_until(lambda: next((p for p in old if p[0].has_data()), None), "a close")
    answer_close(*closed, reason=b"the route is removed")
    site.relay.wait_for_words(" end id=")  # the relay has heard both answers
    site.reload(route("x"), main=relay + MAIN, wanted="route x: 1 of 3 sessions closed")
    new = site.stage.begin(b"/x")
    for client, other in [pair for pair in [*old, new] if pair is not closed]:
        client.send(masked(BINARY, b"still here"))
        assert read_data(other).payload == b"still here"
        end_normally(client, other)
