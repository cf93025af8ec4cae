"""Upstreams that die, freeze, break off, or crawl."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time

import pytest

from tests.faults.scene import Scene, Stage
from tests.faults.upstream import Upstream
from tests.faults.witness import ended
from tests.system.support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    RawUpstream,
    Wire,
    close_payload,
    frame,
    frame_head,
    handshake,
    masked,
    read_data,
    switching,
)

pytestmark = pytest.mark.peers

FAST = "keepalive = 1s\nkeepalive_timeout = 3s\nupstream_handshake_timeout = 1s"


def test_upstream_killed(stage: Stage) -> None:
    with stage.scene(Upstream("a"), Upstream("b")) as scene:
        scene.settle()
        hit = scene.of("a")
        scene.harm()
        scene.upstreams["a"].signal(signal.SIGKILL)
        ended(hit)
        assert {each.code for each in hit} == {1011}
        scene.was_hit(hit)
        scene.go_elsewhere(len(hit))
        scene.upstreams["a"].come_back()
        scene.wait_for("a")


def test_upstream_frozen(stage: Stage) -> None:
    with stage.scene(Upstream("a"), Upstream("b"), route=FAST) as scene:
        scene.settle()
        hit = scene.of("a")
        scene.harm()
        scene.upstreams["a"].signal(signal.SIGSTOP)
        ended(hit)
        assert {(each.code, each.reason) for each in hit} == {(1011, "no pong from the upstream")}
        scene.was_hit(hit)
        scene.go_elsewhere(len(hit))
        scene.upstreams["a"].signal(signal.SIGCONT)
        scene.wait_for("a")


def connect(scene: Scene) -> Wire:
    """Send a handshake of a raw client."""
    client = Wire(socket.create_connection(("127.0.0.1", scene.port)))
    client.send(handshake(b"/victim"))
    return client


def open_pair(scene: Scene, upstream: RawUpstream) -> tuple[Wire, Wire]:
    """Open a session of which the test plays both ends."""
    client = connect(scene)
    other = upstream.accept()
    other.read_head()
    other.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client, other


def test_reset_in_mid_frame(stage: Stage) -> None:
    upstream = RawUpstream.tcp()
    with stage.scene(upstream.url, pool="max_fails = 0") as scene:
        short = [open_pair(scene, upstream) for _ in range(10)]
        long = [open_pair(scene, upstream) for _ in range(10)]
        for _, other in short:
            other.send(frame(TEXT, b"whole") + frame_head(0x80 | TEXT, 9_000) + bytes(5_000))
        for client, other in long:
            other.send(frame_head(0x80 | BINARY, 900_000) + bytes(100_000))
            client.read(50_000)  # it is passed on in pieces
        for client, _ in short:
            assert read_data(client).payload == b"whole"
        scene.harm()
        for _, other in (*short, *long):
            other.reset()
        for client, _ in short:
            assert read_data(client).close_code == 1011  # and nothing of the half frame
            client.send(masked(CLOSE, close_payload(1011)))
            client.wait_until_gone()
            client.close()
        for client, _ in long:
            assert len(client.read_what_comes()) < 100_000
            client.close()
        scene.noticed()
        scene.figures.hit += len(short) + len(long)
    upstream.close()


def say_slowly(wire: Wire, data: bytes) -> threading.Thread:
    """Send a byte a second."""

    def send() -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            for byte in data:
                wire.send(bytes([byte]))
                time.sleep(1.0)  # not to wait for anything: that is the harm

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def hear(client: Wire) -> Frame:
    """Read the next frame that is no ping; answer those."""
    while (found := client.read_frame()).opcode == PING:
        client.send(masked(PONG, found.payload))
    return found


def test_a_byte_a_second(stage: Stage) -> None:
    upstream = RawUpstream.tcp()
    route = f"{FAST}\nretries = 0"
    with stage.scene(upstream.url, pool="max_fails = 0", route=route) as scene:
        talking, asking = open_pair(scene, upstream), connect(scene)
        crawling = upstream.accept()
        scene.harm()
        answer = say_slowly(crawling, switching()[:4])
        message = say_slowly(talking[1], frame(TEXT, b"slowly"))
        assert asking.read_head().startswith(b"HTTP/1.1 504 ")
        scene.noticed()
        scene.figures.hit += 1
        # It answers no ping meanwhile; that something comes is sign of life enough.
        assert hear(talking[0]).payload == b"slowly"
        for each in (answer, message):
            each.join()
        talking[0].send(masked(CLOSE, close_payload(1000)))
        assert read_data(talking[1]).close_code == 1000
        talking[1].send(frame(CLOSE, close_payload(1000)))
        for each in (*talking, asking, crawling):
            each.wait_until_gone()
            each.close()
    upstream.close()
