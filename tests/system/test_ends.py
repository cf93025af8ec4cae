"""How sessions end: close codes both ways, peers that vanish, and peers that stall."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    BINARY,
    CLOSE,
    LOCAL,
    MASK,
    PING,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    close_payload,
    fd_count,
    frame,
    frame_head,
    masked,
    read_data,
    wait_until,
)

CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999]
REASONS = [b"", b"bye", "schön ✓".encode(), b"r" * 123]


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    config = f"""
[listener:main]
endpoint = {LOCAL}
[route:main]
pool = main
http = no
keepalive = off
close_timeout = 10s
[route:quick]
path = /quick
pool = main
http = no
keepalive = off
close_timeout = 500ms
[route:watched]
path = /watched
pool = main
http = no
keepalive = 1s
keepalive_timeout = 1s
close_timeout = 500ms
[pool:main]
upstreams = {upstream.url}
max_fails = 0
[log]
format = json
"""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


def say(wire: Wire, is_client: bool, payload: bytes) -> None:
    wire.send((masked if is_client else frame)(CLOSE, payload))


def finish(client: Wire, upstream: Wire) -> None:
    """Check that both connections end cleanly, the client's by the relay."""
    assert client.read_to_end() == b""
    client.close()
    upstream.shut()
    assert upstream.read_what_comes() == b""


@pytest.mark.parametrize("client_begins", [True, False], ids=["by-client", "by-upstream"])
@pytest.mark.parametrize("code", CODES)
def test_close_codes_and_reasons_are_exact_and_so_is_the_answer(
    stage: Stage, code: int, client_begins: bool
) -> None:
    client, upstream = stage.begin()
    first, second = (client, upstream) if client_begins else (upstream, client)
    said = close_payload(code, b"because \xe2\x9c\x93")
    answered = close_payload(4321, b"as you wish")
    say(first, client_begins, said)
    assert read_data(second).payload == said
    say(second, not client_begins, answered)
    assert read_data(first).payload == answered
    finish(client, upstream)


@pytest.mark.parametrize("client_begins", [True, False], ids=["by-client", "by-upstream"])
@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_exact(stage: Stage, reason: bytes, client_begins: bool) -> None:
    client, upstream = stage.begin()
    first, second = (client, upstream) if client_begins else (upstream, client)
    say(first, client_begins, close_payload(1000, reason))
    assert read_data(second).payload == close_payload(1000, reason)
    say(second, not client_begins, close_payload(1000, reason))
    assert read_data(first).payload == close_payload(1000, reason)
    finish(client, upstream)


@pytest.mark.parametrize("client_begins", [True, False], ids=["by-client", "by-upstream"])
def test_an_empty_close_stays_empty(stage: Stage, client_begins: bool) -> None:
    client, upstream = stage.begin()
    first, second = (client, upstream) if client_begins else (upstream, client)
    say(first, client_begins, b"")
    assert (found := read_data(second)).opcode == CLOSE
    assert found.payload == b""
    say(second, not client_begins, b"")
    assert (found := read_data(first)).opcode == CLOSE
    assert found.payload == b""
    finish(client, upstream)


def test_closes_that_cross_leave_both_sides_with_what_the_other_said(stage: Stage) -> None:
    client, upstream = stage.begin()
    say(client, True, close_payload(4001, b"up"))
    say(upstream, False, close_payload(4002, b"down"))
    assert read_data(upstream).payload == close_payload(4001, b"up")
    assert read_data(client).payload == close_payload(4002, b"down")
    finish(client, upstream)


def test_data_before_a_close_arrives_and_data_behind_it_does_not(stage: Stage) -> None:
    client, upstream = stage.begin()
    data = b"d" * 3_000_000
    stream = frame(BINARY, data) + frame(CLOSE, close_payload(4000))
    sender = threading.Thread(target=upstream.send, args=(stream,))
    sender.start()
    assert read_data(client).payload == data
    assert read_data(client).close_code == 4000
    sender.join()
    client.send(masked(CLOSE, close_payload(4000)))
    assert read_data(upstream).close_code == 4000
    finish(client, upstream)


def test_data_behind_a_close_is_not_passed_on(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(CLOSE, close_payload(1000)) + masked(TEXT, b"zombie"))
    assert read_data(upstream).close_code == 1000
    assert read_data(client).close_code in (1000, 1002)
    upstream.send(frame(CLOSE, close_payload(1000)))
    assert client.read_what_comes() == b""
    upstream.shut()
    assert upstream.read_what_comes() == b""


def test_the_other_side_may_finish_its_message_before_it_answers_a_close(stage: Stage) -> None:
    client, upstream = stage.begin()
    upstream.send(frame(TEXT, b"begin", fin=False))
    assert read_data(client).payload == b"begin"
    client.send(masked(CLOSE, close_payload(1000)))
    assert read_data(upstream).close_code == 1000
    upstream.send(frame(0, b"end") + frame(CLOSE, close_payload(1000)))
    found = read_data(client)
    while found.opcode != CLOSE:
        found = read_data(client)
    assert found.close_code == 1000
    finish(client, upstream)


