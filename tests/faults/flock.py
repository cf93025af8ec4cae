"""
Thousands of clients, or the upstream of them, in one process each; cheap, so that the relay is
what is measured.

``python -m tests.faults.flock upstream --port N`` echoes frames.
``python -m tests.faults.flock clients --port N --count N``: each client says a numbered message,
hears it, and stays; when its session ends it comes again at once, and again a little later when
it was refused.  A line on standard input is answered with what there is; ``leave`` ends all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
from typing import Any

from attrs import define, field

from soak.messages import Expected, WrongMessageError, make
from tests.system.support import BINARY, CLOSE, PING, PONG, frame, handshake, masked, switching

PAUSE = (0.2, 1.0)
"""Seconds before a client that was refused tries again: at least, at most."""


def next_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take a frame from what came, unmasked; None: it is not whole yet."""
    if len(buffer) < 2:
        return None
    start, length = 2, buffer[1] & 0x7F
    if length == 126:
        start, length = 4, int.from_bytes(buffer[2:4], "big")
    is_masked = bool(buffer[1] & 0x80)
    mask = bytes(buffer[start : start + 4]) if is_masked else b"\0\0\0\0"
    start += 4 * is_masked
    if len(buffer) < start + length:
        return None
    data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(buffer[start : start + length]))
    opcode = buffer[0] & 0x0F
    del buffer[: start + length]
    return opcode, data


@define(eq=False)
class Side(asyncio.Protocol):
    """What both ends have in common: a head, then frames."""

    is_open: bool = field(default=False, init=False)
    transport: asyncio.Transport = field(init=False)
    _buffer: bytearray = field(factory=bytearray, init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._buffer = rest
            self.opened(bytes(head))
        while self.is_open and (found := next_frame(self._buffer)) is not None:
            self.received(*found)

    def opened(self, head: bytes) -> None:
        """Take the head of the other side."""

    def received(self, opcode: int, payload: bytes) -> None:
        """Take a frame."""


@define(eq=False)
class Echoing(Side):
    """The upstream's side of a session."""

    def opened(self, head: bytes) -> None:
        key = next(row[19:] for row in head.split(b"\r\n") if row.startswith(b"Sec-WebSocket-Key"))
        self.transport.write(switching(key=key))
        self.is_open = True

    def received(self, opcode: int, payload: bytes) -> None:
        self.transport.write(frame(PONG if opcode == PING else opcode, payload))
        if opcode == CLOSE:
            self.transport.close()


@define(eq=False)
class Client(Side):
    """One session of a client; *over* is set when it has ended."""

    number: int
    flock: Flock
    over: asyncio.Event = field(factory=asyncio.Event, init=False)
    is_served: bool = field(default=False, init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(handshake(b"/victim"))

    def opened(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101 "):
            self.flock.refused += 1
            self.transport.close()
            return
        self.is_open = True
        message = make(self.number, 50)
        assert isinstance(message, bytes)
        self.transport.write(masked(BINARY, message))

    def received(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.transport.write(masked(PONG, payload))
        elif opcode == CLOSE:
            code = str(int.from_bytes(payload[:2], "big"))
            self.flock.closes[code] = self.flock.closes.get(code, 0) + 1
            self.transport.write(masked(CLOSE, payload[:2]))
        else:
            self._heard(payload)

    def _heard(self, payload: bytes) -> None:
        try:
            Expected(self.number).take(payload)
        except WrongMessageError as error:
            self.flock.wrong.append(str(error))
        self.is_served = True
        self.flock.served += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.flock.served -= self.is_served
        self.over.set()


@define(eq=False)
class Flock:
    """
    All clients.

    :ivar served: those that have a session now, and heard their message in it.
    :ivar sessions: that there were; *refused*: handshakes without one.
    """

    port: int
    served: int = 0
    sessions: int = 0
    refused: int = 0
    closes: dict[str, int] = field(factory=dict)
    wrong: list[str] = field(factory=list)
    leaving: bool = False
    clients: set[Client] = field(factory=set)

    async def keep_coming(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        while not self.leaving:
            client = Client(number, self)
            try:
                await loop.create_connection(lambda made=client: made, "127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(random.uniform(*PAUSE))
                continue
            self.clients.add(client)
            await client.over.wait()
            self.clients.remove(client)
            self.sessions += client.is_open
            if not client.is_served:
                await asyncio.sleep(random.uniform(*PAUSE))

    def leave(self) -> None:
        """Let everybody close."""
        self.leaving = True
        for each in self.clients:
            if each.is_open:
                each.transport.write(masked(CLOSE, (1000).to_bytes(2, "big")))
            else:
                each.transport.abort()

    def words(self) -> dict[str, Any]:
        """Say what there is."""
        return {
            "event": "flock",
            "served": self.served,
            "sessions": self.sessions,
            "refused": self.refused,
            "closes": self.closes,
            "wrong": self.wrong[:5],
        }


async def lead(port: int, count: int) -> None:
    """Run the clients, and answer questions."""
    flock = Flock(port)
    tasks = [asyncio.create_task(flock.keep_coming(number)) for number in range(count)]
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"leave":
            flock.leave()
        print(json.dumps(flock.words()), flush=True)
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echoing, "127.0.0.1", port, backlog=4096)
    print(json.dumps({"event": "listening"}), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("upstream", "clients"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=1)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            serve(arguments.port)
            if arguments.part == "upstream"
            else lead(arguments.port, arguments.count)
        )
