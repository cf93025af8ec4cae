"""Passing on an upstream's refusal, its body included, as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.relay.transports import nobody
from wsrelay.wire.body import LAST_CHUNK, BodyReader, ChunkedBody, encode_chunk
from wsrelay.wire.forward import refusal_head
from wsrelay.wire.response import BadResponse, Response

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.upstream import UpstreamConnection


CLIENT_PATIENCE: Final = 60.0
"""Seconds that a client may take for what the relay holds of the body, 128 KiB at most."""


@implementer(IPushProducer)
@define(eq=False)
class Refusal:
    """
    Streams one body from an upstream to a client, as fast as the slower of the two.

    The client learns of a body that broke off in the only way HTTP/1.1 has: its
    connection is reset instead of ended.

    :param patience: seconds that the upstream may let pass without a byte of the body.
    """

    reactor: Any
    patience: float
    _upstream: UpstreamConnection = field(init=False)
    _client: ClientConnection = field(init=False)
    _reader: BodyReader = field(init=False)
    _over: Callable[[], None] = field(init=False)
    _timer: IDelayedCall = field(init=False)

    def pass_on(
        self,
        upstream: UpstreamConnection,
        client: ClientConnection,
        response: Response,
        reader: BodyReader,
        rest: bytes,
        over: Callable[[], None],
    ) -> None:
        """
        Write the head to the client, and let the body follow.

        :param rest: what came behind the head.
        :param over: called when the upstream's connection is no longer needed.
        """
        self._upstream, self._client, self._reader, self._over = upstream, client, reader, over
        self._timer = self.reactor.callLater(self.patience, self._broke_off)
        upstream.receive = self._receive
        upstream.lost = self._lost
        client.left = self._client_left
        client.transport.write(refusal_head(response, reader))
        client.transport.registerProducer(self, True)
        self._receive(rest)

    def pauseProducing(self) -> None:  # noqa: N802  called by the client's transport
        """Wait: the client takes no more for now."""
        self._upstream.transport.pauseProducing()
        self._timer.reset(CLIENT_PATIENCE)

    def resumeProducing(self) -> None:  # noqa: N802  called by the client's transport
        """Go on: the client has taken what was written."""
        self._upstream.transport.resumeProducing()
        self._timer.reset(self.patience)

    def stopProducing(self) -> None:  # noqa: N802  called by the client's transport
        """Do nothing: `_client_left` is called, too."""

    def _receive(self, data: bytes) -> None:
        self._timer.reset(self.patience)
        try:
            body = self._reader.feed(data)
        except BadResponse:
            self._broke_off()
            return
        if isinstance(self._reader, ChunkedBody):
            body = encode_chunk(body) + (LAST_CHUNK if self._reader.done else b"")
        if body:
            self._client.transport.write(body)
        if self._reader.done:
            self._end()

    def _lost(self, reason: Failure) -> None:
        # A clean end, or with TLS a clean close_notify; anything else cut the body off.
        if self._reader.eof() and reason.check(ConnectionDone):
            self._end()
        else:
            self._broke_off()

    def _end(self) -> None:
        self._finish()
        self._client.end(CLIENT_PATIENCE)

    def _broke_off(self) -> None:
        self._finish()
        self._client.abort()

    def _client_left(self) -> None:
        self._finish()

    def _finish(self) -> None:
        # First: what follows may tell us of an end that we are causing.
        self._upstream.let_go()
        self._client.left = nobody
        if self._timer.active():
            self._timer.cancel()
        self._client.transport.unregisterProducer()
        self._over()
