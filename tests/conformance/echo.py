"""
The peers that the suite judges, made with ``websockets``.

``python -m tests.conformance.echo serve`` is an echo server, and says on which port;
``python -m tests.conformance.echo URL AGENT`` goes through the cases of a fuzzing server.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from websockets import ConnectionClosed
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from tests.peers.reporting import report

LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a message; the suite's largest has 16 MiB."""


async def echo(websocket: ServerConnection | ClientConnection) -> None:
    """Send every message back until the connection ends."""
    try:
        async for message in websocket:
            await websocket.send(message)
    except ConnectionClosed:
        pass


async def listen() -> None:
    """Serve until the process is ended."""
    async with serve(echo, "127.0.0.1", 0, max_size=LARGEST, ping_interval=None) as server:
        report("listening", port=server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().create_future()


async def go_through(url: str, agent: str) -> None:
    """Let the fuzzing server at *url* try all of its cases."""
    async with connect(f"{url}/getCaseCount") as websocket:
        count = int(await websocket.recv())
    for case in range(1, count + 1):
        target = f"{url}/runCase?case={case}&agent={agent}"
        async with connect(target, max_size=LARGEST, ping_interval=None) as websocket:
            await echo(websocket)
    async with connect(f"{url}/updateReports?agent={agent}") as websocket:
        await echo(websocket)
    report("done")


if __name__ == "__main__":
    asyncio.run(listen() if sys.argv[1] == "serve" else go_through(*sys.argv[1:]))
