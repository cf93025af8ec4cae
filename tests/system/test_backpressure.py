"""Readers that stop: their senders stop too, memory stays small, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    BINARY,
    LOCAL,
    MASK,
    PING,
    PONG,
    RawUpstream,
    Stage,
    Wire,
    fd_count,
    frame,
    frame_head,
    masked,
    rss,
    wait_until,
)

pytestmark = pytest.mark.peers

MIB = 1024 * 1024
BUFFERS = 2 * sum(
    int(Path(f"/proc/sys/net/ipv4/tcp_{kind}mem").read_text().split()[2]) for kind in "rw"
)
"""What the kernel may hold of one direction, in four socket buffers."""
A_SESSION = 512 * 1024
"""What the relay may hold of one session."""
NOISE = 512 * 1024 if "ASAN_OPTIONS" not in os.environ else 8 * MIB
"""What the allocator of a process may keep for itself; a sanitizer's keeps more."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    listening = RawUpstream.tcp(rcvbuf=64 * 1024)  # so that it is full soon
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    def route(name: str, *rows: str) -> str:
        return "\n".join([f"[route:{name}]\npath = /{name}\npool = main\nhttp = no", *rows])

    config = "\n".join(
        [
            f"[listener:main]\nendpoint = {LOCAL}",
            route("relay", "max_message_size = off"),
            route("answer", "ping = answer", "max_message_size = off"),
            route(
                "pinged", "keepalive = 100ms", "keepalive_timeout = 1h", "max_message_size = off"
            ),
            "[route:main]\npool = main\nhttp = no",
            f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}",
            "[log]\nformat = json",
        ]
    )
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


def push(senders: list[Wire], chunk: bytes, limit: int) -> list[int]:
    """
    Send *chunk* over and over on all *senders* until none takes a byte for a second.

    :param limit: bytes after which a sender has enough.
    :returns: how much each one sent.
    """
    sent = dict.fromkeys(senders, 0)
    by_socket = {wire.sock: wire for wire in senders}
    for wire in senders:
        wire.sock.setblocking(False)
    quiet = 0
    while by_socket and quiet < 4:
        _, ready, _ = select.select([], list(by_socket), [], 0.25)
        quiet = 0 if ready else quiet + 1
        for sock in ready:
            wire = by_socket[sock]
            offset = sent[wire] % len(chunk)
            sent[wire] += sock.send(chunk[offset:])
            if sent[wire] >= limit:
                del by_socket[sock]
    for wire in senders:
        wire.sock.settimeout(20)
    return [sent[wire] for wire in senders]


def check_stall(
    stage: Stage,
    path: bytes,
    pick: Callable[[tuple[Wire, Wire]], Wire],
    chunk: bytes,
    sessions: int,
) -> None:
    """Let one side of many sessions send to another that never reads."""
    pairs = [stage.begin(path, rcvbuf=64 * 1024) for _ in range(sessions)]
    before = rss(stage.relay.pid)
    sent = push([pick(pair) for pair in pairs], chunk, 80 * MIB)
    grown = rss(stage.relay.pid) - before
    assert max(sent) < BUFFERS
    assert min(sent) > 0
    assert grown < sessions * A_SESSION + NOISE, f"{grown / sessions / 1024:.0f} KiB a session"
    stage.works()


def client_of(pair: tuple[Wire, Wire]) -> Wire:
    return pair[0]


def upstream_of(pair: tuple[Wire, Wire]) -> Wire:
    return pair[1]


SMALL = 1000
DATA = {
    "down-small": (upstream_of, frame(BINARY, b"d" * SMALL) * 64),
    "down-whole": (upstream_of, frame(BINARY, b"d" * 16384) * 8),
    "down-stream": (upstream_of, frame(BINARY, b"d" * 300_000)),
    "up-small": (client_of, masked(BINARY, b"u" * SMALL) * 64),
    "up-stream": (client_of, masked(BINARY, b"u" * 300_000)),
}
CONTROL = {
    "down-pings": (upstream_of, frame(PING, b"p" * 125) * 400),
    "up-pings": (client_of, masked(PING, b"p" * 125) * 400),
    "up-pongs": (client_of, masked(PONG, b"p" * 125) * 400),
}


@pytest.mark.parametrize(("pick", "chunk"), DATA.values(), ids=DATA)
def test_a_reader_that_stops_makes_its_sender_stop(
    stage: Stage, pick: Callable[[tuple[Wire, Wire]], Wire], chunk: bytes
) -> None:
    check_stall(stage, b"/relay", pick, chunk, sessions=20)


# A control frame costs the relay far more than a data frame, so fewer sessions send them.
@pytest.mark.parametrize(("pick", "chunk"), CONTROL.values(), ids=CONTROL)
def test_a_flood_of_control_frames_for_a_reader_that_stops_stops(
    stage: Stage, pick: Callable[[tuple[Wire, Wire]], Wire], chunk: bytes
) -> None:
    check_stall(stage, b"/relay", pick, chunk, sessions=3)


