"""What HAProxy's websocket guides configure, by the examples that stand for them."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.examples.support import CLIENT, converse, example, fetch, open_socket, telling
from tests.peers.upstreams import own_url
from tests.support import PATIENCE, Process, free_port, require_program, started_relay
from tests.system.admin import Admin

pytestmark = pytest.mark.peers

OFTEN = {"interval=3s": "interval=50ms timeout=5s"}

HAPROXY = """\
defaults
    mode tcp
    timeout connect 10s
    timeout client 20s
    timeout server 20s
frontend front
    bind 127.0.0.1:{front}
    default_backend relays
backend relays
    server relay1 127.0.0.1:{relay} send-proxy-v2
frontend behind
    mode http
    bind 127.0.0.1:{behind} accept-proxy
    http-request set-header X-Seen %[src]
    default_backend applications
backend applications
    mode http
    server app1 127.0.0.1:{application}
"""


def servers(stack: ExitStack, *names: str) -> dict[str, Process]:
    return {name: stack.enter_context(telling(name)) for name in names}


def test_two_servers_are_checked_and_a_cookie_leads_back(stack: ExitStack, tmp_path: Path) -> None:
    running = servers(stack, "websrv1", "websrv2")
    replaced = {
        "ws://192.168.10.11:8080": own_url(running["websrv1"]),
        "ws://192.168.10.12:8080": own_url(running["websrv2"]),
    }
    text = example("haproxy-websocket.ini", replaced | OFTEN)
    relay = stack.enter_context(started_relay(text, tmp_path))
    admin, port = Admin.of(relay), relay.ports["public"]
    for name in running:
        admin.wait_for("web", name, health="up")
    with open_socket(port, "/chat") as one, open_socket(port, "/chat") as two:
        first = converse(one).name
        assert {first, converse(two).name} == running.keys()  # the one with fewer connections
        assert one.response is not None
        cookie = one.response.headers["Set-Cookie"].partition(";")[0]
        assert cookie.startswith("SRV=")
        with open_socket(port, "/chat", headers={"Cookie": cookie}) as three:
            assert converse(three).name == first
        assert fetch(port, "/page", headers={"Cookie": cookie}).told.name == first
        running[first].kill()
        with pytest.raises(ConnectionClosed):
            one.recv(PATIENCE)
        admin.wait_for("web", first, health="down")
        with open_socket(port, "/chat", headers={"Cookie": cookie}) as other:
            assert converse(other).name != first
            assert other.response is not None
            assert other.response.headers["Set-Cookie"].startswith("SRV=")


def test_hosts_and_paths_have_servers_of_their_own(stack: ExitStack, tmp_path: Path) -> None:
    running = servers(stack, "wssrv1", "wssrv2", "websrv1", "websrv2")
    places = {
        "ws://192.168.10.21:8080": "wssrv1",
        "ws://192.168.10.22:8080": "wssrv2",
        "ws://192.168.10.11:80": "websrv1",
        "ws://192.168.10.12:80": "websrv2",
    }
    replaced = {place: own_url(running[name]) for place, name in places.items()}
    text = example("haproxy-routing.ini", replaced | OFTEN)
    port = stack.enter_context(started_relay(text, tmp_path)).ports["public"]

    def visited(path: str, host: str) -> set[str]:
        found = set()
        for _ in range(4):
            with open_socket(port, path, host=host) as client:
                found.add(converse(client).name)
        return found

    assert visited("/", "ws.example.com") == {"wssrv1", "wssrv2"}
    assert visited("/ws/", "www.example.com") == {"wssrv1", "wssrv2"}
    assert visited("/live", "www.example.com") == {"websrv1", "websrv2"}
    pages = {fetch(port, "/", host="www.example.com").told.name for _ in range(4)}
    assert pages == {"websrv1", "websrv2"}
    denied = fetch(port, "/", host="ws.example.com")
    assert (denied.status, denied.headers["Upgrade"]) == (426, "websocket")
    broken = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert fetch(port, "/ws/", headers=broken).status == 400


def test_behind_haproxy_the_clients_address_is_known_to_everybody(
    stack: ExitStack, tmp_path: Path
) -> None:
    """The client comes from another address of the loopback than HAProxy does."""
    program = require_program("haproxy")
    application = stack.enter_context(telling("app"))
    front, behind = free_port(), free_port()
    replaced = {
        "ws://127.0.0.1:3000": f"ws://127.0.0.1:{behind}",
        "10.0.0.0/24": "127.0.0.1",
    }
    text = example("haproxy-proxy-protocol.ini", replaced)
    relay = stack.enter_context(started_relay(text, tmp_path))
    (tmp_path / "haproxy.cfg").write_text(
        HAPROXY.format(
            front=front,
            relay=relay.ports["behind-haproxy"],
            behind=behind,
            application=own_url(application).rpartition(":")[2],
        )
    )
    haproxy = stack.enter_context(Process([program, "-db", "-f", tmp_path / "haproxy.cfg"]))
    haproxy.wait_for_port(front)
    with open_socket(front, "/chat", headers={"X-Forwarded-For": "203.0.113.66"}) as client:
        told = converse(client)
    plain = fetch(front, "/page").told
    for each in (told, plain):
        assert each.get("X-Real-IP") == each.get("X-Forwarded-For") == CLIENT
        assert each.get("X-Seen") == CLIENT  # by the second HAProxy, from its PROXY header
    _, logged = relay.wait_for_event(event="end", route="everything")
    assert logged["client"].startswith(f"{CLIENT}:")


def test_nobody_but_haproxy_may_say_whose_connection_it_is(
    stack: ExitStack, tmp_path: Path
) -> None:
    application = stack.enter_context(telling("app"))
    replaced = {
        "ws://127.0.0.1:3000": own_url(application),
        "proxy_protocol = v2\n": "\n",
        "10.0.0.0/24": "127.0.0.1",
    }
    text = example("haproxy-proxy-protocol.ini", replaced)
    relay = stack.enter_context(started_relay(text, tmp_path))
    port = relay.ports["behind-haproxy"]
    asking = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n"

    def answer_to(source: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)) as sock:
            sock.sendall(asking)
            found = b""
            try:
                while data := sock.recv(65536):
                    found += data
            except ConnectionResetError:
                pass
            return found

    assert b'"203.0.113.7"' in answer_to("127.0.0.1")
    assert answer_to(CLIENT) == b""
    _, logged = relay.wait_for_event(event="refused", status=403)
    assert logged["client"].startswith(f"{CLIENT}:")


def test_without_servers_clients_wait_in_the_queue_and_are_then_refused(
    stack: ExitStack, tmp_path: Path
) -> None:
    dead = [f"ws://127.0.0.1:{free_port()}" for _ in range(2)]
    replaced = {
        "ws://192.168.10.11:8080": dead[0],
        "ws://192.168.10.12:8080": dead[1],
        "queue_timeout = 30s": "queue_timeout = 300ms",
    }
    text = example("haproxy-websocket.ini", replaced | OFTEN)
    relay = stack.enter_context(started_relay(text, tmp_path))
    with pytest.raises(InvalidStatus, match=r"HTTP 50[23]"):
        open_socket(relay.ports["public"], "/chat")
