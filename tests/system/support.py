"""Raw sockets on both sides of a relay: bytes go in and come out exactly as a test says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import select
import signal
import socket
import ssl
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.support import PATIENCE, Process, RelayProcess, event_in

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x11\x22\x33\x44"

LOCAL = "tcp:0:interface=127.0.0.1"


def accept_for(key: bytes = KEY) -> bytes:
    """Return the Sec-WebSocket-Accept of *key*."""
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


def lines(*rows: bytes) -> bytes:
    """Return a head of these lines, with the empty line at its end."""
    return b"".join(row + b"\r\n" for row in rows) + b"\r\n"


def handshake(path: bytes = b"/", *more: bytes, host: bytes = b"r.test") -> bytes:
    """Return a client's opening handshake."""
    return lines(
        b"GET %b HTTP/1.1" % path,
        b"Host: %b" % host,
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: %b" % KEY,
        b"Sec-WebSocket-Version: 13",
        *more,
    )


def switching(*more: bytes, key: bytes = KEY) -> bytes:
    """Return an upstream's 101."""
    return lines(
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: %b" % accept_for(key),
        *more,
    )


def xor(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask."""
    if not payload:
        return b""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")


def frame_head(first: int, length: int, mask: bytes = b"") -> bytes:
    """Return a frame's header for a payload of *length* bytes."""
    flag = 0x80 if mask else 0
    if length < 126:
        return bytes([first, flag | length]) + mask
    if length < 65536:
        return bytes([first, flag | 126]) + struct.pack("!H", length) + mask
    return bytes([first, flag | 127]) + struct.pack("!Q", length) + mask


def frame(opcode: int, payload: bytes = b"", *, mask: bytes = b"", fin: bool = True) -> bytes:
    """Return a frame; *opcode* may have reserved bits set."""
    first = opcode | (0x80 if fin else 0)
    return frame_head(first, len(payload), mask) + (xor(payload, mask) if mask else payload)


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a client's frame."""
    return frame(opcode, payload, mask=MASK, fin=fin)


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """Return what a close frame carries."""
    return struct.pack("!H", code) + reason


@frozen
class Frame:
    """One frame as it came."""

    first: int
    mask: bytes
    payload: bytes = field(repr=lambda payload: f"{len(payload)}:{payload[:60]!r}")
    raw: bytes = field(repr=False)

    @property
    def opcode(self) -> int:
        return self.first & 0x0F

    @property
    def close_code(self) -> int | None:
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


@define(eq=False)
class Wire:
    """One connected socket; every read waits, and fails after `PATIENCE`."""

    sock: socket.socket
    _buffer: bytearray = field(factory=bytearray, init=False)

    def __attrs_post_init__(self) -> None:
        self.sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_slowly(self, data: bytes) -> None:
        """Send byte for byte, each in a segment of its own."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            self.sock.sendall(bytes([byte]))

    def _more(self) -> bool:
        data = self.sock.recv(256 * 1024)
        self._buffer += data
        return bool(data)

    def read(self, size: int) -> bytes:
        """Read exactly *size* bytes."""
        while len(self._buffer) < size:
            assert self._more(), f"ended after {bytes(self._buffer[:500])!r}, wanted {size} bytes"
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_head(self) -> bytes:
        """Read up to and including an empty line."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            assert self._more(), f"ended inside a head: {bytes(self._buffer)!r}"
        return self.read(end + 4)

    def read_frame(self) -> Frame:
        raw = head = self.read(2)
        length = head[1] & 0x7F
        if length > 125:
            extended = self.read(2 if length == 126 else 8)
            length, raw = int.from_bytes(extended, "big"), raw + extended
        mask = self.read(4) if head[1] & 0x80 else b""
        data = self.read(length)
        payload = xor(data, mask) if mask else data
        return Frame(head[0], mask, payload, raw + mask + data)

    def read_to_end(self) -> bytes:
        """Read until the other end closes; a reset raises ConnectionResetError."""
        while self._more():
            pass
        return self._take()

    def read_what_comes(self) -> bytes:
        """Read until the connection is closed or reset, and return what came."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLError):
            while self._more():
                pass
        return self._take()

    def _take(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def has_data(self) -> bool:
        """Whether something has come that was not read yet; not for TLS."""
        return bool(self._buffer or select.select([self.sock], [], [], 0)[0])

    def wait_until_gone(self) -> None:
        """Read and drop everything until the connection is closed or reset."""
        self.read_what_comes()

    def shut(self) -> None:
        """End the sending half."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


@define(eq=False)
class RawUpstream:
    """A listening socket; the test itself is the upstream behind it."""

    sock: socket.socket
    url: str

    @classmethod
    def tcp(cls, backlog: int = 200, rcvbuf: int = 0) -> RawUpstream:
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        sock.settimeout(PATIENCE)
        return cls(sock, f"ws://127.0.0.1:{sock.getsockname()[1]}")

    @classmethod
    def unix(cls, path: Path) -> RawUpstream:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen(10)
        sock.settimeout(PATIENCE)
        return cls(sock, f"unix:{path}")

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def accept(self) -> Wire:
        return Wire(self.sock.accept()[0])

    def visitor(self) -> Wire | None:
        """Accept a connection if one is there."""
        self.sock.settimeout(0)
        try:
            return self.accept()
        except BlockingIOError:
            return None
        finally:
            self.sock.settimeout(PATIENCE)

    def is_alone(self) -> bool:
        """Whether nobody has connected; drops who has."""
        alone = True
        while (visitor := self.visitor()) is not None:
            visitor.close()
            alone = False
        return alone

    def close(self) -> None:
        self.sock.close()


@define(eq=False)
class Stage:
    """A relay, the upstream behind it, and every connection of one test."""

    relay: RelayProcess
    upstream: RawUpstream
    _open: list[Wire] = field(factory=list, init=False)

    def keep(self, wire: Wire) -> Wire:
        """Close *wire* when the test is over."""
        self._open.append(wire)
        return wire

    def connect(self, listener: str | None = None, rcvbuf: int = 0) -> Wire:
        """Connect to the relay, to its first listener unless named."""
        port = self.relay.ports[listener or next(iter(self.relay.ports))]
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, rcvbuf)
        wire = self.keep(Wire(sock))
        sock.connect(("127.0.0.1", port))
        return wire

    def accept(self, upstream: RawUpstream | None = None) -> Wire:
        return self.keep((upstream or self.upstream).accept())

    def ask(
        self, path: bytes = b"/", *more: bytes, listener: str | None = None, host: bytes = b"r.test"
    ) -> Wire:
        """Connect and send an opening handshake."""
        client = self.connect(listener)
        client.send(handshake(path, *more, host=host))
        return client

    def begin(
        self,
        path: bytes = b"/",
        *more: bytes,
        answer: tuple[bytes, ...] = (),
        listener: str | None = None,
        rcvbuf: int = 0,
    ) -> tuple[Wire, Wire]:
        """Open a session and return the client and the upstream of it."""
        client = self.connect(listener, rcvbuf)
        client.send(handshake(path, *more))
        upstream = self.accept()
        upstream.read_head()
        upstream.send(switching(*answer))
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        return client, upstream

    def works(self, path: bytes = b"/") -> None:
        """Check that a new session relays and ends; anything else is drained before."""
        self.upstream.is_alone()
        client, upstream = self.begin(path)
        client.send(masked(TEXT, b"works?"))
        assert read_data(upstream).payload == b"works?"
        upstream.send(frame(TEXT, b"works!"))
        assert read_data(client).payload == b"works!"
        end_normally(client, upstream)

    def close(self) -> None:
        for wire in self._open:
            wire.close()
        self.upstream.is_alone()


