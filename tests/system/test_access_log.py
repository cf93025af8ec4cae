"""The access log: one record when a session opens, one when it ends, one for a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import (
    BINARY,
    CLOSE,
    TEXT,
    RawUpstream,
    Stage,
    close_payload,
    end_normally,
    frame,
    handshake,
    ini,
    lines,
    masked,
    read_data,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("room_in_log")

COMMON = [
    *("ts", "event", "id", "listener", "route", "pool", "upstream", "client", "host", "path"),
    *("origin", "user_agent", "subprotocol", "extensions", "status", "attempts", "handshake_ms"),
]
AT_THE_END = [
    *("duration_s", "messages_up", "messages_down", "bytes_up", "bytes_down", "rtt_ms"),
    *("close_code", "close_reason", "initiator"),
]


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    config = ini(f"{upstream.url} name=up", log="format = json") + (
        f"[route:down]\npath = /down\npool = down\nhttp = no\n"
        f"[pool:down]\nupstreams = ws://127.0.0.1:{free_port()} name=gone\n"
        "[route:web]\npath = /web\npool = main\n"
    )
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


@pytest.fixture
def start(stage: Stage) -> int:
    return len(stage.relay.log().splitlines())


def test_open_and_end_have_every_key_and_true_numbers(stage: Stage, start: int) -> None:
    client, upstream = stage.begin(
        b"/chat?token=secret",
        b"Origin: https://o.test",
        b'User-Agent: "quoted" agent',
        b"Sec-WebSocket-Protocol: a, b",
        b"Sec-WebSocket-Extensions: permessage-deflate",
        answer=(b"Sec-WebSocket-Protocol: b", b"Sec-WebSocket-Extensions: permessage-deflate"),
    )
    client.send(masked(TEXT, b"12345") + masked(TEXT, b"x", fin=False) + masked(0, b"yz"))
    upstream.send(frame(BINARY, b"d" * 70_000))
    assert len(client.read_frame().payload) == 70_000
    for _ in range(3):
        upstream.read_frame()
    upstream.send(frame(CLOSE, close_payload(4001, "grüße".encode())))
    read_data(client)
    client.send(masked(CLOSE, close_payload(4002)))
    assert read_data(upstream).close_code == 4002
    assert client.read_to_end() == b""
    client.close()
    upstream.close()
    _, opened = stage.relay.wait_for_event(start, event="open")
    _, ended = stage.relay.wait_for_event(start, event="end")
    assert list(opened) == COMMON
    assert list(ended) == COMMON + AT_THE_END
    expected: dict[str, Any] = {
        "listener": "main",
        "route": "main",
        "pool": "main",
        "upstream": "up",
        "host": "r.test",
        "path": "/chat",
        "origin": "https://o.test",
        "user_agent": '"quoted" agent',
        "subprotocol": "b",
        "extensions": "permessage-deflate",
        "status": 101,
        "attempts": 1,
    }
    assert expected.items() <= opened.items()
    assert opened["client"].startswith("127.0.0.1:")
    assert {key: ended[key] for key in COMMON if key not in ("ts", "event")} == {
        key: opened[key] for key in COMMON if key not in ("ts", "event")
    }
    numbers = {
        "messages_up": 2,
        "messages_down": 1,
        "bytes_up": 8,
        "bytes_down": 70_000,
        "close_code": 4001,
        "close_reason": "grüße",
        "initiator": "upstream",
    }
    assert numbers.items() <= ended.items()
    assert re.fullmatch(r"[0-9]{4}-[0-9-]{5}T[0-9:]{8}\.[0-9]{3}Z", opened["ts"])
    assert "secret" not in "\n".join(stage.relay.log().splitlines()[start:])


def ended_by(stage: Stage, start: int) -> tuple[int, str]:
    _, event = stage.relay.wait_for_event(start, event="end")
    return event["close_code"], event["initiator"]


def test_who_ended_it_and_how_is_told(stage: Stage, start: int) -> None:
    client, upstream = stage.begin()
    end_normally(client, upstream)
    assert ended_by(stage, start) == (1000, "client")


def test_an_empty_close_is_1005(stage: Stage, start: int) -> None:
    client, upstream = stage.begin()
    upstream.send(frame(CLOSE))
    read_data(client)
    client.send(masked(CLOSE))
    assert read_data(upstream).close_code is None
    client.close()
    upstream.close()
    assert ended_by(stage, start) == (1005, "upstream")


def test_a_lost_client_is_1006(stage: Stage, start: int) -> None:
    client, upstream = stage.begin()
    client.reset()
    assert read_data(upstream).close_code == 1001
    upstream.close()
    assert ended_by(stage, start) == (1006, "client")


def test_a_violation_is_the_relays_word(stage: Stage, start: int) -> None:
    client, upstream = stage.begin()
    client.send(masked(3, b"x"))
    assert read_data(upstream).close_code == 1001
    upstream.close()
    assert client.read_frame().close_code == 1002
    client.close()
    code, initiator = ended_by(stage, start)
    assert code == 1002
    assert initiator.startswith("relay:")


REFUSED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400, 0),
    (handshake(b"/", b"X-Pad: " + b"p" * 20_000), 431, 0),
    (lines(b"GET /plain HTTP/1.1", b"Host: r.test", b"Connection: close"), 426, 0),
    (handshake(b"/down"), 502, 1),
]


@pytest.mark.parametrize(("request_bytes", "status", "attempts"), REFUSED)
def test_refusals_are_recorded_with_their_status(
    stage: Stage, start: int, request_bytes: bytes, status: int, attempts: int
) -> None:
    client = stage.connect()
    client.send(request_bytes)
    client.read_to_end()
    _, event = stage.relay.wait_for_event(start, event="refused", status=status)
    assert event["attempts"] == attempts
    assert set(COMMON) <= set(event)


def test_plain_requests_are_recorded_when_their_answers_are_over(stage: Stage, start: int) -> None:
    client = stage.connect()
    client.send(lines(b"POST /web?token=secret HTTP/1.1", b"Host: r.test", b"Content-Length: 5"))
    client.send(b"hello")
    upstream = stage.accept()
    upstream.read_head()
    assert upstream.read(5) == b"hello"
    upstream.send(lines(b"HTTP/1.1 404 No", b"Content-Length: 7") + b"nothing")
    client.read_head()
    assert client.read(7) == b"nothing"
    _, event = stage.relay.wait_for_event(start, event="http")
    assert list(event) == [*COMMON, "method", "duration_s", "bytes_up", "bytes_down"]
    expected = {"method": "POST", "path": "/web", "status": 404, "bytes_up": 5, "bytes_down": 7}
    assert expected.items() <= event.items()
    assert event["duration_s"] * 1000 >= event["handshake_ms"] - 1
    client.send(lines(b"TRACE /web HTTP/1.1", b"Host: r.test", b"Connection: close"))
    client.read_to_end()
    _, refused = stage.relay.wait_for_event(start, event="refused")
    assert list(refused) == [*COMMON, "method", "reason"]
    assert (refused["method"], refused["status"]) == ("TRACE", 405)
    assert "secret" not in "\n".join(stage.relay.log().splitlines()[start:])


def test_an_upstreams_refusal_is_recorded_with_its_status(stage: Stage, start: int) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 0"))
    client.read_to_end()
    _, event = stage.relay.wait_for_event(start, event="refused")
    assert (event["status"], event["upstream"]) == (403, "up")


def test_a_hostile_client_cannot_forge_a_line(stage: Stage, start: int) -> None:
    client = stage.ask(b'/a"}\\n{"event":"open"', b'User-Agent: \xff\x9b31m {"event":"x"}')
    upstream = stage.accept()
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 0"))
    client.read_to_end()
    index, event = stage.relay.wait_for_event(start, event="refused")
    assert event["path"] == '/a"}\\n{"event":"open"'
    new = stage.relay.log().splitlines()[start:]
    assert len([row for row in new if row.startswith("{")]) == 1
    assert new[index - start].isascii()


def test_text_lines_hold_the_same_facts_and_the_file_gets_them(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    config = ini(
        f"{upstream.url} name=up",
        log="format = text\naccess = access.log\nredact_query = no",
    )
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        end_normally(*stage.begin(b"/x?q=1", b"User-Agent: two words"))
        client = stage.connect()
        client.send(b"BAD\r\n\r\n")
        client.read_to_end()
        file = tmp_path / "access.log"
        rows = wait_until(
            lambda: len(found := file.read_text().splitlines()) == 3 and found, "three lines"
        )
        stage.close()
    opened, ended, refused = rows
    assert " open " in opened
    assert " end " in ended
    assert " refused " in refused
    for fact in ("upstream=up", "path=/x?q=1", 'user_agent="two words"', "status=101"):
        assert fact in opened
        assert fact in ended
    assert "close_code=1000" in ended
    assert "initiator=client" in ended
    assert "status=400" in refused
    assert not opened.startswith("{")
