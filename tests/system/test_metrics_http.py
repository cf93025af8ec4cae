"""What metrics, API and access log say of plain requests whose number is known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.admin import ADMIN, Admin
from tests.system.support import (
    LOCAL,
    RawUpstream,
    Stage,
    Wire,
    end_normally,
    lines,
    read_answer,
    wait_until,
)

BODY = b"ten bytes."
REQUESTS = 40
"""Of which the upstream answers each fourth with 404."""


@pytest.fixture
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    """Give each test a relay that has counted nothing yet."""
    good = f"{upstream.url} name=good"
    config = "\n".join(
        [
            f"[listener:main]\nendpoint = {LOCAL}",
            ADMIN,
            "[route:web]\npath = /web\npool = web\nmax_body_size = 1KiB",
            f"[pool:web]\nmax_fails = 0\nupstreams = {good}",
            "[route:retry]\npath = /retry\npool = retry",
            "[pool:retry]\nbalancer = first\nmax_fails = 0\nupstreams =",
            f"  ws://127.0.0.1:{free_port()} name=dead\n  {good}",
            "[route:ws]\npath = /ws\nhttp = no\npool = web",
            "[log]\nformat = json",
        ]
    )
    with started_relay(config, tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess) -> Admin:
    return Admin.of(relay)


def request(method: bytes, path: bytes, *more: bytes) -> bytes:
    return lines(b"%b %b HTTP/1.1" % (method, path), b"Host: r.test", *more)


def answer(status: bytes, body: bytes) -> bytes:
    return lines(b"HTTP/1.1 %b" % status, b"Content-Length: %d" % len(body)) + body


def read_body(wire: Wire) -> tuple[int, bytes]:
    """Read an answer of which Content-Length says the end."""
    head = wire.read_head().lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head[9:12]), wire.read(length)


def converse(stage: Stage) -> Wire:
    """Have `REQUESTS` answered, over one connection on either side; return the upstream's."""
    client, server = stage.connect(), None
    for number in range(REQUESTS):
        client.send(request(b"POST", b"/web/%d" % number, b"Content-Length: 10") + BODY)
        server = server or stage.accept()
        assert b"POST /web/%d HTTP/1.1" % number in server.read_head()
        assert server.read(10) == BODY
        status = b"404 Not Found" if number % 4 == 0 else b"200 OK"
        server.send(answer(status, b"x" * 100))
        assert read_body(client) == (int(status[:3]), b"x" * 100)
    client.close()
    assert server is not None
    return server