def read_data(wire: Wire) -> Frame:
    """Read the next frame that is no ping of the relay."""
    while (found := wire.read_frame()).opcode == PING:
        pass
    return found


def end_normally(client: Wire, upstream: Wire) -> None:
    """Shake hands on the end, the client first."""
    client.send(masked(CLOSE, close_payload(1000)))
    assert read_data(upstream).close_code == 1000
    upstream.send(frame(CLOSE, close_payload(1000)))
    assert read_data(client).close_code == 1000
    assert client.read_to_end() == b""
    client.close()
    upstream.close()


def converse(client: Wire, upstream: RawUpstream, *more: bytes, path: bytes = b"/") -> list[bytes]:
    """
    Have a session, and return the lines of the request that the upstream got.

    :param more: lines of the client's request.
    """
    client.send(handshake(path, *more))
    other = upstream.accept()
    head = other.read_head().split(b"\r\n")
    other.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    client.send(masked(TEXT, b"hello"))
    assert read_data(other).payload == b"hello"
    other.send(frame(TEXT, b"welcome"))
    assert read_data(client).payload == b"welcome"
    end_normally(client, other)
    client.close()
    other.close()
    return head


def answer_close(client: Wire, upstream: Wire, code: int = 1012, reason: bytes = b"") -> None:
    """Take the relay's close on both legs, which gives a *reason* if one is wanted; answer it."""
    for wire in (client, upstream):
        said = read_data(wire)
        assert said.close_code == code
        assert not reason or said.payload[2:] == reason
    client.send(masked(CLOSE, close_payload(code)))
    upstream.send(frame(CLOSE, close_payload(code)))
    assert client.read_to_end() == b""
    client.close()
    upstream.close()