def test_a_close_for_a_peer_inside_a_streamed_frame_comes_behind_the_frame(stage: Stage) -> None:
    client, upstream = stage.begin()
    size = 200_000
    upstream.send(frame_head(0x80 | BINARY, size) + b"a" * 100_000)
    client.read(10 + 100_000)
    client.send(masked(CLOSE, close_payload(1000)))
    assert read_data(upstream).close_code == 1000
    upstream.send(b"a" * 100_000 + frame(CLOSE, close_payload(1000)))
    assert client.read(100_000) == b"a" * 100_000
    assert read_data(client).close_code == 1000
    finish(client, upstream)


# vanishing


def vanish(wire: Wire, how: str) -> None:
    if how == "reset":
        wire.reset()
    elif how == "shut":
        wire.shut()
    else:
        wire.close()


@pytest.mark.parametrize("how", ["fin", "shut", "reset"])
def test_a_client_that_vanishes_is_1001_for_the_upstream(stage: Stage, how: str) -> None:
    client, upstream = stage.begin()
    client.send(masked(TEXT, b"last words"))
    assert read_data(upstream).payload == b"last words"
    vanish(client, how)
    assert (found := read_data(upstream)).close_code == 1001
    assert found.mask
    upstream.send(frame(CLOSE, close_payload(1001)))
    upstream.shut()
    assert upstream.read_what_comes() == b""


@pytest.mark.parametrize("how", ["fin", "shut", "reset"])
def test_an_upstream_that_vanishes_is_1011_for_the_client(stage: Stage, how: str) -> None:
    client, upstream = stage.begin()
    upstream.send(frame(TEXT, b"last words"))
    assert read_data(client).payload == b"last words"
    vanish(upstream, how)
    assert (found := read_data(client)).close_code == 1011
    assert not found.mask
    client.send(masked(CLOSE, close_payload(1011)))
    assert client.read_to_end() == b""


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 100, 16384])
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_vanishes_in_a_small_frame_leaves_the_upstream_at_a_boundary(
    stage: Stage, how: str, cut: int
) -> None:
    client, upstream = stage.begin()
    client.send(masked(TEXT, b"whole"))
    assert read_data(upstream).payload == b"whole"
    client.send(masked(BINARY, b"x" * 16384)[:cut])
    vanish(client, how)
    assert read_data(upstream).close_code == 1001
    upstream.send(frame(CLOSE, close_payload(1001)))
    upstream.shut()
    assert upstream.read_what_comes() == b""


@pytest.mark.parametrize("cut", [1, 2, 3, 100, 16384])
def test_an_upstream_that_vanishes_in_a_small_frame_leaves_the_client_at_a_boundary(
    stage: Stage, cut: int
) -> None:
    client, upstream = stage.begin()
    upstream.send(frame(TEXT, b"whole") + frame(BINARY, b"x" * 16384)[:cut])
    upstream.close()
    assert read_data(client).payload == b"whole"
    assert read_data(client).close_code == 1011
    client.send(masked(CLOSE, close_payload(1011)))
    assert client.read_to_end() == b""


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_vanishes_in_a_streamed_frame_ends_the_upstream_at_once(
    stage: Stage, how: str
) -> None:
    client, upstream = stage.begin()
    head = frame_head(0x80 | BINARY, 100_000, MASK)
    client.send(head + b"x" * 50_000)
    upstream.read(len(head) + 50_000)
    vanish(client, how)
    assert upstream.read_what_comes() == b""  # no close frame can stand inside a frame


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_an_upstream_that_vanishes_in_a_streamed_frame_ends_the_client_at_once(
    stage: Stage, how: str
) -> None:
    client, upstream = stage.begin()
    head = frame_head(0x80 | BINARY, 100_000)
    upstream.send(head + b"x" * 50_000)
    client.read(len(head) + 50_000)
    vanish(upstream, how)
    assert client.read_what_comes() == b""


def test_a_client_that_vanishes_between_fragments_is_1001(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(TEXT, b"first of two", fin=False))
    assert read_data(upstream).payload == b"first of two"
    client.close()
    assert read_data(upstream).close_code == 1001


def test_data_in_flight_arrives_before_the_news_of_a_lost_upstream(stage: Stage) -> None:
    client, upstream = stage.begin()
    data = frame(BINARY, b"y" * 10_000) * 300
    sender = threading.Thread(target=upstream.send, args=(data,))
    sender.start()
    first = client.read_frame()
    sender.join(0.5)  # the rest waits in buffers
    received = first.raw + client.read(len(data) - len(first.raw))
    sender.join()
    upstream.close()
    assert received == data
    assert read_data(client).close_code == 1011


def test_data_in_flight_arrives_when_the_upstream_closes_right_behind_it(stage: Stage) -> None:
    client, upstream = stage.begin()
    data = frame(BINARY, b"y" * 15_000) * 30
    upstream.send(data)
    upstream.close()
    assert client.read(len(data)) == data
    assert read_data(client).close_code == 1011


