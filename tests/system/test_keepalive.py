"""The relay's own pings, the deadline for their pongs, and sessions that are idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    BINARY,
    CLOSE,
    LOCAL,
    PING,
    PONG,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    close_payload,
    end_normally,
    frame,
    frame_head,
    masked,
)

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    def route(name: str, *rows: str) -> str:
        return "\n".join([f"[route:{name}]\npath = /{name}\npool = main\nhttp = no", *rows])

    config = "\n".join(
        [
            f"[listener:main]\nendpoint = {LOCAL}",
            "[route:main]\npool = main\nhttp = no\nkeepalive = off",
            route("often", "keepalive = 200ms", "keepalive_timeout = 30s"),
            route("answer", "keepalive = 200ms", "keepalive_timeout = 30s", "ping = answer"),
            route("strict", "keepalive = 200ms", "keepalive_timeout = 400ms", "close_timeout = 1s"),
            route(
                "idle",
                "keepalive = 200ms",
                "keepalive_timeout = 30s",
                "idle_timeout = 1s",
                "idle_close_code = 4008",
            ),
            route("idledefault", "keepalive = off", "idle_timeout = 500ms"),
            f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}",
            "[log]\nformat = json",
        ]
    )
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


@pytest.mark.parametrize("path", [b"/often", b"/answer"])
def test_both_legs_are_pinged_and_the_pongs_stay_here(stage: Stage, path: bytes) -> None:
    client, upstream = stage.begin(path)
    payloads = []
    for wire, answer in ((client, masked), (upstream, frame)) * 4:
        ping = wire.read_frame()
        assert ping.opcode == PING
        assert bool(ping.mask) is (wire is upstream)
        payloads.append(ping.payload)
        wire.send(answer(PONG, ping.payload))
    assert len(set(payloads)) == len(payloads)
    client.send(masked(TEXT, b"marker"))
    upstream.send(frame(TEXT, b"marker"))
    for wire in (client, upstream):
        while (found := wire.read_frame()).opcode == PING:
            pass
        assert found.payload == b"marker"  # no pong came before it
    end_normally(client, upstream)


def test_a_peers_own_pong_passes_while_the_relay_waits_for_one(stage: Stage) -> None:
    client, upstream = stage.begin(b"/often")
    ping = client.read_frame()
    client.send(masked(PONG, b"own") + masked(PONG, ping.payload) + masked(PONG, b"own too"))
    found: list[bytes] = []
    while len(found) < 2:
        each = upstream.read_frame()
        if each.opcode == PONG:
            found.append(each.payload)
    assert found == [b"own", b"own too"]
    end_normally(client, upstream)


def test_no_pings_where_keepalive_is_off(stage: Stage) -> None:
    client, upstream = stage.begin()
    other, other_upstream = stage.begin(b"/often")
    for _ in range(3):  # meanwhile the other session is pinged
        ping = other.read_frame()
        assert ping.opcode == PING
        other.send(masked(PONG, ping.payload))
    client.send(masked(TEXT, b"x"))
    upstream.send(frame(TEXT, b"y"))
    assert upstream.read_frame().payload == b"x"
    assert client.read_frame().payload == b"y"
    end_normally(client, upstream)
    other.close()
    other_upstream.close()


def test_pings_stand_between_frames_of_a_stream(stage: Stage) -> None:
    client, upstream = stage.begin(b"/often")
    size = 60_000
    for _ in range(12):
        upstream.send(frame_head(0x80 | BINARY, size) + b"z" * 30_000)
        # The marker passes the other way, so the first half has been streamed by now.
        client.send(masked(TEXT, b"m"))
        while upstream.read_frame().opcode != TEXT:
            pass
        upstream.send(b"z" * 30_000)
        while (found := client.read_frame()).opcode == PING:
            client.send(masked(PONG, found.payload))
        assert found.payload == b"z" * size
    end_normally(client, upstream)


def _silent(stage: Stage, path: bytes) -> tuple[Wire, Wire]:
    client, upstream = stage.begin(path)
    client.send(masked(TEXT, b"x"))
    while upstream.read_frame().opcode != TEXT:
        pass
    return client, upstream


def answer_pings(wire: Wire, answer: bytes) -> None:
    """Answer the relay's pings until a close frame comes, which must be *answer*."""
    is_client: bool | None = None
    while (found := wire.read_frame()).opcode == PING:
        is_client = not found.mask
        wire.send((masked if is_client else frame)(PONG, found.payload))
    assert found.opcode == CLOSE
    assert found.payload[:2] == answer


def test_a_client_without_pongs_is_1011_for_the_upstream(stage: Stage) -> None:
    client, upstream = _silent(stage, b"/strict")
    answer_pings(upstream, close_payload(1011))
    upstream.send(frame(CLOSE, close_payload(1011)))
    upstream.shut()
    upstream.wait_until_gone()
    client.wait_until_gone()


def test_an_upstream_without_pongs_is_1011_for_the_client(stage: Stage) -> None:
    client, upstream = _silent(stage, b"/strict")
    answer_pings(client, close_payload(1011))
    client.send(masked(CLOSE, close_payload(1011)))
    client.wait_until_gone()
    upstream.wait_until_gone()


def test_idle_counts_data_frames_only(stage: Stage) -> None:
    client, upstream = stage.begin(b"/idle")
    pings = 0
    while (found := client.read_frame()).opcode in (PING, PONG):
        if found.opcode == PING:
            pings += 1
            client.send(masked(PONG, found.payload) + masked(PING, b"own"))
    assert pings >= 2
    assert found.close_code == 4008
    while (found := upstream.read_frame()).opcode in (PING, PONG):
        pass
    assert found.close_code == 4008


def test_idle_is_1001_by_default_and_both_sides_hear_it(stage: Stage) -> None:
    client, upstream = stage.begin(b"/idledefault")
    assert client.read_frame().close_code == 1001
    assert upstream.read_frame().close_code == 1001
    client.send(masked(CLOSE, close_payload(1001)))
    upstream.send(frame(CLOSE, close_payload(1001)))
    assert client.read_to_end() == b""
    client.close()
    upstream.close()
    _, event = stage.relay.wait_for_event(event="end", path="/idledefault")
    assert event["close_code"] == 1001
    assert event["initiator"] == "relay:idle"


def test_data_of_one_direction_keeps_a_session_alive(stage: Stage) -> None:
    client, upstream = stage.begin(b"/idledefault")
    client.sock.settimeout(0.1)
    for _ in range(12):  # more than twice the timeout
        upstream.send(frame(TEXT, b"tick"))
        try:
            assert client.sock.recv(100) == frame(TEXT, b"tick")
            client.sock.recv(1)
            raise AssertionError("something else came")
        except TimeoutError:
            continue
    client.sock.settimeout(20)
    assert client.read_frame().close_code == 1001
    upstream.close()
