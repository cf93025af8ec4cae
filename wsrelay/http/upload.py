"""The body of a client's request on its way to an upstream."""

from __future__ import annotations

from typing import Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from wsrelay.relay.client import ClientConnection
from wsrelay.relay.transports import hear_out, write_now
from wsrelay.relay.upstream import UpstreamConnection
from wsrelay.wire.body import LAST_CHUNK, BadBody, BodyReader, ChunkedBody, encode_chunk

MAX_HELD: Final = 64 * 1024
"""Bytes of a body that wait for an upstream before the client is no longer read."""


class UploadOwner(Protocol):
    """What an `Upload` tells its exchange."""

    def client_is_awaited(self) -> None:
        """Learn that it is for the client to go on."""

    def upstream_is_awaited(self) -> None:
        """Learn that it is for the upstream: it takes no more of the body for now."""

    def body_ended(self) -> None:
        """Learn that the request is whole."""

    def body_failed(self, status: int, reason: str, refusal: str) -> None:
        """Learn that the rest of the body will not come, or is not wanted."""


@implementer(IPushProducer)
@define(eq=False)
class Upload:
    """
    Streams one request's body, as fast as the slower of client and upstream.

    Until an upstream is connected up to `MAX_HELD` bytes wait here.

    :param timeout: seconds that the client may let pass without a byte of the body.
    :param limit: most bytes of the body.
    :param waits: the client sends nothing before it is told to: it expects a 100.
    :ivar sent: bytes of the body that came so far.
    """

    _owner: UploadOwner
    _client: ClientConnection
    _reader: BodyReader
    timeout: float | None
    limit: int | None
    _waits: bool = False
    sent: int = field(default=0, init=False)
    _held: bytearray = field(factory=bytearray, init=False)
    _upstream: UpstreamConnection | None = field(default=None, init=False)
    _produces: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)  # for good or bad
    _timer: IDelayedCall | None = field(default=None, init=False)

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is on its way."""
        return self._reader.done and not self._held

    @property
    def awaits_client(self) -> bool:
        """Whether it is for the client to go on, and its time runs."""
        return self._timer is not None and self._timer.active()

    def begin(self) -> None:
        """Read the body, of which the beginning may be there."""
        if self._reader.done:
            self._ended = True
            return
        self._client.receive = self._receive
        early = self._client.take_buffer()
        self._client.transport.resumeProducing()  # it may have been ahead
        if early:
            self._receive(early)
        if not self._ended and len(self._held) <= MAX_HELD:
            self._await_client()

    def take_held(self) -> bytes:
        """Return what waits for an upstream, once."""
        held, self._held = bytes(self._held), bytearray()
        return held

    def flow_to(self, upstream: UpstreamConnection) -> None:
        """Send what is held, and what comes, to an upstream that takes it from now on."""
        self._upstream = upstream
        held = self.take_held()
        if self.sent or not self._ended:
            hear_out(upstream.transport)
        if not self._ended:
            self._produces = True
            self.resumeProducing()
            # Last: with TLS it may say at once that nothing more is taken for now.
            upstream.transport.registerProducer(self, True)
        if held:
            write_now(upstream.transport, held)

    def continued(self) -> None:
        """Learn that the client was told to send its body."""
        if self._waits:
            self._waits = False
            self._await_client()

    def end(self) -> None:
        """Read no more, whatever is still to come; whoever ends the client's reading does."""
        self._ended = True
        self._held.clear()
        self._stop()

    def stop_waiting(self) -> None:
        """Let the client take its time: the answer is under way."""
        self.timeout = None
        self._stop_timer()

    def pauseProducing(self) -> None:  # noqa: N802  called by the upstream's transport
        """Wait: the upstream takes no more for now."""
        self._stop_timer()
        self._client.transport.pauseProducing()
        self._owner.upstream_is_awaited()

    def resumeProducing(self) -> None:  # noqa: N802  called by the upstream's transport
        """Go on."""
        if not self._ended:
            self._client.transport.resumeProducing()
            self._await_client()

    def stopProducing(self) -> None:  # noqa: N802  called by the upstream's transport
        """Do nothing: the exchange learns of it, too."""

    def _receive(self, data: bytes) -> None:
        if self._waits:
            self.continued()  # it does not wait after all
        elif self._timer is not None and self.awaits_client and self.timeout is not None:
            self._timer.reset(self.timeout)
        try:
            body = self._reader.feed(data)
        except BadBody as error:
            self._owner.body_failed(400, error.reason, "malformed")
            return
        self.sent += len(body)
        if self.limit is not None and self.sent > self.limit:
            reason = f"The request's body is over {self.limit} bytes; send less."
            self._owner.body_failed(413, reason, "body-too-large")
            return
        if isinstance(self._reader, ChunkedBody):
            body = encode_chunk(body) + (LAST_CHUNK if self._reader.done else b"")
        self._pass_on(body)
        if self._reader.done and not self._ended:
            self._finish()

    def _pass_on(self, body: bytes) -> None:
        if self._upstream is None:
            self._held += body
            if len(self._held) > MAX_HELD:
                self.pauseProducing()
        elif body:
            write_now(self._upstream.transport, body)

    def _finish(self) -> None:
        self._ended = True
        self._stop()
        self._client.body_ended(self._reader.rest)
        self._owner.body_ended()

    def _stop(self) -> None:
        self._stop_timer()
        if self._produces and self._upstream is not None:
            self._produces = False
            self._upstream.transport.unregisterProducer()

    def _await_client(self) -> None:
        """Begin the client's time anew."""
        if self.timeout is None or self._waits:
            return
        self._stop_timer()
        self._timer = self._client.relay.reactor.callLater(self.timeout, self._too_slow)
        self._owner.client_is_awaited()

    def _too_slow(self) -> None:
        reason = f"The request's body stood still for {self.timeout:g} seconds; send it faster."
        self._owner.body_failed(408, reason, "too-slow")

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
