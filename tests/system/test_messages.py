"""``mode = messages`` with real processes: plain and TLS, with bombs and stuck readers."""

from __future__ import annotations

import os
import random
import ssl
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.certificates import Authority, KeyPair
from tests.support import RelayProcess, started_relay
from tests.system.secure import accept_tls, connect_tls
from tests.system.support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LOCAL,
    PING,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    close_payload,
    end_normally,
    frame,
    handshake,
    masked,
    read_data,
    rss,
    switching,
)

MIB = 1024 * 1024
BROWSERS = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("127.0.0.1")


@pytest.fixture(scope="module", params=["auto", "python"])
def relay(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    authority: Authority,
    pair: KeyPair,
    folder: Path,
) -> Iterator[RelayProcess]:
    """Messages pass through Python, whatever frames do."""
    wss = upstream.url.replace("ws:", "wss:")
    config = f"""
        [relay]
        data_path = {request.param}
        [listener:main]
        endpoint = {LOCAL}
        [listener:tls]
        endpoint = {LOCAL}
        certificate = {pair.certificate}
        key = {pair.key}
        [route:main]
        pool = main
        mode = messages
        max_message_size = 4MiB
        [route:secure]
        path = /secure
        pool = secure
        mode = messages
        compression = both
        [route:frames]
        path = /frames
        pool = main
        [pool:main]
        upstreams = {upstream.url}
        max_fails = 0
        [pool:secure]
        upstreams = {wss}
        tls_ca = {authority.certificate()}
        max_fails = 0
        [log]
        format = json
    """
    rows = "\n".join(line.strip() for line in config.splitlines())
    with started_relay(rows, folder) as process:
        yield process


def exchange(client: Wire, upstream: Wire) -> None:
    """Say something both ways: short and long, whole and in fragments."""
    noise = random.Random(1).randbytes(1_000_000)
    for payload in (b"", b"x", bytes(70_000), noise):
        client.send(masked(BINARY, payload))
        assert read_data(upstream).payload == payload
        upstream.send(frame(BINARY, payload))
        assert read_data(client).payload == payload
    client.send(masked(TEXT, b"once ", fin=False) + masked(PING, b"there?"))
    assert upstream.read_frame().opcode == PING
    client.send(masked(CONTINUATION, b"upon a time"))
    said = read_data(upstream)
    assert (said.first, said.payload) == (0x81, b"once upon a time")


def test_messages_pass_whole(stage: Stage) -> None:
    client, upstream = stage.begin()
    exchange(client, upstream)
    end_normally(client, upstream)


def test_they_do_between_tls_connections_too(
    stage: Stage, authority: Authority, pair: KeyPair
) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate()))
    client = connect_tls(stage, context, name="127.0.0.1")
    client.send(handshake(b"/secure"))
    upstream = accept_tls(stage, pair)
    assert b"Sec-WebSocket-Extensions: permessage-deflate" in upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    exchange(client, upstream)
    end_normally(client, upstream)


def test_frames_still_pass_as_they_are_on_another_route(stage: Stage) -> None:
    client, upstream = stage.begin(b"/frames")
    client.send(masked(TEXT, b"once ", fin=False))
    assert upstream.read_frame().first == 0x01
    client.close()
    upstream.close()


def test_text_that_is_not_utf_8_ends_the_session_with_1007(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(TEXT, b"\xff"))
    assert read_data(client).close_code == 1007
    assert read_data(upstream).close_code == 1001
    assert client.read_to_end() == b""
    client.close()
    upstream.close()
    stage.relay.wait_for_event(event="end", initiator="relay:protocol-client", close_code=1007)


def bomb(size: int) -> bytes:
    """Deflate so many zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibytes = b"".join(compressor.compress(bytes(MIB)) for _ in range(size // MIB))
    return mebibytes + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="a sanitizer's allocator keeps more")
def test_a_bomb_costs_the_relay_no_more_than_the_limit(stage: Stage) -> None:
    """1 GiB of zeros in 1 MiB, ten times, to a limit of 4 MiB."""
    stage.works()
    before = rss(stage.relay.pid)
    data = bomb(1024 * MIB)
    assert len(data) < 2 * MIB
    for _ in range(10):
        client, upstream = stage.begin(b"/", BROWSERS)
        client.sock.sendall(masked(BINARY | 0x40, data[: 100 * 1024], fin=False))
        said = read_data(client)
        assert (said.close_code, said.payload[2:]) == (
            1009,
            b"message over the limit of 4194304 bytes",
        )
        assert read_data(upstream).close_code == 1001
        client.close()
        upstream.close()
    assert rss(stage.relay.pid) - before < 16 * MIB


def test_a_reader_that_is_stuck_stops_its_sender_and_costs_no_more_than_a_message(
    stage: Stage,
) -> None:
    client, upstream = stage.begin(rcvbuf=64 * 1024)
    before = rss(stage.relay.pid)
    message = frame(BINARY, random.Random(1).randbytes(3 * MIB))
    sender = threading.Thread(target=lambda: [upstream.send(message) for _ in range(20)])
    sender.start()
    sender.join(2)
    assert sender.is_alive(), "60 MiB fit nowhere"
    assert rss(stage.relay.pid) - before < 24 * MIB
    for _ in range(20):
        assert client.read_frame().raw == message
    sender.join(20)
    end_normally(client, upstream)


def test_what_was_said_before_an_end_arrives_before_it(stage: Stage) -> None:
    client, upstream = stage.begin()
    payload = random.Random(1).randbytes(2 * MIB)
    client.send(masked(BINARY, payload) + masked(CLOSE, close_payload(4000, b"bye")))
    assert read_data(upstream).payload == payload
    assert read_data(upstream).close_code == 4000
    client, upstream = stage.begin()
    client.send(masked(BINARY, payload))
    client.close()
    assert read_data(upstream).payload == payload
    assert read_data(upstream).close_code == 1001
