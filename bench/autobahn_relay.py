"""
A relay of whole messages with Autobahn alone, as one would write it first: the reference.

Run it with: ``python autobahn_relay.py PORT TLS_PORT UPSTREAM_PORT PEM_FILE``.
"""

from __future__ import annotations

import sys
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from OpenSSL import SSL
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from typing_extensions import override

reactor: Any = installed_reactor


class UpstreamLeg(WebSocketClientProtocol):
    """Give the client's leg what the upstream sends."""

    factory: Any

    @override
    def onOpen(self) -> None:
        self.factory.opened.callback(self)

    @override
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.client.sendMessage(payload, isBinary)

    @override
    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.client.sendClose(1000)


class ClientLeg(WebSocketServerProtocol):
    """Open the upstream's leg before the client is answered, and give it what the client sends."""

    factory: Any
    upstream: Any = None

    @override
    def onConnect(self, request: Any) -> Any:
        factory: Any = WebSocketClientFactory(self.factory.upstream + self.http_request_uri)
        factory.protocol = UpstreamLeg
        factory.client = self
        factory.opened = Deferred()
        reactor.connectTCP("127.0.0.1", factory.port, factory)
        return factory.opened.addCallback(self.upstream_opened)

    def upstream_opened(self, upstream: UpstreamLeg) -> None:
        """Keep the leg; the client is answered now, unless it has left."""
        self.upstream = upstream
        if self.state == self.STATE_CLOSED:
            upstream.sendClose(1000)

    @override
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.upstream.sendMessage(payload, isBinary)

    @override
    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.upstream is not None:
            self.upstream.sendClose(1000)


def main() -> None:
    """Relay until a signal comes."""
    port, tls_port, upstream, certificate = sys.argv[1:]
    factory: Any = WebSocketServerFactory()
    factory.protocol = ClientLeg
    factory.upstream = f"ws://127.0.0.1:{upstream}"
    context = DefaultOpenSSLContextFactory(
        certificate, certificate, sslmethod=SSL.TLS_SERVER_METHOD
    )
    reactor.listenTCP(int(port), factory, backlog=1024, interface="127.0.0.1")
    reactor.listenSSL(int(tls_port), factory, context, backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
