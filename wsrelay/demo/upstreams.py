"""
The demo's upstreams: Autobahn servers that echo on ``/echo`` and chat on ``/chat``.

Whatever the path, the answer to the handshake says who it is from in an
``X-Upstream`` header.  A browser cannot read that header, so a client may also
offer the names of the upstreams as subprotocols: the one it reached picks its own.
"""

from __future__ import annotations

import json
import time
from typing import Any, Protocol

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import IPushProducer, IReactorTime
from typing_extensions import override
from zope.interface import implementer

from wsrelay.demo.room import Room

__all__ = ["ECHO_LIMIT", "MISSED_LIMIT", "NAMES", "UpstreamFactory", "UpstreamProtocol"]

NAMES = ("amber", "cobalt", "jade")
"""The upstreams; the page paints each in the colour it is named after."""

ECHO_LIMIT = 16 * 1024 * 1024
"""The largest message that is echoed, in bytes; beyond, 1009."""

MISSED_LIMIT = 500
"""How many chat messages somebody who does not read may miss before being cut off."""


class _Conversation(Protocol):
    """What is spoken on one path."""

    def opened(self) -> None: ...
    def received(self, payload: bytes, is_binary: bool) -> None: ...
    def drained(self) -> None: ...
    def closed(self) -> None: ...


class _Echo:
    """``/echo``: every message comes back as it was, and nothing else."""

    def __init__(self, protocol: UpstreamProtocol) -> None:
        self._protocol = protocol

    def opened(self) -> None:
        self._protocol.factory.room.announce_sessions()

    def received(self, payload: bytes, is_binary: bool) -> None:
        self._protocol.sendMessage(payload, is_binary)

    def drained(self) -> None:
        """Nothing was held back: what is not read is not echoed."""

    def closed(self) -> None:
        self._protocol.factory.room.announce_sessions()


class _Chat:
    """``/chat``: a member of the room."""

    def __init__(self, protocol: UpstreamProtocol) -> None:
        self._protocol = protocol
        self._room = protocol.factory.room
        self._missed = 0
        self.upstream = protocol.factory.name

    def opened(self) -> None:
        name: str = self._protocol.http_request_params.get("name", [""])[0]
        self._room.join(self, name, time.time())

    def received(self, payload: bytes, is_binary: bool) -> None:
        if is_binary:
            self._tell({"type": "error", "message": "The chat speaks text, not binary messages."})
        else:
            self._room.receive(self, payload, time.time())

    def drained(self) -> None:
        """Own up to what was skipped while nobody was reading."""
        if self._missed:
            missed, self._missed = self._missed, 0
            self._tell({"type": "missed", "count": missed})

    def closed(self) -> None:
        self._room.leave(self, time.time())

    def deliver(self, payload: bytes) -> None:
        """Send *payload*, unless the connection is backed up or going away."""
        if self._protocol.state != self._protocol.STATE_OPEN:
            return
        if not self._protocol.backed_up:
            self._protocol.sendMessage(payload)
            return
        self._missed += 1
        if self._missed > MISSED_LIMIT:
            self._protocol.wasNotCleanReason = "it reads too slowly"
            self._protocol.dropConnection(abort=True)

    def _tell(self, message: dict[str, Any]) -> None:
        self.deliver(json.dumps(message).encode())


@implementer(IPushProducer)
class UpstreamProtocol(WebSocketServerProtocol):
    """
    One websocket session of an upstream.

    It is its transport's producer, so that a peer which does not read is not read
    from either, and is not sent chat messages that would pile up in memory.
    """

    factory: UpstreamFactory
    transport: Any
    backed_up = False
    """True while the transport holds more than it wants to."""

    _conversation: _Conversation | None = None

    @override
    def onConnect(self, request: ConnectionRequest) -> tuple[str | None, dict[str, str]]:
        if request.path not in ("/echo", "/chat"):
            raise ConnectionDeny(ConnectionDeny.NOT_FOUND, "Not Found")
        name = self.factory.name
        return (name if name in request.protocols else None), {"X-Upstream": name}

    @override
    def onOpen(self) -> None:
        self.registerProducer(self, True)
        conversation = _Echo(self) if self.http_request_path == "/echo" else _Chat(self)
        self.factory.room.count_session(self.factory.name, 1)
        self._conversation = conversation
        conversation.opened()

    @override
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        # What arrives behind our own close frame can no longer be answered.
        if self._conversation is not None and self.state == self.STATE_OPEN:
            self._conversation.received(payload, isBinary)

    @override
    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        # Handshakes that failed end here too; those never became a conversation.
        if self._conversation is not None:
            conversation, self._conversation = self._conversation, None
            self.factory.room.count_session(self.factory.name, -1)
            conversation.closed()

    @override
    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        # Without a length the refusal would last until the connection ends.
        headers = [("X-Upstream", self.factory.name), ("Content-Length", "0")]
        super().failHandshake(reason, code, [*(responseHeaders or ()), *headers])

    def pauseProducing(self) -> None:  # noqa: N802
        """Stop reading, called by the transport when too much waits to be sent."""
        self.backed_up = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802
        """Go on, called by the transport when everything was sent."""
        self.backed_up = False
        self.transport.resumeProducing()
        if self._conversation is not None:
            self._conversation.drained()

    def stopProducing(self) -> None:  # noqa: N802
        """Do nothing: the connection is over and `onClose` follows."""


class UpstreamFactory(WebSocketServerFactory):
    """
    One upstream.

    :param reactor: for the time of day.
    :param name: one of the room's upstreams.
    :param room: shared by all upstreams of the demo.
    """

    noisy = False
    protocol = UpstreamProtocol  # type: ignore[assignment]

    def __init__(self, reactor: IReactorTime, name: str, room: Room) -> None:
        super().__init__(server=f"wsrelay-demo ({name})", reactor=reactor)
        self.name = name
        self.room = room
        self.setProtocolOptions(
            webStatus=False,
            maxFramePayloadSize=ECHO_LIMIT,
            maxMessagePayloadSize=ECHO_LIMIT,
            failByDrop=False,
            echoCloseCodeReason=True,
            closeHandshakeTimeout=5,
            allowNullOrigin=True,
        )
