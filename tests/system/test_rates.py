"""Clients that send too much, legs that take nothing, and sessions that are old."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator

import pytest

from tests.relay.records import pair
from tests.support import PATIENCE, RelayProcess, require, started_relay
from tests.system.secure import SealedWire
from tests.system.support import (
    BINARY,
    CLOSE,
    LOCAL,
    PING,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    close_payload,
    fd_count,
    frame,
    handshake,
    masked,
    read_data,
    switching,
    wait_until,
)
from wsrelay.relay.pumps import why_not_native

pytestmark = pytest.mark.peers

MIB = 1024 * 1024
MANY = [b"%d" % number for number in range(60)]
LISTENERS = pytest.mark.parametrize("listener", ["clear", "tls"])


@pytest.fixture(scope="module", params=["native", "python", "messages"])
def relay(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    is_native = request.param == "native"
    require(not is_native or not why_not_native(), "the native pump was not built")
    mode = "messages" if request.param == "messages" else "frames"

    def route(name: str, *rows: str) -> str:
        start = f"[route:{name}]\npath = /{name}\npool = main\nhttp = no\nclose_timeout = 1s"
        start += f"\nmode = {mode}"
        return "\n".join([start, *rows])

    config = "\n".join(
        [
            f"[relay]\ndata_path = {'native' if is_native else 'python'}",
            f"[listener:clear]\nendpoint = {LOCAL}",
            f"[listener:tls]\nendpoint = {LOCAL}",
            f"certificate = {pair().certificate}\nkey = {pair().key}",
            "[route:main]\npool = main\nhttp = no",
            route("close", "messages = 10/s burst 20"),
            route("throttle", "messages = 40/s burst 20", "on_excess = throttle"),
            route("bytes", "bytes = 1MiB/s burst 256KiB", "on_excess = throttle"),
            route("never", "messages = 1/m", "on_excess = throttle"),
            # Much longer than `pour` takes to see that nothing is taken any more.
            route("slow", "slow_consumer = 3s", "max_message_size = off"),
            route("steady", "slow_consumer = 2s", "max_message_size = off"),
            route("old", "max_session_age = 200ms"),
            f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}",
            "[log]\nformat = json",
        ]
    )
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


def begin(stage: Stage, path: bytes, listener: str = "clear", rcvbuf: int = 0) -> tuple[Wire, Wire]:
    client = stage.connect(listener, rcvbuf)
    if listener == "tls":
        client = stage.keep(SealedWire.shake_hands(client.sock, is_server=False))
    client.send(handshake(path))
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client, upstream


def say_goodbye(client: Wire, upstream: Wire) -> None:
    client.send(masked(CLOSE, close_payload(1000)))
    assert read_data(upstream).close_code == 1000
    upstream.send(frame(CLOSE, close_payload(1000)))
    assert read_data(client).close_code == 1000


def check_close(wire: Wire, code: int, reason: bytes) -> None:
    while (got := wire.read_frame()).opcode != CLOSE:
        pass
    assert got.payload[2:] == reason or got.mask
    assert got.close_code == code


@LISTENERS
def test_a_client_over_its_rate_is_closed_behind_what_was_within(
    stage: Stage, listener: str
) -> None:
    client, upstream = begin(stage, b"/close", listener)
    client.send(b"".join(masked(TEXT, each) for each in MANY))
    assert [upstream.read_frame().payload for _ in range(20)] == MANY[:20]
    check_close(upstream, 1001, b"the client sent too much")
    check_close(client, 1008, b"more than 10 messages a second")
    stage.relay.wait_for_event(event="end", close_code=1008, initiator="relay:rate")


@LISTENERS
def test_a_throttled_client_loses_nothing_and_is_no_faster_than_it_may(
    stage: Stage, listener: str
) -> None:
    client, upstream = begin(stage, b"/throttle", listener)
    began = time.monotonic()
    client.send(b"".join(masked(TEXT, each) for each in MANY))
    for number, message in enumerate(MANY, 1):
        assert read_data(upstream).payload == message
        # Whatever the machine does, they must not come too early.
        assert number <= 20 + 40 * (time.monotonic() - began) + 1
    upstream.send(frame(TEXT, b"down"))
    assert read_data(client).payload == b"down"
    say_goodbye(client, upstream)


@LISTENERS
@pytest.mark.parametrize("size", [1000, MIB], ids=["small", "spliced"])
def test_throttled_bytes_are_no_faster_and_all_there(
    stage: Stage, listener: str, size: int
) -> None:
    client, upstream = begin(stage, b"/bytes", listener)
    source = random.Random(size)
    messages = [source.randbytes(size) for _ in range(MIB // size)]
    stream = b"".join(masked(BINARY, each) for each in messages)
    began = time.monotonic()
    sender = threading.Thread(target=client.send, args=(stream,))
    sender.start()
    for message in messages:
        received = read_data(upstream).payload
        assert hashlib.sha256(received).digest() == hashlib.sha256(message).digest()
    took = time.monotonic() - began
    sender.join()
    assert len(stream) <= MIB / 4 + MIB * took + 1
    say_goodbye(client, upstream)


@LISTENERS
def test_a_flood_of_pings_is_throttled_by_its_bytes(stage: Stage, listener: str) -> None:
    client, upstream = begin(stage, b"/bytes", listener)
    pings = masked(PING, b"x" * 125) * 4000  # half a second's
    began = time.monotonic()
    sender = threading.Thread(target=client.send, args=(pings + masked(TEXT, b"end"),))
    sender.start()
    while upstream.read_frame().opcode == PING:
        pass
    took = time.monotonic() - began
    sender.join()
    assert len(pings) <= MIB / 4 + MIB * took + 1
    say_goodbye(client, upstream)


@LISTENERS
def test_a_throttled_session_is_closed_as_any_other(stage: Stage, listener: str) -> None:
    client, upstream = begin(stage, b"/never", listener)
    client.send(b"".join(masked(TEXT, each) for each in MANY) + masked(CLOSE, close_payload(1000)))
    assert read_data(upstream).payload == MANY[0]
    upstream.send(frame(CLOSE, close_payload(4000)))
    check_close(client, 4000, b"")
    check_close(upstream, 4000, b"")  # the client's own words would come too late


def test_a_client_that_is_reset_while_it_is_throttled_is_noticed(stage: Stage) -> None:
    client, upstream = begin(stage, b"/never")
    client.send(b"".join(masked(TEXT, each) for each in MANY))
    assert read_data(upstream).payload == MANY[0]
    client.reset()
    check_close(upstream, 1001, b"the client is gone")


def pour(sender: Wire, data: bytes) -> None:
    """Send *data* again and again, until none of it is taken for a while."""
    sender.sock.settimeout(0.3)
    try:
        while True:
            sender.sock.sendall(data)
    except TimeoutError:
        sender.sock.settimeout(PATIENCE)


@LISTENERS
def test_a_client_that_takes_nothing_is_closed(stage: Stage, listener: str) -> None:
    client, upstream = begin(stage, b"/slow", listener, rcvbuf=64 * 1024)
    pour(upstream, frame(BINARY, b"d" * 10_000) * 8)
    check_close(upstream, 1013, b"the client takes no data")
    stage.relay.wait_for_event(event="end", close_code=1013, initiator="relay:slow")
    client.sock.close()


def test_an_upstream_that_takes_nothing_is_closed(stage: Stage) -> None:
    client, _ = begin(stage, b"/slow")
    pour(client, masked(BINARY, b"u" * 10_000) * 8)
    check_close(client, 1013, b"the upstream takes no data")


@LISTENERS
def test_a_client_that_takes_little_but_steadily_stays(stage: Stage, listener: str) -> None:
    client, upstream = begin(stage, b"/steady", listener, rcvbuf=64 * 1024)
    pour(upstream, frame(BINARY, b"d" * 10_000) * 8)
    slowly, until = threading.Event(), time.monotonic() + 7
    while time.monotonic() < until:
        client.sock.recv(4 * 1024)
        slowly.wait(0.05)  # nothing is waited for: so slow is this client
    assert not upstream.has_data()
    client.sock.close()
    check_close(upstream, 1001, b"the client is gone")


def test_an_old_session_is_closed_on_both_sides(stage: Stage) -> None:
    client, upstream = begin(stage, b"/old")
    for wire in (client, upstream):
        check_close(wire, 1001, b"the session is old; connect again")
    client.send(masked(CLOSE, close_payload(1001)))
    upstream.send(frame(CLOSE, close_payload(1001)))
    stage.relay.wait_for_event(event="end", close_code=1001, initiator="relay:age")


def test_afterwards_nothing_is_left(stage: Stage) -> None:
    stage.works()
    log = stage.relay.log
    opened = log().count('"event":"open"')
    wait_until(lambda: log().count('"event":"end"') == opened, "the end of all sessions", 60)
    assert fd_count(stage.relay.pid) < 30
