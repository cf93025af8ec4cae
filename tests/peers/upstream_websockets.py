"""The upstream made with ``websockets`` (behaviour: see the package)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from typing_extensions import override
from websockets.asyncio.server import ServerConnection, serve, unix_serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.peers.reporting import (
    ANSWER_HEADERS,
    MESSAGES,
    REFUSAL_BODY,
    REFUSAL_HEADERS,
    SUBPROTOCOL,
    Counter,
    report,
)


class Connection(ServerConnection):
    """A connection that reports the pings it gets."""

    @override
    def process_event(self, event: Any) -> None:
        """Report a ping, then go on as usual."""
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            payload = bytes(event.data).decode("latin-1")
            report("ping", path=path_of(self), payload=payload)
        super().process_event(event)


def path_of(connection: ServerConnection) -> str:
    """Return the request's path and query."""
    return connection.request.path if connection.request else ""


def choose(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose our subprotocol if the client offers it."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    """Refuse the handshake where the path says so."""
    if not request.path.startswith("/refuse/"):
        return None
    body = REFUSAL_BODY.encode()
    headers = Headers([*REFUSAL_HEADERS, ("Content-Length", str(len(body)))])
    headers["Connection"] = "close"
    return Response(HTTPStatus.FORBIDDEN, "Forbidden", headers, body)


def decorate(connection: ServerConnection, request: Request, response: Response) -> None:
    """Put our headers on the answer."""
    for name, value in ANSWER_HEADERS:
        response.headers[name] = value


async def serve_client(connection: ServerConnection) -> None:
    """Report the session's begin and end; between them do what the path says."""
    assert connection.request is not None
    assert connection.response is not None
    report(
        "open",
        path=path_of(connection),
        headers=list(connection.request.headers.raw_items()),
        subprotocol=connection.subprotocol,
        extensions=connection.response.headers.get("Sec-WebSocket-Extensions", ""),
    )
    with contextlib.suppress(ConnectionClosed):
        await BEHAVIOURS[path_of(connection).partition("?")[0]](connection)
    await connection.wait_closed()
    report(
        "close",
        path=path_of(connection),
        code=connection.close_code,
        reason=connection.close_reason,
    )


async def echo(connection: ServerConnection) -> None:
    """Send each message back, fragment by fragment."""
    while True:
        fragments = [fragment async for fragment in connection.recv_streaming()]
        await connection.send(fragments if len(fragments) > 1 else fragments[0])


async def fragment(connection: ServerConnection) -> None:
    """Send each message back in pieces of one."""
    async for message in connection:
        await connection.send([message[i : i + 1] for i in range(len(message))])


async def say_bye(connection: ServerConnection) -> None:
    """Close at the first message."""
    await connection.recv()
    await connection.close(4001, "bye")


async def ping(connection: ServerConnection) -> None:
    """Ping with each message."""
    async for message in connection:
        await (await connection.ping(message))
        await connection.send(f"pong {message!s}")


async def talk(connection: ServerConnection) -> None:
    """Send and receive at the same time."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send_all(connection))
        tasks.create_task(count(connection))


async def send_all(connection: ServerConnection) -> None:
    """Send ``down 0``, ``down 1`` …."""
    for number in range(MESSAGES):
        await connection.send(f"down {number}")


async def count(connection: ServerConnection) -> None:
    """Count what comes until ``end``."""
    counter = Counter()
    async for message in connection:
        if answer := counter.answer(str(message)):
            await connection.send(answer)


BEHAVIOURS = {
    "/echo": echo,
    "/fragments": fragment,
    "/bye": say_bye,
    "/ping": ping,
    "/talk": talk,
}


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--unix")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    context = None
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.key)
    options: dict[str, Any] = {
        "ssl": context,
        "create_connection": Connection,
        "max_size": None,
        "ping_interval": None,
        "select_subprotocol": choose,
        "process_request": refuse,
        "process_response": decorate,
    }
    if arguments.unix:
        server = unix_serve(serve_client, arguments.unix, **options)
    else:
        server = serve(serve_client, "127.0.0.1", arguments.port, **options)
    async with server as running:
        port = None if arguments.unix else next(iter(running.sockets)).getsockname()[1]
        report("listening", port=port)
        await running.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
