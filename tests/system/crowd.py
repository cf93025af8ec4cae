"""Many clients at once, in a thread of their own, that talk to echoing upstreams all the time."""

from __future__ import annotations

import contextlib
import random
import select
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from attrs import define, field

from tests.support import PATIENCE
from tests.system.support import (
    BINARY,
    CLOSE,
    MASK,
    PING,
    PONG,
    Wire,
    frame_head,
    handshake,
    masked,
    wait_until,
    xor,
)

SIZES = (9, 90, 900, 9_000, 20_000)
"""Of messages; the relay passes on the largest before it has seen their ends."""

AT_ONCE = 25
"""Handshakes."""

_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_BITS = 6


@define(eq=False)
class Talker:
    """
    One client: says a message, in two pieces, and hears it again before the next one.

    :ivar heard: how many messages came back.
    :ivar close: what a close frame said: code and reason; *closed_at*: when it came.
    :ivar trouble: what should not have happened; empty while all is well.
    """

    sock: socket.socket
    number: int
    heard: int = field(default=0, init=False)
    close: tuple[int, str] | None = field(default=None, init=False)
    closed_at: float = field(default=0.0, init=False)
    trouble: str = field(default="", init=False)
    is_over: bool = field(default=False, init=False)
    _expected: bytes = field(default=b"", init=False)
    _rest: bytes = field(default=b"", init=False)  # of the message that is being said
    _pong: bytes = field(default=b"", init=False)  # still to be sent
    _buffer: bytearray = field(factory=bytearray, init=False)

    def speak(self) -> None:
        """Say the second half of a message, or, once one was heard again, half of the next."""
        if self.close is not None:
            return
        if self._rest:  # no pong may stand inside of a frame
            data, self._rest = self._rest + self._pong, b""
            self._pong = b""
        elif not self._expected:
            data = self._next_message()
        else:
            return
        self._send(data)

    def listen(self) -> None:
        """Take everything that has come."""
        try:
            while data := self.sock.recv(256 * 1024):
                self._buffer += data
        except _WAITS:
            self._take_frames()
            return
        except OSError as error:
            self._ends(f"lost: {error}")
            return
        self._take_frames()
        self._ends("the end came without a close frame")

    def _next_message(self) -> bytes:
        size = SIZES[(self.heard + self.number) % len(SIZES)]
        text = b"%d:%d:" % (self.number, self.heard)
        self._expected = (text * (size // len(text) + 1))[:size]
        head = frame_head(0x80 | BINARY, size, MASK)
        whole = head + xor(self._expected, MASK)
        cut = random.randrange(1, len(whole))
        self._rest = whole[cut:]
        return whole[:cut]

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except _WAITS:
                select.select([], [self.sock], [], PATIENCE)
            except OSError as error:
                self._ends(f"cannot send: {error}")
                return

    def _take_frames(self) -> None:
        while (found := _frame_in(self._buffer)) is not None:
            opcode, start, end = found
            payload = bytes(self._buffer[start:end])
            del self._buffer[:end]
            self._take(opcode, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._pong = masked(PONG, payload)
        elif opcode == CLOSE:
            self.close = int.from_bytes(payload[:2], "big"), payload[2:].decode()
            self.closed_at = time.monotonic()
            self._send(self._rest + masked(CLOSE, payload[:2]))
            self._rest = b""
        elif opcode != BINARY or payload != self._expected or self._rest:
            self.trouble = self.trouble or f"unexpected {payload[:60]!r} ({len(payload)})"
        else:
            self._expected = b""
            self.heard += 1

    def _ends(self, how: str) -> None:
        self.is_over = True
        if self.close is None:
            self.trouble = self.trouble or how


def _frame_in(buffer: bytearray) -> tuple[int, int, int] | None:
    """Return the opcode of the first frame, and where its payload begins and ends."""
    if len(buffer) < 2:
        return None
    start, length = 2, buffer[1] & 0x7F
    if length > 125:
        start = 4 if length == 126 else 10
        length = int.from_bytes(buffer[2:start], "big")
    end = start + length
    return None if len(buffer) < end else (buffer[0] & 0x0F, start, end)


@define(eq=False)
class Crowd:
    """
    Clients that talk until the context ends.

    :ivar talkers: all of them, those that are over too.
    """

    talkers: list[Talker] = field(factory=list, init=False)
    _added: list[Talker] = field(factory=list, init=False)
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector, init=False)
    _stopped: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        for each in self.talkers:
            each.sock.close()
        self._selector.close()

    def join(
        self, connect: Callable[[], socket.socket], count: int, path: bytes = b"/echo"
    ) -> list[Talker]:
        """Open *count* sessions, some at a time, and let them talk."""
        new: list[Talker] = []
        while len(new) < count:
            wires = [Wire(connect()) for _ in range(min(AT_ONCE, count - len(new)))]
            for wire in wires:
                wire.send(handshake(path))
            new += [self._talker(wire) for wire in wires]
        return new

    def _talker(self, wire: Wire) -> Talker:
        head = wire.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        wire.sock.settimeout(0)
        talker = Talker(wire.sock, len(self.talkers))
        self.talkers.append(talker)
        self._added.append(talker)
        return talker

    def hears(self, talkers: Iterable[Talker], messages: int = 1) -> None:
        """Wait until each of *talkers* that lives has heard so many messages more."""
        goals = [(each, each.heard + messages) for each in talkers]
        wait_until(
            lambda: all(each.is_over or each.heard >= goal for each, goal in goals),
            "an echo for everybody",
        )

    def _run(self) -> None:
        turn = 0
        while not self._stopped.is_set():
            self._take_in()
            for key, _ in self._selector.select(0.005):
                talker: Talker = key.data
                talker.listen()
                if talker.is_over:
                    self._selector.unregister(talker.sock)
                    talker.sock.close()
            # A part of them at a time: at any moment many are in the middle of a message.
            turn = (turn + 1) % _BITS
            for talker in self.talkers[turn::_BITS]:
                if not talker.is_over:
                    talker.speak()
            self._stopped.wait(0.02)

    def _take_in(self) -> None:
        while self._added:
            talker = self._added.pop()
            self._selector.register(talker.sock, selectors.EVENT_READ, talker)
            with contextlib.suppress(OSError):
                talker.listen()