@pytest.mark.parametrize("pick", [client_of, upstream_of], ids=["client", "upstream"])
@pytest.mark.parametrize("payload", [b"", b"p" * 125], ids=["empty", "long"])
def test_a_ping_flood_that_is_answered_here_stops(
    stage: Stage, pick: Callable[[tuple[Wire, Wire]], Wire], payload: bytes
) -> None:
    make = masked if pick is client_of else frame
    check_stall(stage, b"/answer", pick, make(PING, payload) * 400, 3 if payload else 1)


def test_a_gibibyte_for_a_client_that_never_reads_stays_with_its_sender(stage: Stage) -> None:
    _, upstream = stage.begin(b"/relay")
    before = rss(stage.relay.pid)
    upstream.send(frame_head(0x80 | BINARY, 1 << 30))
    (sent,) = push([upstream], b"g" * MIB, 1 << 30)
    assert sent < BUFFERS
    assert rss(stage.relay.pid) - before < 3 * A_SESSION + NOISE
    stage.works()


def test_pongs_for_a_client_that_floods_pings_and_never_reads_stay_with_the_upstream(
    stage: Stage,
) -> None:
    pairs = [stage.begin(b"/relay", rcvbuf=64 * 1024) for _ in range(4)]
    before = rss(stage.relay.pid)
    over = threading.Event()

    def answer(upstream: Wire) -> None:
        """Answer pings with long pongs; read none while a pong waits to be taken."""
        upstream.sock.settimeout(0.2)
        pong = frame(PONG, b"p" * 120)
        answers = b""
        while not over.is_set():
            try:
                if answers:
                    answers = answers[upstream.sock.send(answers) :]
                elif data := upstream.sock.recv(65536):
                    answers = pong * (len(data) // 126)
                else:
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    answering = [threading.Thread(target=answer, args=(pair[1],)) for pair in pairs]
    for thread in answering:
        thread.start()
    try:
        sent = push([pair[0] for pair in pairs], masked(PING, b"p" * 120) * 500, 80 * MIB)
        grown = rss(stage.relay.pid) - before
    finally:
        over.set()
        for thread in answering:
            thread.join()
    assert max(sent) < 2 * BUFFERS
    assert grown < len(pairs) * A_SESSION + NOISE
    stage.works()


def test_relay_pings_do_not_pile_up_for_a_client_that_never_reads(stage: Stage) -> None:
    pairs = [stage.begin(b"/pinged", rcvbuf=64 * 1024) for _ in range(4)]
    push([pair[1] for pair in pairs], frame(BINARY, b"d" * SMALL) * 64, 80 * MIB)
    before = rss(stage.relay.pid)
    until = time.monotonic() + 2  # twenty keepalive intervals
    while time.monotonic() < until:
        stage.works(b"/relay")
    assert rss(stage.relay.pid) - before < MIB


@pytest.mark.parametrize("size", [700, 16384, 200_000, 40 * MIB])
@pytest.mark.parametrize("upwards", [True, False], ids=["up", "down"])
def test_all_bytes_arrive_when_the_reader_resumes(stage: Stage, upwards: bool, size: int) -> None:
    client, upstream = stage.begin(b"/relay", rcvbuf=64 * 1024)
    sender, receiver = (client, upstream) if upwards else (upstream, client)
    mask = MASK if upwards else b""
    source = random.Random(size)
    one = frame_head(0x80 | BINARY, size, mask) + source.randbytes(size)
    count = max(1, 40 * MIB // len(one))
    stream = one * count
    failures: list[BaseException] = []

    def send() -> None:
        try:
            sender.send(stream)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join(0.5)  # long enough for everything in between to be full
    assert thread.is_alive()
    received = receiver.read(len(stream))
    thread.join()
    assert not failures
    assert hashlib.sha256(received).digest() == hashlib.sha256(stream).digest()


def test_one_direction_that_is_full_does_not_stop_the_other(stage: Stage) -> None:
    client, upstream = stage.begin(b"/relay", rcvbuf=64 * 1024)
    push([upstream], frame(BINARY, b"d" * SMALL) * 64, 80 * MIB)
    data = random.Random(2).randbytes(200_000)
    for _ in range(20):
        client.send(masked(BINARY, data))
        assert upstream.read_frame().payload == data


def test_both_directions_full_resume(stage: Stage) -> None:
    client, upstream = stage.begin(b"/relay", rcvbuf=64 * 1024)
    up, down = masked(BINARY, b"u" * SMALL), frame(BINARY, b"d" * SMALL)
    sent_up, sent_down = push([client], up * 64, 80 * MIB) + push([upstream], down * 64, 80 * MIB)
    got_up = upstream.read(sent_up)
    got_down = client.read(sent_down)
    assert got_up == (up * (sent_up // len(up) + 1))[:sent_up]
    assert got_down == (down * (sent_down // len(down) + 1))[:sent_down]


def test_afterwards_nothing_is_left_and_others_are_served(stage: Stage) -> None:
    stage.works()
    stage.relay.wait_for_event(event="end")
    opened = stage.relay.log().count('"event":"open"')
    wait_until(
        lambda: stage.relay.log().count('"event":"end"') == opened, "the end of all sessions", 60
    )
    # Sockets apart, a relay has a constant number of descriptors.
    assert fd_count(stage.relay.pid) < 30
