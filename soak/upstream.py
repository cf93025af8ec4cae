"""
An upstream, ``python -m soak.upstream``, that checks messages and answers each with one of its own.

A message that is wrong ends the session with 4001 and what is wrong.  ``GET /plain/NUMBER/SIZE``
is answered with that message.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from soak.messages import Expected, WrongMessageError, make

WRONG = 4001
NAME = "X-Upstream"


async def talk(connection: ServerConnection) -> None:
    """Check and answer, until the client goes."""
    expected = Expected()
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            try:
                said = expected.take(message)
            except WrongMessageError as error:
                await connection.close(WRONG, str(error))
                return
            is_text = isinstance(message, str)
            await connection.send(make(said.number, said.answer, is_text=is_text))


def plain(connection: ServerConnection, request: Request) -> Response | None:
    """Answer a plain request; None: it is a handshake."""
    if not request.path.startswith("/plain/"):
        return None
    number, size = map(int, request.path.split("/")[2:4])
    body = make(number, size)
    assert isinstance(body, bytes)
    headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
    return Response(HTTPStatus.OK, "OK", headers, body)


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="upstream")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()

    def introduce(connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers[NAME] = arguments.name

    server = serve(
        talk,
        arguments.host,
        arguments.port,
        backlog=1000,
        max_size=None,
        ping_interval=None,
        close_timeout=5,
        process_request=plain,
        process_response=introduce,
    )
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with server as running:
        port = next(iter(running.sockets)).getsockname()[1]
        print(json.dumps({"event": "listening", "port": port}), flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
