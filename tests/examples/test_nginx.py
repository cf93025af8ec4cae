"""What nginx's guides configure, by the examples that stand for them."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.examples.support import (
    CLIENT,
    converse,
    example,
    fetch,
    open_socket,
    telling,
    trusting,
)
from tests.peers.certificates import Authority, KeyPair
from tests.peers.node import node
from tests.peers.upstreams import own_url
from tests.support import PATIENCE, Process, free_port, started_relay
from tests.system.admin import Admin

pytestmark = pytest.mark.peers

HOST = "chat.example.com"


@pytest.fixture
def pair(authority: Authority) -> KeyPair:
    return authority.issue(HOST)


def test_the_chat_has_its_path_its_headers_and_its_failover(
    stack: ExitStack, tmp_path: Path
) -> None:
    running = {name: stack.enter_context(telling(name)) for name in ("8010", "8011")}
    places = {f"ws://127.0.0.1:{name}": own_url(each) for name, each in running.items()}
    relay = stack.enter_context(started_relay(example("nginx-websocket.ini", places), tmp_path))
    port = relay.ports["public"]
    with open_socket(port, "/chat/room?a=b", host=HOST) as client:
        told = converse(client)
        assert told.path == "/chat/room?a=b"
        assert told.get("Host") == HOST
        assert told.get("Upgrade") == "websocket"
        assert told.get("X-Real-IP") == told.get("X-Forwarded-For") == CLIENT
        assert told.get("X-Forwarded-Proto") == "http"
        assert told.get("Origin") is None
        running[told.name].kill()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    (survivor,) = running.keys() - {told.name}
    for _ in range(4):
        with open_socket(port, "/chat/") as client:
            assert converse(client).name == survivor
        assert fetch(port, "/chat/history").told.name == survivor
    with pytest.raises(InvalidStatus, match="404"):
        open_socket(port, "/chatter")


def test_node_behind_tls_is_told_of_it_and_plain_http_is_sent_there(
    stack: ExitStack, tmp_path: Path, authority: Authority, pair: KeyPair
) -> None:
    running = [stack.enter_context(node("telling_node.mjs", name)) for name in ("8010", "8011")]
    replaced = {
        "ws://127.0.0.1:8010": own_url(running[0]),
        "ws://127.0.0.1:8011": own_url(running[1]),
        "/etc/ssl/certs/chat.pem": pair.certificate,
        "/etc/ssl/private/chat.key": pair.key,
    }
    relay = stack.enter_context(started_relay(example("nginx-tls.ini", replaced), tmp_path))
    tls, port = trusting(authority.certificate()), relay.ports["https"]
    with open_socket(port, "/ws", host=HOST, tls=tls) as client:
        told = converse(client)
    assert told.get("X-Forwarded-Proto") == "https"
    assert told.get("X-Forwarded-Host") == told.get("Host") == HOST
    assert told.get("Connection") == "Upgrade"
    plain = fetch(port, "/page", host=HOST, tls=tls).told
    assert plain.path == "/page"
    assert plain.get("Upgrade") is None
    assert "upgrade" not in (plain.get("Connection") or "").lower()
    assert plain.get("X-Real-IP") == CLIENT
    sent = fetch(relay.ports["http"], "/page?a=b", host=HOST)
    assert (sent.status, sent.headers["Location"]) == (301, f"https://{HOST}/page?a=b")


CLUSTER = {f"127.0.0.1:{port}" for port in (8001, 8002, 8003, 8004)}


def test_the_cluster_shows_who_is_up_and_goes_round_those(stack: ExitStack, tmp_path: Path) -> None:
    ports = {name: free_port() for name in CLUSTER}
    running = {name: _start(stack, name, port) for name, port in ports.items()}
    replaced: dict[str, object] = {
        f"ws://{name}": f"ws://127.0.0.1:{port} name={name}" for name, port in ports.items()
    }
    replaced |= {"interval=3s": "interval=50ms", "timeout=1s": "timeout=5s"}
    relay = stack.enter_context(started_relay(example("tcp-proxy-module.ini", replaced), tmp_path))
    admin, port = Admin.of(relay), relay.ports["public"]
    for name in CLUSTER:
        admin.wait_for("websockets", name, health="up")
    assert _visited(port) == CLUSTER
    lost = "127.0.0.1:8002"
    running[lost].kill()
    admin.wait_for("websockets", lost, health="down")
    assert _visited(port) == CLUSTER - {lost}
    assert fetch(port, "/page").told.name in CLUSTER - {lost}
    _start(stack, lost, ports[lost])
    admin.wait_for("websockets", lost, health="up")
    assert _visited(port) == CLUSTER
    page = fetch(relay.ports["admin"], "/", host="127.0.0.1")
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")


def test_who_comes_back_to_the_cluster_with_its_cookie_meets_the_same_process(
    stack: ExitStack, tmp_path: Path
) -> None:
    running = {name: stack.enter_context(telling(name)) for name in CLUSTER}
    places = {f"ws://{name}": f"{own_url(each)} name={name}" for name, each in running.items()}
    relay = stack.enter_context(started_relay(example("tcp-proxy-module.ini", places), tmp_path))
    port = relay.ports["public"]
    with open_socket(port, "/") as client:
        first = converse(client).name
        assert client.response is not None
        cookie = client.response.headers["Set-Cookie"].partition(";")[0]
    for _ in range(4):
        with open_socket(port, "/", headers={"Cookie": cookie}) as client:
            assert converse(client).name == first
    assert _visited(port) == CLUSTER  # and others go round all the same


def test_the_site_and_its_websockets_share_a_host(
    stack: ExitStack, tmp_path: Path, authority: Authority, pair: KeyPair
) -> None:
    running = [stack.enter_context(telling(name)) for name in ("3000", "3001")]
    site = tmp_path / "html"
    site.mkdir()
    (site / "index.html").write_text("<!doctype html><title>Chat</title>")
    (site / "app.js").write_text("let chat;")
    (site / "app.js.gz").write_bytes(gzip.compress(b"let chat;"))
    replaced = {
        "ws://127.0.0.1:3000": own_url(running[0]),
        "ws://127.0.0.1:3001": own_url(running[1]),
        "/etc/ssl/certs/site.pem": pair.certificate,
        "/etc/ssl/private/site.key": pair.key,
        "/var/www/html": site,
    }
    text = example("static-and-websocket.ini", replaced)
    relay = stack.enter_context(started_relay(text, tmp_path))
    tls, port = trusting(authority.certificate()), relay.ports["https"]
    sent = fetch(relay.ports["http"], "/ws/?a=b", host=HOST)
    assert (sent.status, sent.headers["Location"]) == (301, f"https://{HOST}/ws/?a=b")
    page = fetch(port, "/", host=HOST, tls=tls)
    assert page.body == b"<!doctype html><title>Chat</title>"
    assert page.headers.get_content_type() == "text/html"
    again = {"If-None-Match": page.headers["ETag"]}
    assert fetch(port, "/", host=HOST, tls=tls, headers=again).status == 304
    script = fetch(port, "/app.js", host=HOST, tls=tls, headers={"Accept-Encoding": "gzip"})
    assert script.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(script.body) == b"let chat;"
    assert fetch(port, "/application/path", host=HOST, tls=tls).status == 404
    with open_socket(port, "/ws/room", host=HOST, tls=tls) as client:
        assert converse(client).name == "3000"
    assert fetch(port, "/ws/room", host=HOST, tls=tls).status == 426
    api = fetch(port, "/api/users", host=HOST, tls=tls, method="POST", body=b"x" * 1000)
    assert (api.told.name, api.told.path) == ("3000", "/api/users")
    over = b"x" * (1024 * 1024 + 1)
    assert fetch(port, "/api/users", host=HOST, tls=tls, method="POST", body=over).status == 413
    running[0].kill()
    with open_socket(port, "/ws/room", host=HOST, tls=tls) as client:
        assert converse(client).name == "3001"


def _start(stack: ExitStack, name: str, port: int) -> Process:
    return stack.enter_context(telling(name, port=port))


def _visited(port: int) -> set[str]:
    """Return where some clients without a cookie come."""
    found = set()
    for _ in range(2 * len(CLUSTER)):
        with open_socket(port, "/") as client:
            found.add(converse(client).name)
    return found
