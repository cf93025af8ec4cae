"""Passing on an upstream's answer, its body included, as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.relay.transports import nobody, write_now
from wsrelay.wire.body import LAST_CHUNK, BadBody, BodyReader, encode_chunk
from wsrelay.wire.forward import answer_head
from wsrelay.wire.response import Response

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.upstream import UpstreamConnection


CLIENT_PATIENCE: Final = 60.0
"""Seconds that a client may take for what the relay holds of the body, 128 KiB at most."""


@implementer(IPushProducer)
@define(eq=False)
class Answer:
    """
    Streams one answer from an upstream to a client, as fast as the slower of the two.

    The client learns of a body that broke off in the only way HTTP/1.1 has: its
    connection is reset instead of ended.

    :param patience: seconds that the upstream may let pass without a byte of the body;
        None: as many as it likes.
    :param over: called once, with what kept the answer from being whole (empty: it was),
        before the client's connection ends or serves the next request.
    :param in_chunks: the body gets chunked transfer coding; it has no length.
    :param on_body: shown each piece of the body on its way.
    :param before_end: called when the body is whole, before its last piece is written, which
        waits for what this returns; that fires soon, and does not fail.
    :ivar sent: bytes of the body so far.
    """

    reactor: Any
    patience: float | None
    _upstream: UpstreamConnection
    _client: ClientConnection
    _reader: BodyReader
    _over: Callable[[str], object]
    _in_chunks: bool
    _on_body: Callable[[bytes], object] | None = None
    _before_end: Callable[[], Deferred[None] | None] | None = None
    sent: int = field(default=0, init=False)
    _head: bytes = field(default=b"", init=False)  # until the beginning of the body is there
    _is_whole: bool = field(default=False, init=False)  # though its end may wait
    _ended: bool = field(default=False, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def begin(
        self, response: Response, rest: bytes, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """
        Write the head to the client, and let the body follow.

        :param rest: what came behind the head.
        :param more: headers of the relay's own.
        """
        upstream, client = self._upstream, self._client
        upstream.receive = self._receive
        upstream.lost = self._lost
        client.left = self._client_left
        self._head = answer_head(response, client.option, chunked=self._in_chunks, more=more)
        client.transport.registerProducer(self, True)
        self._receive(rest)
        if not self._ended and self._timer is None:
            self._wait(self.patience)

    @property
    def ends_cleanly(self) -> bool:
        """Whether the upstream sent the whole body, and nothing behind it, and goes on."""
        return self._reader.done and not self._reader.rest and not self._upstream.is_lost

    def break_off(self, problem: str = "the answer was broken off") -> None:
        """End now: the relay is in a hurry, or the request was no good."""
        self._broke_off(problem)

    def pauseProducing(self) -> None:  # noqa: N802  called by the client's transport
        """Wait: the client takes no more for now."""
        self._upstream.transport.pauseProducing()
        self._wait(CLIENT_PATIENCE)

    def resumeProducing(self) -> None:  # noqa: N802  called by the client's transport
        """Go on: the client has taken what was written."""
        self._upstream.transport.resumeProducing()
        self._wait(self.patience)

    def stopProducing(self) -> None:  # noqa: N802  called by the client's transport
        """Do nothing: `_client_left` is called, too."""

    def _wait(self, seconds: float | None) -> None:
        if seconds is not None and self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
            return
        self._stop_timer()
        if seconds is not None:
            self._timer = self.reactor.callLater(seconds, self._broke_off)

    def _receive(self, data: bytes) -> None:
        if self._timer is not None and self.patience is not None:
            self._wait(self.patience)
        try:
            body = self._reader.feed(data)
        except BadBody:
            self._broke_off()
            return
        if self._is_whole:
            return
        self.sent += len(body)
        if self._on_body is not None and body:
            self._on_body(body)
        if self._in_chunks:
            body = encode_chunk(body) + (LAST_CHUNK if self._reader.done else b"")
        head, self._head = self._head, b""
        if self._reader.done:
            self._complete(head + body)
        elif head or body:
            write_now(self._client.transport, head + body)

    def _lost(self, reason: Failure) -> None:
        if self._is_whole:
            return
        # A clean end, or with TLS a clean close_notify; anything else cut the body off.
        if not (self._reader.eof() and reason.check(ConnectionDone)):
            self._broke_off()
            return
        self._complete(LAST_CHUNK if self._in_chunks else b"")

    def _complete(self, last: bytes) -> None:
        """Write the last piece, if need be when what was learnt of the answer is told."""
        self._is_whole = True
        waits = None if self._before_end is None else self._before_end()
        if waits is None:
            self._end(last)
        else:
            waits.addCallback(lambda _: self._end(last))

    def _end(self, last: bytes) -> None:
        if last:
            write_now(self._client.transport, last)
        if self._finish(""):
            self._client.answered(CLIENT_PATIENCE)

    def _broke_off(self, problem: str = "the answer broke off") -> None:
        if self._finish(problem):
            self._client.abort()

    def _client_left(self) -> None:
        self._finish("the client left")

    def _finish(self, problem: str) -> bool:
        """Let go of both; return whether it was not done before."""
        if self._ended:
            return False
        self._ended = True
        # First: what follows may tell us of an end that we are causing.
        self._upstream.let_go()
        self._client.left = nobody
        self._stop_timer()
        self._client.transport.unregisterProducer()
        self._over(problem)
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
