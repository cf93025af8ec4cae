"""
The clients of docs/operations.rst: python clients.py PORT.

Orders come on standard input, a line each: ``come PATH NUMBER``, ``flood`` and ``leave``.
What the clients see goes to standard output.  They come back half a second after they were
closed; to the chat one after the other, so that the page's numbers are the same each time.
"""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

AGAIN = 0.5
"""Seconds until somebody who was closed or refused comes back."""

FLOOD = 500
"""Messages of who floods."""


class Crowd:
    """Everybody who wants to be connected."""

    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}"
        self._leaving = False
        self._door = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def obey(self, order: str) -> None:
        """Do what a line says."""
        match order.split():
            case ["come", path, number]:
                for _ in range(int(number)):
                    self._begin(path)
            case ["flood"]:
                self._begin("/chat/room-7", source="127.0.0.2", messages=FLOOD)
            case ["leave"]:
                self._leaving = True

    def _begin(self, path: str, source: str = "127.0.0.1", messages: int = 1) -> None:
        task = asyncio.create_task(self._stay(path, source, messages))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stay(self, path: str, source: str, messages: int) -> None:
        told_why = 0
        while not self._leaving and told_why != 1008:
            try:
                client = await self._enter(path, source, messages)
            except (OSError, InvalidStatus) as error:
                say(path, f"refused: {error}")
            else:
                say(path, "connected")
                await client.wait_closed()
                told_why = client.close_code or 0
                say(path, f"closed with {told_why}: {client.close_reason}")
            await asyncio.sleep(AGAIN)

    async def _enter(self, path: str, source: str, messages: int) -> ClientConnection:
        if path.startswith("/chat"):
            async with self._door:
                return await self._connect(path, source, messages)
        return await self._connect(path, source, messages)

    async def _connect(self, path: str, source: str, messages: int) -> ClientConnection:
        client = await connect(
            self._url + path,
            local_addr=(source, 0),
            user_agent_header="app/4.2",
            compression=None,
            open_timeout=None,
            ping_interval=None,
            proxy=None,
        )
        for _ in range(messages):
            await client.send("hello")
            await client.recv()
        return client


def say(path: str, text: str) -> None:
    """Print a line for the log of what clients see."""
    print(path, text, flush=True)


async def main(port: int) -> None:
    """Obey until standard input ends."""
    crowd = Crowd(port)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await crowd.obey(line)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
