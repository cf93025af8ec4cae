"""The body of a client's request on its way to an upstream."""

from __future__ import annotations

from typing import Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from wsrelay.relay.client import ClientConnection
from wsrelay.relay.upstream import UpstreamConnection
from wsrelay.wire.body import LAST_CHUNK, BadBody, BodyReader, ChunkedBody, encode_chunk

MAX_HELD: Final = 64 * 1024
"""Bytes of a body that wait for an upstream before the client is no longer read."""


class UploadOwner(Protocol):
    """What an `Upload` tells its exchange."""

    def progressed(self) -> None:
        """Learn that a piece of the body is on its way."""

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
    :ivar sent: bytes of the body that came so far.
    """

    _owner: UploadOwner
    _client: ClientConnection
    _reader: BodyReader
    timeout: float | None
    limit: int | None
    sent: int = field(default=0, init=False)
    _held: list[bytes] = field(factory=list, init=False)
    _upstream: UpstreamConnection | None = field(default=None, init=False)
    _produces: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)  # for good or bad
    _timer: IDelayedCall | None = field(default=None, init=False)

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is on its way."""
        return self._reader.done and not self._held

    def begin(self) -> None:
        """Read the body, of which the beginning may be there."""
        if self._reader.done:
            self._ended = True
            return
        self._client.receive = self._receive
        self._wait()
        early = self._client.take_buffer()
        if early:
            self._receive(early)

    def flow_to(self, upstream: UpstreamConnection) -> None:
        """Send what is held, and what comes, to an upstream that takes it from now on."""
        self._upstream = upstream
        held, self._held = self._held, []
        if not self._ended:
            self._produces = True
            upstream.transport.registerProducer(self, True)
            self.resumeProducing()
        if held:
            upstream.transport.write(b"".join(held))

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

    def resumeProducing(self) -> None:  # noqa: N802  called by the upstream's transport
        """Go on."""
        if not self._ended:
            self._client.transport.resumeProducing()
            self._wait()

    def stopProducing(self) -> None:  # noqa: N802  called by the upstream's transport
        """Do nothing: the exchange learns of it, too."""

    def _receive(self, data: bytes) -> None:
        self._wait()
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
            self._held.append(body)
            if sum(map(len, self._held)) > MAX_HELD:
                self.pauseProducing()
        elif body:
            self._upstream.transport.write(body)
            self._owner.progressed()

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

    def _wait(self) -> None:
        if self.timeout is None:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(self.timeout)
        else:
            reactor = self._client.relay.reactor
            self._timer = reactor.callLater(self.timeout, self._too_slow)

    def _too_slow(self) -> None:
        reason = f"The request's body stood still for {self.timeout:g} seconds; send it faster."
        self._owner.body_failed(408, reason, "too-slow")

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
