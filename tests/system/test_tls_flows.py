"""TLS on one leg or on both: which pump it is, floods, readers that stop, ends, and leaks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.relay.records import BAD_RECORD, CLOSE_NOTIFY, authority, pair
from tests.support import RelayProcess, started_relay
from tests.system.secure import SealedWire
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
    fd_count,
    frame,
    handshake,
    masked,
    read_data,
    rss,
    switching,
    wait_until,
)

pytestmark = pytest.mark.peers

MIB = 1024 * 1024


def _largest_buffer(kind: str) -> int:
    """Return how far the kernel lets a socket's buffer grow by itself; see tcp(7)."""
    return int(Path(f"/proc/sys/net/ipv4/tcp_{kind}").read_text().split()[2])


BUFFERS = _largest_buffer("rmem") + 2 * _largest_buffer("wmem") + 4 * MIB
"""What the kernel may hold of one direction: the sender's buffer, the relay's two, and some."""
A_SESSION = 512 * 1024
"""What the relay may hold of one session."""
NOISE = 512 * 1024 if "ASAN_OPTIONS" not in os.environ else 8 * MIB
"""What the allocator of a process may keep for itself; a sanitizer's keeps more."""

LEGS = [("tls", b"/plain"), ("clear", b"/secure"), ("tls", b"/secure")]
every_way = pytest.mark.parametrize(("listener", "path"), LEGS, ids=["client", "upstream", "both"])


def ini(upstream: RawUpstream) -> str:
    wss = upstream.url.replace("ws:", "wss:")
    route = "http = no\nclose_timeout = 1s\nmax_message_size = off"
    return "\n".join(
        [
            "[relay]\ndata_path = native\ndrain_timeout = 1s",
            f"[listener:tls]\nendpoint = {LOCAL}",
            f"certificate = {pair().certificate}\nkey = {pair().key}",
            f"[listener:clear]\nendpoint = {LOCAL}",
            f"[route:plain]\npath = /plain\npool = plain\n{route}",
            f"[pool:plain]\nmax_fails = 0\nupstreams = {upstream.url}",
            f"[route:secure]\npath = /secure\npool = secure\n{route}",
            f"[pool:secure]\nmax_fails = 0\nupstreams = {wss}",
            f"tls_ca = {authority().certificate()}",
            "[log]\nformat = json",
        ]
    )


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    with started_relay(ini(upstream), tmp_path_factory.mktemp("relay")) as process:
        yield process


def begin(stage: Stage, listener: str, path: bytes, rcvbuf: int = 0) -> tuple[Wire, Wire]:
    client = stage.connect(listener, rcvbuf)
    if listener == "tls":
        client = stage.keep(SealedWire.shake_hands(client.sock, is_server=False))
    client.send(handshake(path))
    upstream = stage.accept()
    if path == b"/secure":
        upstream = stage.keep(SealedWire.shake_hands(upstream.sock, is_server=True))
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client, upstream


def native_legs(pid: int) -> int:
    """
    Count the sockets that are a native pump's: it alone watches for edges (EPOLLET).

    An epoll set's descriptor says in ``/proc`` what is watched, and for what.
    """
    count = 0
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            rows = re.findall(r"^tfd:.*events: *([0-9a-f]+)", entry.read_text(), re.MULTILINE)
            count += sum(bool(int(events, 16) & 1 << 31) for events in rows)
    return count


@every_way
def test_sessions_with_tls_run_on_the_native_pump(stage: Stage, listener: str, path: bytes) -> None:
    wait_until(lambda: native_legs(stage.relay.pid) == 0, "the end of earlier sessions")
    client, upstream = begin(stage, listener, path)
    wait_until(lambda: native_legs(stage.relay.pid) == 2, "that the hub watches both sockets")
    for data in (b"small", bytes(100_000), bytes(3 * MIB)):
        client.send(masked(BINARY, data))
        assert read_data(upstream).payload == data
        upstream.send(frame(BINARY, data))
        assert read_data(client).payload == data
    end_normally(client, upstream)