def be_refused(stage: Stage) -> None:
    """Send what the relay answers itself."""
    for asked, status in (
        (request(b"GET", b"/nowhere"), 404),
        (request(b"GET", b"/nowhere"), 404),
        (request(b"GET", b"/ws"), 426),
        (request(b"TRACE", b"/web"), 405),
        (request(b"GET", b"/web", b"Expect: miracles"), 417),
        (request(b"PUT", b"/web", b"Content-Length: 5000"), 413),
    ):
        client = stage.connect()
        client.send(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert read_answer(client).status == status


def fail(stage: Stage, server: Wire) -> None:
    """Let the upstream break one request, on *server*, and a client leave before its answer."""
    client = stage.connect()
    client.send(request(b"GET", b"/web/broken", b"Connection: close"))
    server.read_head()
    server.send(b"nonsense\r\n\r\n")
    assert read_answer(client).status == 502
    client = stage.connect()
    client.send(request(b"GET", b"/web/left"))
    server = stage.accept()
    server.read_head()
    client.close()
    server.wait_until_gone()


def counted(admin: Admin, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples that are not 0, by those labels."""
    found: dict[tuple[str, ...], float] = {}
    for (each, pairs), value in admin.metrics().items():
        if each == name and value:
            found[tuple(dict(pairs)[label] for label in labels)] = value
    return found


def test_so_many_requests_as_there_were_are_counted_each_once(stage: Stage, admin: Admin) -> None:
    server = converse(stage)
    be_refused(stage)
    fail(stage, server)
    end_normally(*stage.begin(b"/ws"))
    client = stage.connect()
    client.send(request(b"GET", b"/retry", b"Connection: close"))
    server = stage.accept()
    server.read_head()
    server.send(answer(b"200 OK", b"again"))
    assert read_answer(client).body == b"again"

    wanted = {
        ("web", "good", "200"): REQUESTS * 3 // 4,
        ("web", "good", "404"): REQUESTS // 4,
        ("", "", "404"): 2,
        ("ws", "", "426"): 1,
        ("web", "", "405"): 1,
        ("web", "", "417"): 1,
        ("web", "", "413"): 1,
        ("web", "good", "502"): 1,
        ("web", "good", "499"): 1,
        ("retry", "good", "200"): 1,
    }
    name = "wsrelay_http_requests_total"
    wait_until(
        lambda: (
            sum(counted(admin, name, "route", "upstream", "status").values())
            >= sum(wanted.values())
        ),
        "all requests to be over",
    )
    assert counted(admin, name, "route", "upstream", "status") == wanted
    # One is the websocket.
    assert counted(admin, "wsrelay_handshakes_total", "route", "status") == {("ws", "101"): 1}
    assert counted(admin, "wsrelay_rejected_total", "reason") == {
        ("no-route",): 2,
        ("plain-http",): 1,
        ("method",): 1,
        ("expectation",): 1,
        ("body-too-large",): 1,
        ("upstream-failed",): 1,
        ("client-left",): 1,
    }
    assert counted(admin, "wsrelay_retries_total", "pool") == {("retry",): 1}
    bodies = wait_until(
        lambda: (
            (found := counted(admin, "wsrelay_http_bytes_total", "route", "direction"))
            and ("retry", "down") in found
            and found
        ),
        "the sums of bytes",
    )
    assert bodies == {
        ("web", "up"): 10 * REQUESTS,
        ("web", "down"): 100 * REQUESTS,
        ("retry", "down"): 5,
    }
    asked = REQUESTS + 3
    phases = counted(admin, "wsrelay_http_request_seconds_count", "phase")
    assert phases["total",] == asked
    assert phases["answer",] == REQUESTS + 1
    assert counted(admin, "wsrelay_http_requests_in_flight", "route") == {}

    status = admin.status()
    assert (status["requests"], status["openings"], status["handshakes"]) == (0, 0, 1)
    assert status["refused"] == 0, "of handshakes"
    ok, missing = REQUESTS * 3 // 4, REQUESTS // 4
    total = {"total": REQUESTS + 9, "2xx": ok + 1, "3xx": 0, "4xx": missing + 7, "5xx": 1}
    assert status["http"] == total
    assert {each["name"]: each["http"] for each in status["routes"]} == {
        "web": {"total": REQUESTS + 5, "2xx": ok, "3xx": 0, "4xx": missing + 4, "5xx": 1},
        "retry": {"total": 1, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0},
        "ws": {"total": 1, "2xx": 0, "3xx": 0, "4xx": 1, "5xx": 0},
    }
    found = admin.upstream("web", "good")
    assert (found["answered"], found["handshakes"], found["requests"]) == (REQUESTS, 1, 0)
    assert (found["bytes_up"], found["bytes_down"]) == (10 * REQUESTS, 100 * REQUESTS)


def test_what_is_under_way_is_shown_until_its_last_byte(stage: Stage, admin: Admin) -> None:
    client = stage.connect()
    client.send(request(b"GET", b"/web"))
    server = stage.accept()
    server.read_head()
    server.send(lines(b"HTTP/1.1 200 OK", b"Content-Length: 8") + b"half")
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    assert client.read(4) == b"half"

    def in_flight() -> dict[tuple[str, ...], float]:
        labels = ("route", "pool", "upstream")
        return counted(admin, "wsrelay_http_requests_in_flight", *labels)

    wait_until(lambda: in_flight() == {("web", "web", "good"): 1}, "it to be counted")
    status = admin.status()
    assert (status["requests"], status["openings"], status["sessions"]) == (1, 0, 0)
    assert [each["requests"] for each in status["routes"]] == [1, 0, 0]
    assert [each["requests"] for each in status["pools"]] == [1, 0]
    known = {"requests": 1, "openings": 0, "answered": 1, "handshakes": 0, "idle_connections": 0}
    assert known.items() <= admin.upstream("web", "good").items()
    assert counted(admin, "wsrelay_http_bytes_total", "direction") == {("down",): 4}
    assert counted(admin, "wsrelay_http_requests_total", "status") == {}
    server.send(b"half")
    assert client.read(4) == b"half"
    wait_until(lambda: in_flight() == {}, "it to be over")
    assert admin.status()["requests"] == 0
    known = {"requests": 0, "openings": 0, "answered": 1, "idle_connections": 1}
    assert known.items() <= admin.upstream("web", "good").items()
    assert counted(admin, "wsrelay_http_bytes_total", "direction") == {("down",): 8}
    assert counted(admin, "wsrelay_http_requests_total", "status") == {("200",): 1}
