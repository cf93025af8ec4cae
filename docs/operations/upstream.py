"""An upstream that echoes, until SIGTERM: python upstream.py PORT."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def echo(connection: ServerConnection) -> None:
    """Send back whatever comes."""
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def main(port: int) -> None:
    """Listen on loopback; its sessions are told 1001 when it ends."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with serve(echo, "127.0.0.1", port, ping_interval=None):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