@every_way
def test_frames_in_the_records_of_both_handshakes_and_behind_them_are_passed_on(
    stage: Stage, listener: str, path: bytes
) -> None:
    client = stage.connect(listener)
    if listener == "tls":
        client = stage.keep(SealedWire.shake_hands(client.sock, is_server=False))
    one, two = masked(TEXT, b"one"), masked(TEXT, b"two")
    client.send(handshake(path) + one)
    client.send(two)
    upstream = stage.accept()
    if path == b"/secure":
        upstream = stage.keep(SealedWire.shake_hands(upstream.sock, is_server=True))
    upstream.read_head()
    answers = [switching() + frame(TEXT, b"1"), *(frame(TEXT, b"%d" % n) for n in range(2, 9))]
    if isinstance(upstream, SealedWire):  # records of their own, in one segment
        upstream.send_raw(b"".join(map(upstream.peer.seal, answers)))
    else:
        upstream.send(b"".join(answers))
    client.read_head()
    assert [read_data(client).payload for _ in range(8)] == [b"%d" % n for n in range(1, 9)]
    assert [read_data(upstream).payload for _ in range(2)] == [b"one", b"two"]
    end_normally(client, upstream)


class Flow:
    """Bytes on their way from one wire to another, sent by a thread of their own."""

    def __init__(self, sender: Wire, receiver: Wire, make: Callable[..., bytes], seed: int) -> None:
        source = random.Random(seed)
        self.frames: list[bytes] = []
        size = 0
        while size < BUFFERS * 5 // 4:  # more than can be under way
            payload = source.randbytes(source.choice([1, 125, 3000, 16384, 200_000]))
            self.frames.append(make(BINARY, payload))
            size += len(payload)
        self.receiver, self.sent = receiver, 0
        self._sender = sender
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()

    def _send(self) -> None:
        for each in self.frames:
            self._sender.send(each)
            self.sent += len(each)

    def receive(self) -> str:
        """Read all of it, in a thread or not; return the digest."""
        digest, left = hashlib.sha256(), sum(map(len, self.frames))
        while left:
            size = min(left, 50_000)
            digest.update(self.receiver.read(size))
            left -= size
        return digest.hexdigest()

    def expected(self) -> str:
        return hashlib.sha256(b"".join(self.frames)).hexdigest()


@every_way
def test_both_ways_full_at_once_nothing_is_lost_and_little_is_kept(
    stage: Stage, listener: str, path: bytes
) -> None:
    client, upstream = begin(stage, listener, path, rcvbuf=64 * 1024)
    before = rss(stage.relay.pid)
    flows = [Flow(client, upstream, masked, 1), Flow(upstream, client, frame, 2)]
    seen = [-1, -1]

    def both_stopped() -> bool:
        was, seen[:] = list(seen), [flow.sent for flow in flows]
        for flow in flows:
            flow.thread.join(0.25)
        return was == seen

    wait_until(both_stopped, "that both senders stop")
    assert all(flow.thread.is_alive() for flow in flows)
    assert max(seen) < BUFFERS
    assert rss(stage.relay.pid) - before < 2 * A_SESSION + NOISE
    digests: dict[int, str] = {}
    readers = [
        threading.Thread(target=lambda n=n, flow=flow: digests.update({n: flow.receive()}))
        for n, flow in enumerate(flows)
    ]
    for reader in readers:
        reader.start()
    for thread in [*readers, *(flow.thread for flow in flows)]:
        thread.join(60)
        assert not thread.is_alive(), "nobody waits for anybody"
    assert digests == {n: flow.expected() for n, flow in enumerate(flows)}
    assert rss(stage.relay.pid) - before < 2 * A_SESSION + NOISE


@every_way
def test_a_flood_of_pings_is_answered_whole(stage: Stage, listener: str, path: bytes) -> None:
    client, upstream = begin(stage, listener, path)
    pings = [b"%d" % number for number in range(1000)]
    client.send(b"".join(masked(PING, each) for each in pings))
    assert [upstream.read_frame().payload for _ in pings] == pings
    upstream.send(b"".join(frame(PONG, each) for each in pings))
    assert [client.read_frame().payload for _ in pings] == pings
    end_normally(client, upstream)


