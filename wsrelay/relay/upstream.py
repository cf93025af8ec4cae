"""A connection to an upstream, from the dial to its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IHandshakeListener,
    IProtocolFactory,
    ISSLTransport,
)
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from wsrelay.descriptors import is_shortage
from wsrelay.relay.reasons import in_words
from wsrelay.relay.transports import Connection, write_now
from wsrelay.wire.response import BadResponse, Response, parse_response

MAX_HEAD: Final = 64 * 1024
"""Bytes of an upstream's answer before its body; interim answers count too."""


@frozen
class Problem:
    """
    Why an upstream gave no answer, and what happened.

    502 or 504; 503 where it was not even asked: this process has no descriptor left.
    """

    status: int
    what: str
    is_sent: bool = False
    """Whether it may have seen a byte of the request."""


class AnswerTaker(Protocol):
    """
    What an `UpstreamConnection` tells whoever asks something by it.

    One of the last two, once, unless the connection is abandoned before.
    """

    def upstream_connected(self) -> None:
        """Learn that the head of the request is on its way: its body may follow."""

    def upstream_interim(self, response: Response) -> None:
        """Learn of an interim answer, 100 or 103 say; the final one follows."""

    def upstream_answered(self, response: Response, rest: bytes) -> None:
        """Take the answer, and what came behind its head."""

    def upstream_failed(self, problem: Problem) -> None:
        """Learn that there will be no answer; the connection is gone, or will be."""


Cancel = Callable[[], object]


