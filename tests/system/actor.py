"""Upstreams that play what a test wants, at a port that stays theirs."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from typing import Literal, Self

from attrs import define, field

from tests.support import PATIENCE
from tests.system.support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Stage,
    Wire,
    frame,
    lines,
    masked,
    read_data,
    switching,
)

Role = Literal["echo", "silent", "error", "rude"]
"""``silent``: takes requests and never answers; ``error``: 500; ``rude``: hangs up instead."""


@define(eq=False)
class Actor:
    """
    An upstream: each connection has a thread, and the role that was played when it asked.

    In the role ``echo`` every data frame comes back, and plain HTTP is answered 200.

    :ivar asked: how often each path was asked for.
    """

    port: int = 0
    host: str = "127.0.0.1"
    asked: Counter[str] = field(factory=Counter, init=False)
    _roles: dict[str, Role] = field(factory=lambda: {"": "echo"}, init=False)
    _listening: socket.socket | None = field(default=None, init=False)
    _wires: set[Wire] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.open()

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    def play(self, role: Role, path: str = "") -> Self:
        """Play *role* from now on, where a *path* is given on that one alone."""
        self._roles[path] = role
        return self

    def open(self) -> None:
        """Listen, at the port that it had before."""
        self._listening = listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.host, self.port))
        listening.listen(200)
        self.port = listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def shut(self) -> None:
        """Listen no more; connections stay."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.shutdown(socket.SHUT_RDWR)  # which ends `accept`

    def close(self) -> None:
        """End everything."""
        self.shut()
        for wire in list(self._wires):
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with listening, contextlib.suppress(OSError):
            while True:
                wire = Wire(listening.accept()[0])
                wire.sock.settimeout(None)
                self._wires.add(wire)
                threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        # An assertion is the end of what should have been read.
        with wire.sock, contextlib.suppress(OSError, AssertionError):
            head = wire.read_head()
            path = head.split()[1].decode("latin-1")
            self.asked[path] += 1
            role = self._roles.get(path) or self._roles[""]
            if role == "silent":
                wire.wait_until_gone()
            elif role == "error":
                wire.send(lines(b"HTTP/1.1 500 Oh", b"Content-Length: 0", b"Connection: close"))
            elif role == "echo":
                self._echo(wire, head)
        self._wires.discard(wire)

    def _echo(self, wire: Wire, head: bytes) -> None:
        key = next((row[19:] for row in head.splitlines() if row.startswith(_KEY)), None)
        if key is None:
            wire.send(lines(b"HTTP/1.1 200 OK", b"Content-Length: 0", b"Connection: close"))
            return
        wire.send(switching(key=key))
        while (found := wire.read_frame()).opcode != CLOSE:
            if found.opcode in (TEXT, BINARY):
                wire.send(frame(found.opcode, found.payload))
            elif found.opcode == PING:
                wire.send(frame(PONG, found.payload))
        wire.send(frame(CLOSE, found.payload))


_KEY = b"Sec-WebSocket-Key: "


def join(stage: Stage, path: str) -> Wire:
    """Open a session that an echoing upstream takes."""
    client = stage.ask(path.encode())
    head = client.read_head()
    assert head.startswith(b"HTTP/1.1 101 "), head
    return client


def echoes(client: Wire, said: bytes = b"still there?") -> None:
    """Check that a session goes on."""
    client.send(masked(TEXT, said))
    assert read_data(client).payload == said


def is_quiet(client: Wire) -> bool:
    """Tell whether nothing has come; an echo has to be read before."""
    client.sock.settimeout(0)
    try:
        return client.sock.recv(1, socket.MSG_PEEK) is None
    except BlockingIOError:
        return True
    finally:
        client.sock.settimeout(PATIENCE)


def take_close(client: Wire, code: int) -> bytes:
    """Take the relay's close frame, answer it, and return its reason."""
    said = read_data(client)
    assert said.close_code == code, said
    client.send(masked(CLOSE, said.payload[:2]))
    assert client.read_to_end() == b""
    client.close()  # which the relay waits for
    return said.payload[2:]