def test_a_relay_that_stops_says_goodbye_in_the_order_of_the_layers(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    with started_relay(ini(upstream), tmp_path) as relay:
        stage = Stage(relay, upstream)
        client, far = begin(stage, "tls", b"/secure")
        assert isinstance(client, SealedWire)
        assert isinstance(far, SealedWire)
        relay.terminate()
        assert read_data(far).close_code == 1012
        far.send(frame(CLOSE, close_payload(1012)))
        assert read_data(client).close_code == 1012
        assert not client.peer.has_goodbye
        client.send(masked(CLOSE, close_payload(1012)))
        assert client.read_to_end() == b""
        assert client.peer.alerts() == [CLOSE_NOTIFY]
        client.close()
        far.send_raw(far.peer.goodbye())  # a websocket server ends the connection itself
        assert far.read_to_end() == b""
        assert far.peer.alerts() == [CLOSE_NOTIFY]
        far.close()
        relay.wait()


def test_a_record_that_was_tampered_with_is_answered_with_an_alert(stage: Stage) -> None:
    client, upstream = begin(stage, "tls", b"/plain")
    assert isinstance(client, SealedWire)
    client.send_raw(client.peer.seal(b"x")[:-1] + b"\0")
    assert client.read_to_end() == b""
    assert client.peer.alerts() == [BAD_RECORD]
    assert read_data(upstream).close_code == 1001


# leaks

Way = Callable[[SealedWire, SealedWire], None]


def leave(wire: SealedWire, cipher: bytes = b"") -> None:
    wire.send_raw(cipher)
    wire.close()


def close_both(client: SealedWire, upstream: SealedWire) -> None:
    client.send(masked(CLOSE, close_payload(1000)))
    upstream.send(frame(CLOSE, close_payload(1000)))


def ask_and_reset(client: SealedWire, upstream: SealedWire) -> None:
    client.send_raw(b"".join(client.peer.update(True) for _ in range(100)))
    client.reset()


WAYS: list[Way] = [
    end_normally,
    close_both,
    ask_and_reset,
    lambda client, upstream: leave(client),
    lambda client, upstream: leave(upstream),
    lambda client, upstream: leave(client, client.peer.goodbye()),
    lambda client, upstream: leave(upstream, upstream.peer.goodbye()),
    lambda client, upstream: leave(client, client.peer.seal(b"half a record")[:9]),
    lambda client, upstream: leave(upstream, bytes(40)),
    lambda client, upstream: leave(client, client.peer.halves_of_update()[0]),
    lambda client, upstream: client.reset(),
    lambda client, upstream: upstream.reset(),
    lambda client, upstream: client.send(frame(TEXT, b"unmasked")),
    lambda client, upstream: upstream.send(masked(TEXT, b"masked")),
    lambda client, upstream: leave(upstream, upstream.peer.seal(frame(BINARY, bytes(50_000))[:99])),
]


def live_through(relay: RelayProcess, upstream: RawUpstream, ways: list[Way]) -> None:
    for way in ways:
        stage = Stage(relay, upstream)
        client, far = begin(stage, "tls", b"/secure")
        assert isinstance(client, SealedWire)
        assert isinstance(far, SealedWire)
        way(client, far)
        for wire in (client, far):
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_WR)
                wire.wait_until_gone()
        stage.close()


def test_hundreds_of_sessions_leave_no_descriptor_no_session_and_no_memory(
    relay: RelayProcess, upstream: RawUpstream, stage: Stage
) -> None:
    source = random.Random(11)
    baseline = fd_count(relay.pid)
    live_through(relay, upstream, source.sample(WAYS * 10, 10 * len(WAYS)))
    wait_until(lambda: fd_count(relay.pid) <= baseline, "the end of all connections")
    before = rss(relay.pid)
    live_through(relay, upstream, source.sample(WAYS * 34, 34 * len(WAYS)))
    wait_until(lambda: fd_count(relay.pid) <= baseline, "the end of all connections")
    assert native_legs(relay.pid) == 0
    wait_until(
        lambda: relay.log().count('"event":"open"') == relay.log().count('"event":"end"'),
        "all ends in the log",
    )
    # A leak of 4 KiB a session would show; what OpenSSL needs for one is ten times that.
    assert rss(relay.pid) - before < 2 * MIB + NOISE
    end_normally(*begin(stage, "tls", b"/secure"))