@implementer(IProtocolFactory, IHandshakeListener)
class UpstreamConnection(Connection):
    """
    Sends the head of a request to one upstream and reads the head of the answer.

    It is its own client factory: one object for a connection instead of three.
    After the answer its owner sets `receive` and `lost`, or asks again by it.

    :param connect_timeout: seconds until TCP is connected, name resolution included.
    :param answer_timeout: seconds from then on, TLS included, until the head is there;
        None: as many as it takes.
    """

    noisy = False

    def __init__(
        self,
        id: str,
        reactor: Any,
        taker: AnswerTaker,
        head: bytes,
        connect_timeout: float,
        answer_timeout: float | None,
    ) -> None:
        self.id = id
        self.receive = self._receive_head
        self.lost = self._lost_early
        self._taker: AnswerTaker | None = taker
        self._head = head
        self._answer_timeout = answer_timeout
        self._reactor = reactor
        self._buffer = b""
        self._seen = 0  # bytes of heads that are behind us
        self.connect_timeout = connect_timeout
        self._dialled_at: float | None = reactor.seconds()
        self._made_at: float = reactor.seconds()
        self._done = False
        self._is_sent = False
        self._cancel: Cancel | None = None
        self._timer: IDelayedCall | None = reactor.callLater(connect_timeout, self._too_slow)

    def ask_again(
        self, id: str, taker: AnswerTaker, head: bytes, answer_timeout: float | None
    ) -> None:
        """Send the head of another request; the connection stands, and the last answer is whole."""
        self.id = id
        self.receive = self._receive_head
        self.lost = self._lost_early
        self._taker = taker
        self._answer_timeout = answer_timeout
        self._seen = 0
        self._dialled_at = None
        self._made_at = self._reactor.seconds()
        self._done = False
        self._is_sent = True
        self.wait_anew()
        write_now(self.transport, head)
        taker.upstream_connected()

    def wait_anew(self) -> None:
        """Begin the time for the answer anew, once the head is on its way."""
        if self._is_sent and not self._done:
            self._stop_timer()
            self._wait()

    def stop_waiting(self) -> None:
        """Stop the time for the answer: the rest of the request has to come first."""
        if self._is_sent:
            self._stop_timer()

    def _wait(self) -> None:
        if self._answer_timeout is not None:
            self._timer = self._reactor.callLater(self._answer_timeout, self._too_slow)

    def phases(self) -> dict[str, float]:
        """
        Say how long connecting, and the answer from then on, took until now; in seconds.

        A connection that stood already took no time to connect, and says nothing of it.
        """
        phases = {"answer": self._reactor.seconds() - self._made_at}
        if self._dialled_at is not None:
            phases["connect"] = self._made_at - self._dialled_at
        return phases

    def dialled(self, cancel: Cancel) -> None:
        """Take what stops the dialling; called by the `Dialer`."""
        self._cancel = cancel

    def begin_with(self, header: bytes) -> None:
        """Send *header* before everything else; called by the `Dialer`."""
        self._head = header + self._head

    def abandon(self) -> None:
        """Drop the connection, whatever its state; nothing is told any more."""
        self._finish()
        self.let_go()
        if self.is_made:
            self.abort()
        elif self._cancel is not None:
            self._cancel()
        self._cancel = None

    def hang_up(self) -> None:
        """End the connection: the last answer is whole, and nothing else will be asked."""
        if ISSLTransport.providedBy(self.transport):  # it would wait for the other's end
            self.abandon()
            return
        self._finish()
        self.let_go()
        self.transport.loseConnection()

    # what Twisted asks of a client factory

    def doStart(self) -> None:  # noqa: N802  called by Twisted
        """Begin to be used."""

    def doStop(self) -> None:  # noqa: N802  called by Twisted
        """Be used no more."""

    def startedConnecting(self, connector: IConnector) -> None:  # noqa: N802  called by Twisted
        """Learn that the dialling began."""

    def buildProtocol(self, address: object) -> UpstreamConnection:  # noqa: N802  called by Twisted
        """Be the protocol, too."""
        return self

    def clientConnectionFailed(  # noqa: N802  called by Twisted
        self, connector: IConnector, reason: Failure
    ) -> None:
        """Learn that nobody took the connection."""
        self.failed_to_connect(reason)

    def clientConnectionLost(  # noqa: N802  called by Twisted
        self, connector: IConnector, reason: Failure
    ) -> None:
        """Learn what `connectionLost` said already."""

    # the handshake

    @override
    def connectionMade(self) -> None:
        super().connectionMade()
        self._cancel = None
        if self._done:
            self.transport.abortConnection()
            return
        self._made_at = self._reactor.seconds()
        if self._answer_timeout is not None:  # else TLS has what is left for connecting
            self._stop_timer()
            self._wait()
        head, self._head = self._head, b""
        write_now(self.transport, head)
        if not ISSLTransport.providedBy(self.transport):
            self._head_is_sent()

    def handshakeCompleted(self) -> None:  # noqa: N802  called by Twisted
        """Learn that TLS stands, so that the head, which was written before, goes out."""
        self._head_is_sent()

    def _head_is_sent(self) -> None:
        self._is_sent = True
        if self._answer_timeout is None:
            self._stop_timer()
        if self._taker is not None:
            self._taker.upstream_connected()

    def failed_to_connect(self, reason: Failure) -> None:
        """Report that nobody took the connection."""
        self._cancel = None
        status = 503 if is_shortage(reason.value) else 502
        self._fail(status, f"connection failed: {in_words(reason)}")

    def _lost_early(self, reason: Failure) -> None:
        self._fail(502, f"connection lost before the answer: {in_words(reason)}")

    def _too_slow(self) -> None:
        what = "did not answer in time" if self.is_made else "did not accept a connection in time"
        self._fail(504, what)

    def _receive_head(self, data: bytes) -> None:
        self._buffer += data
        while not self._done:
            end = self._buffer.find(b"\r\n\r\n") + 4
            if self._seen + max(end, len(self._buffer) if end == 3 else 0) > MAX_HEAD:
                self._fail(502, f"answered with a head of over {MAX_HEAD} bytes")
            elif end == 3:
                return
            else:
                head, self._buffer = self._buffer[:end], self._buffer[end:]
                self._seen += end
                self._take_head(head)

    def _take_head(self, head: bytes) -> None:
        try:
            response = parse_response(head)
        except BadResponse as error:
            self._fail(502, error.reason)
            return
        if response.status < 200 and response.status != 101:  # RFC 9110 section 15.2
            if self._taker is not None:
                self._taker.upstream_interim(response)
            return
        self._finish()
        rest, self._buffer = self._buffer, b""
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.upstream_answered(response, rest)

    def _fail(self, status: int, what: str) -> None:
        if not self._done:
            taker, self._taker = self._taker, None
            self.abandon()
            if taker is not None:
                taker.upstream_failed(Problem(status, what, self._is_sent))

    def _finish(self) -> None:
        # A session may last for days: nothing of the handshake stays with its connection.
        self._done = True
        self._head = b""
        self._stop_timer()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
