"""Listeners and upstreams on every kind of address."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import (
    RawUpstream,
    Stage,
    Wire,
    converse,
    handshake,
    read_answer,
    wait_until,
)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@contextlib.contextmanager
def started(endpoint: str, url: str, folder: Path, more: str = "") -> Iterator[RelayProcess]:
    text = (
        f"[listener:main]\nendpoint = {endpoint}\n[route:main]\npool = main\n{more}\n"
        f"[pool:main]\nupstreams = {url}\n[log]\nformat = json\n"
    )
    with started_relay(text, folder) as relay:
        relay.wait_for_line(lambda line: "is up" in line)
        yield relay


def test_a_unix_listener_in_the_folder_of_the_file(upstream: RawUpstream, tmp_path: Path) -> None:
    with started("unix:relay.sock", upstream.url, tmp_path) as relay:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(tmp_path / "relay.sock"))
        head = converse(Wire(sock), upstream)
        assert not [line for line in head if line.startswith((b"X-Forwarded-For", b"X-Real-IP"))]
        _, event = relay.wait_for_event(event="end")
        assert event["client"] == "unix:"
    assert not (tmp_path / "relay.sock").exists()


@needs_ipv6
def test_an_ipv6_listener(upstream: RawUpstream, tmp_path: Path) -> None:
    port = free_port()
    endpoint = rf"tcp6:{port}:interface=\:\:1"
    with started(endpoint, upstream.url, tmp_path) as relay:
        head = converse(Wire(socket.create_connection(("::1", port))), upstream)
        assert b"X-Forwarded-For: ::1" in head
        assert b"X-Real-IP: ::1" in head
        _, event = relay.wait_for_event(event="end")
        assert event["client"].startswith("[::1]:")


@needs_ipv6
def test_an_ipv6_upstream(tmp_path: Path) -> None:
    listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    upstream = RawUpstream(listening, f"ws://[::1]:{listening.getsockname()[1]}")
    more = "host_header = upstream"
    with started("tcp:0:interface=127.0.0.1", upstream.url, tmp_path, more) as relay:
        client = Wire(socket.create_connection(("127.0.0.1", relay.ports["main"])))
        head = converse(client, upstream)
        assert f"Host: {upstream.url[5:]}".encode() in head
    upstream.close()


def test_an_upstream_by_name(upstream: RawUpstream, tmp_path: Path) -> None:
    url = f"ws://localhost:{upstream.port}"
    with started("tcp:0:interface=127.0.0.1", url, tmp_path) as relay:
        client = Wire(socket.create_connection(("127.0.0.1", relay.ports["main"])))
        converse(client, upstream)


def test_a_name_that_does_not_resolve_is_502(tmp_path: Path) -> None:
    url = "ws://no-such-host.invalid:80"
    with started("tcp:0:interface=127.0.0.1", url, tmp_path) as relay:
        client = Wire(socket.create_connection(("127.0.0.1", relay.ports["main"])))
        client.send(handshake())
        assert read_answer(client).status in (502, 504)
        client.close()


def connections_to(port: int) -> int:
    """Count this machine's IPv4 connections to *port*, those that nobody took included."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(int(row.split()[2].rpartition(":")[2], 16) == port for row in rows)


def test_a_client_that_leaves_while_a_name_is_dialled_leaves_nothing(tmp_path: Path) -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=1)
    url = f"ws://localhost:{full.getsockname()[1]}"
    with started("tcp:0:interface=127.0.0.1", url, tmp_path) as relay:
        stage = Stage(relay, RawUpstream(full, url))
        port = full.getsockname()[1]
        for number in range(1, 6):
            client = stage.ask()
            wait_until(lambda: connections_to(port), "the dialling")
            client.reset()
            wait_until(lambda n=number: relay.log().count('"status":499') == n, "the end")
            wait_until(lambda: not connections_to(port), "the end of all dialling")
        full.close()
