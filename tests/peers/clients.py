"""Three real clients behind one face, so that each test can use any of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence

import aiohttp
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol
from yarl import URL

from tests.peers.client import Client, Data, RefusedError
from tests.peers.node import NodeClient


class WebsocketsClient(Client):
    """A client made with ``websockets``."""

    socket: ClientConnection | None = None

    @override
    async def connect(self) -> None:
        try:
            self.socket = await connect(
                self.handshake.url,
                subprotocols=[Subprotocol(name) for name in self.handshake.subprotocols] or None,
                additional_headers=self.handshake.headers,
                compression="deflate" if self.handshake.deflate else None,
                ssl=self.handshake.tls,
                max_size=None,
                ping_interval=None,
                proxy=None,
            )
        except InvalidStatus as refusal:
            answer = refusal.response
            headers = list(answer.headers.raw_items())
            raise RefusedError(
                answer.status_code, headers, bytes(answer.body or b"").decode()
            ) from None
        assert self.socket.response is not None
        self.headers = list(self.socket.response.headers.raw_items())
        self.subprotocol = self.socket.subprotocol
        self.extensions = ",".join(str(each.name) for each in self.socket.protocol.extensions)

    @property
    def open_socket(self) -> ClientConnection:
        """The connection of ``websockets`` itself, for what only it can do."""
        assert self.socket is not None
        return self.socket

    @override
    async def send(self, message: Data) -> None:
        await self.open_socket.send(message)

    async def send_fragments(self, fragments: Sequence[Data]) -> None:
        """Send a message in these *fragments*."""
        await self.open_socket.send(fragments)

    @override
    async def receive(self) -> Data:
        return await self.open_socket.recv()

    async def receive_fragments(self) -> list[Data]:
        """Wait for the next message and return its fragments."""
        return [fragment async for fragment in self.open_socket.recv_streaming()]

    @override
    async def ping(self, payload: bytes) -> None:
        await (await self.open_socket.ping(payload))

    @override
    async def close(self, code: int, reason: str) -> None:
        await self.open_socket.close(code, reason)

    @override
    async def closed(self) -> tuple[int, str]:
        await self.open_socket.wait_closed()
        code = self.open_socket.close_code
        return code or 1006, self.open_socket.close_reason or ""

    @override
    async def vanish(self) -> None:
        self.open_socket.transport.abort()

    @override
    async def abandon(self) -> None:
        if self.socket is not None:
            await self.vanish()
            await self.socket.wait_closed()


class AiohttpClient(Client):
    """A client made with ``aiohttp``."""

    encoding = "utf-8"
    reads_body_until_eof = False

    session: aiohttp.ClientSession
    socket: aiohttp.ClientWebSocketResponse

    @override
    async def connect(self) -> None:
        self._messages: asyncio.Queue[Data] = asyncio.Queue()
        self._pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self._end: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Task[None] | None = None
        self.session = aiohttp.ClientSession(middlewares=[self._look_at_answer])
        self.socket = await self.session.ws_connect(
            URL(self.handshake.url, encoded=True),
            protocols=self.handshake.subprotocols,
            headers=self.handshake.headers,
            compress=15 if self.handshake.deflate else 0,
            autoping=False,
            max_msg_size=0,
            ssl=self.handshake.tls or True,
        )
        self.subprotocol = self.socket.protocol
        self.extensions = "permessage-deflate" if self.socket.compress else ""
        self._reader = asyncio.create_task(self._read())

    async def _look_at_answer(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        answer = await handler(request)
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.raw_headers]
        if answer.status != 101:
            raise RefusedError(answer.status, headers, await answer.text())
        self.headers = headers
        return answer

    async def _read(self) -> None:
        end = (1006, "")
        while True:
            message = await self.socket.receive()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self._messages.put_nowait(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                self._pongs.put_nowait(message.data)
            elif message.type is aiohttp.WSMsgType.PING:
                await self.socket.pong(message.data)
            else:
                if message.type is aiohttp.WSMsgType.CLOSE:
                    end = (message.data, message.extra or "")
                break
        if not self._end.done():
            self._end.set_result(end)

    @override
    async def send(self, message: Data) -> None:
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)

    @override
    async def receive(self) -> Data:
        return await self._messages.get()

    @override
    async def ping(self, payload: bytes) -> None:
        await self.socket.ping(payload)
        assert await self._pongs.get() == payload

    @override
    async def close(self, code: int, reason: str) -> None:
        await self.socket.close(code=code, message=reason.encode())

    @override
    async def closed(self) -> tuple[int, str]:
        return await self._end

    @override
    async def vanish(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # it may be closed already
            self.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    @override
    async def abandon(self) -> None:
        if self._reader is not None:
            await self.vanish()
            await self._reader
            await self.socket.close()
        await self.session.close()


CLIENTS: Mapping[str, type[Client]] = {
    "websockets": WebsocketsClient,
    "aiohttp": AiohttpClient,
    "node": NodeClient,
}
