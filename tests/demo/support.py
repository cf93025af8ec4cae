"""Websocket clients for the tests of the demo."""

import json
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import defer, endpoints, reactor
from typing_extensions import override

from wsrelay.demo.service import Demo


class Client(WebSocketClientProtocol):
    """Keeps what arrives until somebody asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: defer.DeferredQueue[tuple[bytes, bool]] = defer.DeferredQueue()
        self.closed: defer.Deferred[tuple[int, str | None]] = defer.Deferred()

    @override
    def onConnect(self, response: Any) -> None:
        self.response = response

    @override
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.messages.put((payload, isBinary))

    @override
    def onClose(self, wasClean: bool, code: int, reason: str | None) -> None:
        self.closed.callback((code, reason))

    def say(self, **message: Any) -> None:
        self.sendMessage(json.dumps(message).encode())

    async def hear(self, kind: str) -> dict[str, Any]:
        """Skip to the next message of this kind."""
        while True:
            payload, is_binary = await self.messages.get()
            message: dict[str, Any] = json.loads(payload)
            assert not is_binary
            if message["type"] == kind:
                return message

    async def leave(self) -> tuple[int, str | None]:
        self.sendClose(1000)
        return await self.closed


async def connect(
    demo: Demo, upstream: str, path: str, protocols: list[str] | None = None
) -> Client:
    """Connect straight to *upstream*; fires when the handshake is over, either way."""
    url = demo.upstream_urls[upstream]
    factory = WebSocketClientFactory(url + path, protocols=protocols, reactor=reactor)
    factory.protocol = Client
    factory.setProtocolOptions(failByDrop=False)
    port = int(url.rpartition(":")[2])
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    client: Client = await endpoint.connect(factory)
    await defer.DeferredList([client.is_open, client.is_closed], fireOnOneCallback=True)
    return client
