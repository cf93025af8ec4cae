"""The upstream made with ``aiohttp`` (behaviour: see the package)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from tests.peers.reporting import (
    ANSWER_HEADERS,
    MESSAGES,
    REFUSAL_BODY,
    REFUSAL_HEADERS,
    SUBPROTOCOL,
    Counter,
    report,
)

Behaviour = Callable[[web.WebSocketResponse, AsyncIterator[WSMessage]], Awaitable[None]]


async def serve_client(request: web.Request) -> web.StreamResponse:
    """Report the session's begin and end; between them do what the path says."""
    path = request.raw_path
    socket = web.WebSocketResponse(
        protocols=[SUBPROTOCOL], autoping=False, max_msg_size=0, timeout=5
    )
    for name, value in ANSWER_HEADERS:
        socket.headers.add(name, value)
    await socket.prepare(request)
    report(
        "open",
        path=path,
        headers=[[n.decode("latin-1"), v.decode("latin-1")] for n, v in request.raw_headers],
        subprotocol=socket.ws_protocol,
        extensions=socket.headers.get("Sec-WebSocket-Extensions", ""),
    )
    end: dict[str, object] = {"code": WSCloseCode.ABNORMAL_CLOSURE, "reason": ""}
    await BEHAVIOURS[request.path](socket, messages(socket, path, end))
    if socket.close_code is not None and end["code"] == WSCloseCode.ABNORMAL_CLOSURE:
        end["code"] = socket.close_code
    report("close", path=path, **end)
    return socket


async def messages(
    socket: web.WebSocketResponse, path: str, end: dict[str, object]
) -> AsyncIterator[WSMessage]:
    """
    Yield data messages and pongs, answer and report pings.

    :param end: is told the code and reason of the close frame.
    """
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.PING:
            report("ping", path=path, payload=message.data.decode("latin-1"))
            await socket.pong(message.data)
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PONG):
            yield message
        else:
            if message.type is WSMsgType.CLOSE:
                end.update(code=message.data, reason=message.extra)
            return


async def echo(socket: web.WebSocketResponse, received: AsyncIterator[WSMessage]) -> None:
    """Send each message back."""
    async for message in received:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


async def say_bye(socket: web.WebSocketResponse, received: AsyncIterator[WSMessage]) -> None:
    """Close at the first message."""
    async for _ in received:
        await socket.close(code=4001, message=b"bye")


async def ping(socket: web.WebSocketResponse, received: AsyncIterator[WSMessage]) -> None:
    """Ping with each message."""
    async for message in received:
        if message.type is WSMsgType.PONG:
            await socket.send_str("pong " + message.data.decode())
        else:
            await socket.ping(message.data.encode())


async def talk(socket: web.WebSocketResponse, received: AsyncIterator[WSMessage]) -> None:
    """Send and receive at the same time."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send_all(socket))
        tasks.create_task(count(socket, received))


async def send_all(socket: web.WebSocketResponse) -> None:
    """Send ``down 0``, ``down 1`` …."""
    for number in range(MESSAGES):
        await socket.send_str(f"down {number}")


async def count(socket: web.WebSocketResponse, received: AsyncIterator[WSMessage]) -> None:
    """Count what comes until ``end``."""
    counter = Counter()
    async for message in received:
        if answer := counter.answer(message.data):
            await socket.send_str(answer)


BEHAVIOURS: dict[str, Behaviour] = {
    "/echo": echo,
    "/bye": say_bye,
    "/ping": ping,
    "/talk": talk,
}


async def refuse(request: web.Request) -> web.StreamResponse:
    """Refuse the handshake; the body's end is known as the path says."""
    response = web.StreamResponse(status=403, headers=dict(REFUSAL_HEADERS))
    response.content_type = "text/plain"
    response.force_close()
    body = REFUSAL_BODY.encode()
    if request.match_info["how"] == "chunked":
        response.enable_chunked_encoding()
    else:
        response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[:10])
    await response.write(body[10:])
    await response.write_eof()
    return response


async def main() -> None:
    """Serve until the process is ended."""
    application = web.Application()
    application.router.add_get("/refuse/{how}", refuse)
    for path in BEHAVIOURS:
        application.router.add_get(path, serve_client)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    report("listening", port=runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
