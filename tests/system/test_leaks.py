"""After thousands of sessions that ended in every way, nothing is left of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import (
    BINARY,
    CLOSE,
    MASK,
    TEXT,
    RawUpstream,
    Stage,
    close_payload,
    end_normally,
    fd_count,
    frame,
    frame_head,
    handshake,
    ini,
    lines,
    masked,
    rss,
    switching,
    wait_until,
)

pytestmark = pytest.mark.peers

ROUNDS = 150


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    config = ini(upstream.url, route="close_timeout = 500ms", log="format = json") + (
        f"[route:down]\npath = /down\npool = down\nhttp = no\n"
        f"[pool:down]\nupstreams = ws://127.0.0.1:{free_port()}\n"
        f"[route:full]\npath = /full\npool = full\nhttp = no\nupstream_handshake_timeout = 200ms\n"
        f"[pool:full]\nmax_fails = 0\nupstreams =\n  {upstream.url} max_connections=1\n"
    )
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


def normal(stage: Stage) -> None:
    end_normally(*stage.begin())


def refused_here(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"GET / HTTP/9.9\r\n\r\n")
    client.read_to_end()


def refused_there(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 2") + b"no")
    client.read_to_end()


def refused_halfway(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 9") + b"half")
    client.read_head()
    client.reset()


def left_at_once(stage: Stage) -> None:
    stage.connect().close()


def reset_in_the_head(stage: Stage) -> None:
    client = stage.connect()
    client.send(handshake()[:30])
    client.reset()


def reset_while_pending(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    client.reset()
    upstream.wait_until_gone()


def broken_upstream(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.send(switching(key=b"AAAAAAAAAAAAAAAAAAAAAA=="))
    client.read_to_end()


def upstream_down(stage: Stage) -> None:
    stage.ask(b"/down").read_to_end()


def client_violates(stage: Stage) -> None:
    client, _ = stage.begin()
    client.send(frame(TEXT, b"unmasked"))
    client.read_to_end()


def upstream_violates(stage: Stage) -> None:
    _, upstream = stage.begin()
    upstream.send(masked(TEXT, b"masked"))
    upstream.wait_until_gone()


def client_resets(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.reset()
    upstream.read_frame()


def upstream_resets(stage: Stage) -> None:
    client, upstream = stage.begin()
    upstream.reset()
    client.read_frame()


def cut_stream(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(frame_head(0x80 | BINARY, 50_000, MASK) + b"cut")
    client.close()
    upstream.wait_until_gone()


def both_close(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(CLOSE, close_payload(1000)))
    upstream.send(frame(CLOSE, close_payload(1000)))
    client.read_to_end()


WAYS: list[Callable[[Stage], None]] = [
    normal,
    refused_here,
    refused_there,
    refused_halfway,
    left_at_once,
    reset_in_the_head,
    reset_while_pending,
    broken_upstream,
    upstream_down,
    client_violates,
    upstream_violates,
    client_resets,
    upstream_resets,
    cut_stream,
    both_close,
]


def run(relay: RelayProcess, upstream: RawUpstream, ways: list[Callable[[Stage], None]]) -> None:
    for way in ways:
        stage = Stage(relay, upstream)
        way(stage)
        stage.close()


def opened_and_ended(relay: RelayProcess) -> tuple[int, int]:
    log = relay.log()
    return log.count('"event":"open"'), log.count('"event":"end"')


def test_thousands_of_ends_leave_no_descriptor_no_session_and_no_memory(
    stage: Stage, relay: RelayProcess, upstream: RawUpstream
) -> None:
    source = random.Random(7)
    baseline = fd_count(relay.pid)
    run(relay, upstream, source.sample(WAYS * 10, 10 * len(WAYS)))
    wait_until(lambda: fd_count(relay.pid) <= baseline, "the end of all connections")
    before = rss(relay.pid)
    run(relay, upstream, source.sample(WAYS * ROUNDS, ROUNDS * len(WAYS)))
    wait_until(lambda: fd_count(relay.pid) <= baseline, "the end of all connections")
    opened, ended = wait_until(
        lambda: (found := opened_and_ended(relay))[0] == found[1] and found, "all ends in the log"
    )
    assert opened == ended > 5 * ROUNDS
    # Over two thousand clients: a leak of 2 KiB each would show.
    assert rss(relay.pid) - before < 4 * 1024 * 1024
    stage.works()


def test_every_way_to_fail_gives_the_upstreams_place_back(stage: Stage) -> None:
    for _ in range(3):
        client = stage.ask(b"/full")
        upstream = stage.accept()
        client.reset()
        upstream.wait_until_gone()
        client = stage.ask(b"/full")
        stage.accept().close()
        client.read_to_end()
        client = stage.ask(b"/full")
        upstream = stage.accept()
        assert client.read_head().startswith(b"HTTP/1.1 504 ")
        client = stage.ask(b"/full")
        upstream = stage.accept()
        upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 0"))
        assert client.read_head().startswith(b"HTTP/1.1 403 ")
        client.wait_until_gone()
    client, upstream = stage.begin(b"/full")
    end_normally(client, upstream)


def test_many_idle_clients_and_a_burst_are_served(stage: Stage) -> None:
    idle = [stage.connect() for _ in range(300)]
    pairs = [stage.begin() for _ in range(300)]
    for client, _ in pairs:
        client.send(masked(TEXT, b"burst"))
    for client, upstream in pairs:
        assert upstream.read_frame().payload == b"burst"
        end_normally(client, upstream)
    for each in idle:
        each.close()
    stage.works()