def test_a_lost_upstream_does_not_leave_a_waiting_client_without_its_answer(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(CLOSE, close_payload(4004, b"mine")))
    assert read_data(upstream).close_code == 4004
    upstream.close()
    assert read_data(client).payload == close_payload(4004, b"mine")
    assert client.read_to_end() == b""


def test_a_client_that_closes_and_goes_is_no_loss(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(CLOSE, close_payload(1000, b"bye")))
    client.close()
    assert read_data(upstream).payload == close_payload(1000, b"bye")
    upstream.send(frame(CLOSE, close_payload(1000)))
    upstream.shut()
    assert upstream.read_what_comes() == b""


# stalling: close_timeout is short on /quick


def test_a_close_that_is_never_answered_ends_both_legs(stage: Stage) -> None:
    client, upstream = stage.begin(b"/quick")
    client.send(masked(CLOSE, close_payload(4005, b"hm")))
    assert read_data(upstream).close_code == 4005
    assert read_data(client).payload == close_payload(4005, b"hm")
    client.wait_until_gone()
    upstream.wait_until_gone()


def test_a_close_by_the_upstream_that_is_never_answered_ends_both_legs(stage: Stage) -> None:
    client, upstream = stage.begin(b"/quick")
    upstream.send(frame(CLOSE, close_payload(4005, b"hm")))
    assert read_data(client).close_code == 4005
    assert read_data(upstream).payload == close_payload(4005, b"hm")
    client.wait_until_gone()
    upstream.wait_until_gone()


def test_peers_that_keep_their_connections_open_after_the_close_are_dropped(stage: Stage) -> None:
    baseline = fd_count(stage.relay.pid)
    client, upstream = stage.begin(b"/quick")
    client.send(masked(CLOSE, close_payload(1000)))
    read_data(upstream)
    upstream.send(frame(CLOSE, close_payload(1000)))
    read_data(client)
    wait_until(lambda: fd_count(stage.relay.pid) <= baseline, "the end of both connections")


def fill(sender: Wire, chunk: bytes) -> None:
    """Send *chunk* again and again until nothing is taken any more."""
    sender.sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        for _ in range(4096):
            sender.sock.sendall(chunk)
        raise AssertionError("everything was taken")
    sender.sock.settimeout(20)


@pytest.mark.parametrize("path", [b"/watched", b"/quick"])
def test_a_client_that_reads_nothing_does_not_survive_the_upstreams_end(
    stage: Stage, path: bytes
) -> None:
    baseline = fd_count(stage.relay.pid)
    client, upstream = stage.begin(path, rcvbuf=8192)
    fill(upstream, frame(BINARY, b"z" * 60_000))
    upstream.reset()
    wait_until(lambda: fd_count(stage.relay.pid) <= baseline, "the end of both connections", 10)
    client.close()


@pytest.mark.parametrize("path", [b"/watched", b"/quick"])
def test_an_upstream_that_reads_nothing_does_not_survive_the_clients_end(
    stage: Stage, path: bytes
) -> None:
    baseline = fd_count(stage.relay.pid)
    client, upstream = stage.begin(path)
    fill(client, masked(BINARY, b"z" * 60_000))
    client.reset()
    wait_until(lambda: fd_count(stage.relay.pid) <= baseline, "the end of both connections", 10)
    upstream.close()


def test_two_peers_that_read_nothing_and_one_that_violates_end(stage: Stage) -> None:
    baseline = fd_count(stage.relay.pid)
    client, upstream = stage.begin(b"/quick", rcvbuf=8192)
    fill(upstream, frame(BINARY, b"z" * 60_000))
    client.send(frame(TEXT, b"unmasked"))
    wait_until(lambda: fd_count(stage.relay.pid) <= baseline, "the end of both connections")


def test_a_violator_that_goes_on_sending_and_reads_nothing_is_dropped(stage: Stage) -> None:
    baseline = fd_count(stage.relay.pid)
    client, upstream = stage.begin(b"/quick", rcvbuf=8192)
    client.sock.settimeout(0.2)
    with contextlib.suppress(ConnectionError, TimeoutError):
        client.send(frame(TEXT, b"unmasked"))
        while True:
            client.sock.sendall(b"\xff" * 65536)
    upstream.close()
    wait_until(lambda: fd_count(stage.relay.pid) <= baseline, "the end of both connections")


def test_pings_of_a_closing_peer_do_not_keep_it_alive(stage: Stage) -> None:
    client, upstream = stage.begin(b"/quick")
    client.send(masked(CLOSE, close_payload(1000)))
    assert read_data(upstream).close_code == 1000
    upstream.sock.settimeout(0.05)
    try:
        while True:  # ends when the relay has had enough
            upstream.sock.sendall(frame(PING, b"still here"))
            try:
                if not upstream.sock.recv(100):
                    break
            except TimeoutError:
                continue
    except ConnectionError:
        pass
    client.wait_until_gone()


def test_after_all_that_the_relay_serves_others(stage: Stage) -> None:
    stage.works()
