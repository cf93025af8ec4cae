"""The endpoint as a service, over real sockets, with a client that is not ours."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from tests.admin.support import BEARER, OWN, SESSION, STATUS, TOKEN, FakeControl
from tests.peers.certificates import Authority
from tests.support import PATIENCE, Process
from wsrelay.admin.service import AdminService
from wsrelay.listening import CannotStartError

LOOPBACK = "tcp:0:interface=127.0.0.1"


@contextmanager
def serving(endpoint: str = LOOPBACK, token: str = "") -> Iterator[tuple[Process, int]]:
    """Run the endpoint in a process; give it and its port."""
    with Process([sys.executable, "-m", "tests.admin.serve", endpoint, token]) as process:
        _, event = process.wait_for_event(event="ready")
        yield process, event["port"]
        print(process.log())  # pytest shows it when the test failed
        assert "Traceback" not in process.log()


def get(connection: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, bytes]:
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def hear(client: ClientConnection) -> Any:
    return json.loads(client.recv(timeout=PATIENCE))


def code_of(client: ClientConnection) -> int:
    """Wait until the connection is closed, and return the code."""
    try:
        while True:
            client.recv(timeout=PATIENCE)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 1006


def test_it_binds_before_privileges_are_dropped_and_once() -> None:
    reactor = MemoryReactorClock()
    service = AdminService("tcp:8404:interface=127.0.0.1", FakeControl(), None, reactor)
    service.privilegedStartService()
    service.startService()
    assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == [
        (8404, "127.0.0.1")
    ]
    assert service.stopService().called
    assert reactor.getDelayedCalls() == []


def test_an_address_that_is_taken_is_named() -> None:
    reactor = MemoryReactorClock()

    def refuse(*_: Any, **__: Any) -> None:
        raise CannotListenError("127.0.0.1", 8404, OSError(98, "Address already in use"))

    reactor.listenTCP = refuse  # type: ignore[method-assign]
    service = AdminService("tcp:8404:interface=127.0.0.1", FakeControl(), None, reactor)
    with pytest.raises(CannotStartError) as caught:
        service.privilegedStartService()
    assert str(caught.value) == (
        "cannot listen on 127.0.0.1:8404: Address already in use (the admin endpoint)"
    )


def test_beyond_loopback_it_needs_a_token() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        AdminService("tcp:8404", FakeControl(), None, MemoryReactorClock())
    AdminService("tcp:8404", FakeControl(), TOKEN, MemoryReactorClock())


def test_over_tcp_a_connection_serves_many_requests_and_a_dashboard() -> None:
    with serving() as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        for _ in range(3):
            status, body = get(connection, "/status.json")
            assert (status, json.loads(body)) == (200, STATUS)
        connection.close()
        with connect(f"ws://127.0.0.1:{port}/live", compression=None) as client:
            assert hear(client)["status"] == STATUS
            client.send('{"filter": {"pool": "chat"}}')
            assert hear(client)["sessions"]["sessions"] == [SESSION]
            client.send("nonsense")
            assert code_of(client) == 1008


def test_who_offers_compression_is_served_without_it() -> None:
    with serving() as (_, port), connect(f"ws://127.0.0.1:{port}/live") as client:
        assert hear(client)["status"] == STATUS


def test_over_a_unix_socket_the_host_does_not_matter(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    with serving(f"unix:{path}"):
        connection = http.client.HTTPConnection("any.example")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(path)
        assert get(connection, "/healthz") == (200, b"ok")
        assert json.loads(get(connection, "/status.json")[1]) == STATUS
        assert get(connection, "/status.json", Origin="https://any.example")[0] == 403
        connection.close()
        with unix_connect(path, "ws://any.example/live") as client:
            assert hear(client)["status"] == STATUS


def test_over_tls_it_speaks_http_1_1_and_websockets(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("localhost")
    context = ssl.create_default_context(cafile=authority.certificate())
    context.set_alpn_protocols(["h2", "http/1.1"])
    endpoint = f"ssl:0:interface=127.0.0.1:certKey={pair.certificate}:privateKey={pair.key}"
    with serving(endpoint, TOKEN) as (_, port):
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
        assert get(connection, "/status.json")[0] == 401
        status, body = get(connection, "/status.json", **BEARER)
        assert (status, json.loads(body)) == (200, STATUS)
        connection.close()
        with connect(
            f"wss://localhost:{port}/live", ssl=context, additional_headers=BEARER
        ) as client:
            assert hear(client)["status"] == STATUS


def test_a_websocket_needs_the_token_and_our_own_origin() -> None:
    with serving(token=TOKEN) as (_, port):
        url, own = f"ws://127.0.0.1:{port}/live", f"http://127.0.0.1:{port}"
        for headers in ({}, {"Origin": own}, {**BEARER, "Origin": OWN}):
            with pytest.raises(InvalidStatus), connect(url, additional_headers=headers):
                pass
        with connect(url, additional_headers={**BEARER, "Origin": own}) as client:
            assert hear(client)["status"] == STATUS


def test_when_the_service_stops_dashboards_are_told() -> None:
    with serving() as (process, port), connect(f"ws://127.0.0.1:{port}/live") as client:
        hear(client)
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        assert get(idle, "/healthz")[0] == 200  # so that it is accepted, and stays
        process.terminate()
        assert code_of(client) == 1001
        assert idle.sock.recv(1) == b""
        idle.close()
        assert process.wait() == 0