@frozen
class Answer:
    """A whole HTTP answer that ended with its connection."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def get(self, name: bytes) -> bytes | None:
        """Return the only value of *name*, None when there is none."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, found
        return found[0] if found else None


def read_answer(wire: Wire) -> Answer:
    """Read one whole answer and the end of the connection; nothing may follow."""
    data = wire.read_to_end()
    head, separator, body = data.partition(b"\r\n\r\n")
    assert separator, data
    status_line, *rows = head.split(b"\r\n")
    match = re.fullmatch(rb"HTTP/1\.1 ([0-9]{3}) [ -~]*", status_line)
    assert match, status_line
    headers = [(name, value) for name, _, value in (row.partition(b": ") for row in rows)]
    return Answer(int(match[1]), headers, body)


def check_own_answer(answer: Answer, status: int) -> None:
    """Check everything that each answer of the relay's own has."""
    assert answer.status == status, answer
    kind = answer.get(b"Content-Type")
    assert kind is not None
    assert kind.startswith(b"text/plain")
    assert answer.get(b"Content-Length") == b"%d" % len(answer.body)
    assert b"close" in (answer.get(b"Connection") or b"")
    assert 10 < len(answer.body) < 300
    assert answer.body.endswith(b"\n")


def wait_until(predicate: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Poll until *predicate* holds and return what it returned."""
    deadline = time.monotonic() + patience
    while not (found := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {patience:g} seconds")
        time.sleep(0.01)
    return found


def wait_for_room_in_log(relay: Process) -> None:
    """Wait until a refusal surely gets a line of its own in a JSON access log again."""

    def has_room() -> bool:
        events = [event_in(line) for line in relay.log().splitlines()[-100:]]
        times = [each["ts"] for each in events if each.get("event") == "refused"]
        now = datetime.now(UTC)
        return sum((now - datetime.fromisoformat(each)).total_seconds() < 1.1 for each in times) < 4

    wait_until(has_room, "room for lines in the log")


def refuses(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def check_ended(relay: Process) -> None:
    """Wait for an end that is the relay's own; twistd then dies of the signal that it had."""
    assert relay.wait() in (0, -signal.SIGTERM, -signal.SIGINT)
    assert "Main loop terminated" in relay.log()
    assert "Traceback" not in relay.log()


def fd_count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss(pid: int) -> int:
    """Return the resident size of a process in bytes."""
    match = re.search(r"VmRSS:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def check_log_is_calm(log: str) -> None:
    """Fail if a relay printed a traceback or an error that nobody handled."""
    for bad in ("Traceback", "Unhandled", "failed while handling", "could not be handled"):
        assert bad not in log, log[-4000:]


def ini(
    upstreams: list[str] | str,
    *,
    route: str = "",
    pool: str = "max_fails = 0",
    listener: str = "",
    relay: str = "",
    log: str = "format = json",
) -> str:
    """Return a relay.ini with one listener, route and pool; options one a line."""
    rows = [upstreams] if isinstance(upstreams, str) else upstreams
    urls = "\n".join(f"    {row}" for row in rows)
    return (
        f"[relay]\n{relay}\n[listener:main]\nendpoint = {LOCAL}\n{listener}\n"
        f"[route:main]\npool = main\nhttp = no\n{route}\n"
        f"[pool:main]\nupstreams =\n{urls}\n{pool}\n[log]\n{log}\n"
    )
