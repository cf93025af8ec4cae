"""A client's connection: each request is read strictly here, before anybody else sees a byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from OpenSSL.SSL import Error as TLSError
from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from wsrelay.http.dates import http_date
from wsrelay.relay.answer import CLIENT_PATIENCE
from wsrelay.relay.doors import FULL, Place
from wsrelay.relay.ends import ProxiedAddress, end_of
from wsrelay.relay.facts import Facts, new_id
from wsrelay.relay.search import RETRY_AFTER
from wsrelay.relay.transports import Connection, discard, end_gently, nobody, unsent
from wsrelay.wire.forward import own_answer
from wsrelay.wire.preface import end_of_head, is_tls
from wsrelay.wire.request import CLOSE, BadRequest, Request, parse_request

if TYPE_CHECKING:
    from wsrelay.relay.listener import Listener
    from wsrelay.relay.relay import Relay

LINGER: Final = 5.0
"""Seconds that a refused client may take to read its answer and end the connection."""

MAX_EARLY: Final = 64 * 1024
"""Bytes that a client may send behind its request before it is no longer read."""

MAX_UNSENT: Final = 64 * 1024
"""Bytes of answers that may wait for a client when its next request is begun."""

LOOK_AGAIN: Final = 0.1
"""Seconds between two looks whether a client has taken enough of its answers."""

KEEP_ALIVE: Final = 75.0
"""Seconds that a connection may wait for its next request; as long as nginx's."""


@implementer(IHalfCloseableProtocol)
class ClientConnection(Connection):
    """
    One client, from its first byte until a session takes over or the connection ends.

    Requests come one after the other: the next one is read when the last is answered.
    *left* is called when the client goes before that.

    :ivar id: of the request; each has its own.
    :ivar option: what the answer's Connection says: ``close``, or empty (``keep-alive`` for
        HTTP/1.0) where another request may follow.
    """

    left: Callable[[], None]
    option: bytes = CLOSE
    is_head: bool = False  # the request's method
    is_idle: bool = False  # it waits for the first byte of another request

    def __init__(self, relay: Relay, listener: Listener, address: IAddress | None) -> None:
        self.id = new_id()
        self.relay = relay
        self.listener = listener
        self.address = address  # the other end's
        self.receive = self._receive_head
        self.lost = self._lost_early
        self.left = nobody
        self.leave = nobody  # lets go of what the guards count it by
        self.facts: Facts | None = None  # once the request is read
        self.started_at = relay.reactor.seconds()
        self.is_answered = False  # with a refusal; what is left is to be polite
        self._buffer = b""
        self._timer: IDelayedCall | None = None
        self._place: Place | None = None  # from when it is made until it is lost

    @property
    def peer(self) -> tuple[str | None, int]:
        """The address and port of the connection's other end; None and 0 on a unix socket."""
        return end_of(self.address) or (None, 0)

    @property
    def is_secure(self) -> bool:
        """Whether the client speaks TLS: here, or to the proxy that a PROXY header came from."""
        told = isinstance(self.address, ProxiedAddress) and self.address.is_secure
        return told or self.listener.is_secure

    @property
    def local(self) -> tuple[str, int] | None:
        """The address and port that the client connected to, or None on a unix socket."""
        if isinstance(self.address, ProxiedAddress):
            return self.address.destination
        return end_of(self.transport.getHost())

    @override
    def connectionMade(self) -> None:
        super().connectionMade()
        self.relay.connections.add(self)
        self._place = self.relay.doors.enter(self.listener)
        if self._place is not Place.INSIDE:
            self._turn_away(self._place)
            return
        timeout = self.listener.config.handshake_timeout
        self._timer = self.relay.reactor.callLater(timeout, self._too_slow)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.relay.connections.discard(self)
        place, self._place = self._place, None
        if place is not None:
            self.relay.doors.leave(self.listener, place)
        self.relay.exchanges.left(self)
        self._stop_timer()
        super().connectionLost(reason)

    def give_back(self) -> None:
        """Count no more by the route's guards; any number of times."""
        leave, self.leave = self.leave, nobody
        leave()

    def take_early(self) -> bytes:
        """Return what the client sent behind its request, once; a session takes over."""
        self.left = nobody
        return self.take_buffer()

    def take_buffer(self) -> bytes:
        """Return what was read and not used yet, once."""
        data, self._buffer = self._buffer, b""
        return data

    def body_ended(self, rest: bytes) -> None:
        """Read no more of a request; *rest* came behind its body."""
        self._buffer = rest
        self.receive = self._receive_early
        self._read_on()

    @property
    def keeps(self) -> bool:
        """Whether another request may follow the answer to this one."""
        return self.option != CLOSE

    def answer(
        self, status: int, reason: str | bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with the relay's own words, or a policy's."""
        if self.relay.is_draining:
            self.option = CLOSE
        headers = ((b"Date", http_date(time.time())), *headers)  # RFC 9110 section 6.6.1
        self.transport.write(own_answer(status, reason, headers, self.option, to_head=self.is_head))
        self.answered()

    def answered(self, linger: float = LINGER) -> None:
        """
        Go on to the next request, or end: the answer is written.

        :param linger: see `end`.
        """
        if self.keeps:
            self.next_request()
        else:
            self.end(linger)

    def next_request(self) -> None:
        """Wait for another request: the answer to the last one is written."""
        if self.relay.is_draining:
            self.end(CLIENT_PATIENCE)
            return
        self.left = nobody
        self.give_back()
        self.facts = None
        self.option = CLOSE
        self.is_head = False
        self.is_idle = True
        self.id = new_id()
        self.receive = self._receive_next
        self._read_on()
        self._stop_timer()
        # Not at once: a crowd of requests in one read would be a tower of calls.
        if self._has_more:
            self._timer = self.relay.reactor.callLater(0.0, self._read_next)
        else:
            self._timer = self.relay.reactor.callLater(KEEP_ALIVE, self.end)

    def hang_up(self) -> None:
        """End the connection if it waits for a request; else the answer will be the last."""
        if self.is_idle and not (self._has_more and self._may_go_on):
            self.end(CLIENT_PATIENCE)  # the last answer may not have reached it yet

    def end(self, linger: float = LINGER) -> None:
        """
        End the connection once the answer is written.

        Nothing the client still sends is read as a request: it was told ``close``.

        :param linger: seconds until the connection is aborted.
        """
        self._stop_timer()
        self.is_answered = True
        self.is_idle = False
        self.receive = discard
        self.left = nobody
        self.give_back()
        self._timer = self.relay.reactor.callLater(linger, self.abort)
        if not self.has_all:
            self.relay.exchanges.leaves(self)  # a relay that stops waits for it
        end_gently(self.transport)

    @property
    def has_all(self) -> bool:
        """Whether its socket has taken all that was written."""
        return not unsent(self.transport)

    def readConnectionLost(self) -> None:  # noqa: N802  called by Twisted
        """
        Close, once the last answer is written: the client sends no more.

        Who ends its half while an answer is awaited has left, as far as anybody can tell.
        """
        if self.is_answered or self.is_idle:
            self.transport.loseConnection()
        else:
            self.transport.connectionLost(connectionDone)

    def writeConnectionLost(self) -> None:  # noqa: N802  called by Twisted
        """Wait for the client to end its half, too: it was sent everything."""
        self.relay.exchanges.left(self)

    def break_off(self) -> None:
        """End now, with what is not sent yet; the relay is in a hurry."""
        self.abort()

    @property
    def _has_more(self) -> bool:
        """Whether another request has begun; some clients send an empty line behind a body."""
        return self._buffer not in (b"", b"\r", b"\r\n")

    @property
    def _may_go_on(self) -> bool:
        """Whether the client has taken enough of its answers to ask for more."""
        return unsent(self.transport) <= MAX_UNSENT

    def _receive_next(self, data: bytes) -> None:
        self._buffer += data
        if self._has_more:
            self._read_next()

    def _read_on(self) -> None:
        """Read the client, unless more than enough of what it sent waits here."""
        if len(self._buffer) > MAX_EARLY:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _read_next(self, patience: float = CLIENT_PATIENCE) -> None:
        """
        Begin to read another request, of which there is a byte.

        :param patience: seconds that the client may go on to take nothing of its answers.
        """
        self._stop_timer()
        if not self._may_go_on:
            self._wait_until_taken(patience)
            return
        self.is_idle = False
        self.receive = self._receive_head
        self.started_at = self.relay.reactor.seconds()
        timeout = self.listener.config.handshake_timeout
        self._timer = self.relay.reactor.callLater(timeout, self._too_slow)
        self._receive_head(b"")

    def _wait_until_taken(self, patience: float) -> None:
        """Do nothing for a client that asks and asks, and does not read the answers."""
        if patience <= 0:
            self.abort()
            return
        self.receive = self._receive_early
        left = patience - LOOK_AGAIN
        self._timer = self.relay.reactor.callLater(LOOK_AGAIN, self._read_next, left)

    def _receive_head(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data
        if is_tls(data):
            self.relay.refused_early(self, 400, "This is TLS; this listener speaks plain HTTP.")
            self.end()
            return
        try:
            end = end_of_head(data, self.listener.config.max_header_size)
            if end:
                self._stop_timer()
                self.receive = self._receive_early
                self._buffer = data[end:]
                self._take(parse_request(data[:end]))
            else:
                self.transport.resumeProducing()  # it may have been ahead, but not enough
        except BadRequest as problem:
            self._stop_timer()
            self.option = CLOSE
            self._refuse(problem)

    def _take(self, request: Request) -> None:
        self.is_head = request.method == "HEAD"
        self.relay.handle(self, request)

    def _receive_early(self, data: bytes) -> None:
        self._buffer += data
        self._read_on()

    def _turn_away(self, place: Place) -> None:
        """
        Answer at once that there is no room: who floods is not waited for.

        With TLS the answer goes out when the handshake is complete.
        """
        self.relay.refused_early(self, 503, FULL, "full")
        if place is Place.REFUSED:
            self.answer(503, FULL, RETRY_AFTER)
        else:
            self.is_answered = True
            self.abort()

    def _too_slow(self) -> None:
        seconds = self.listener.config.handshake_timeout
        if self.listener.is_secure and not self._buffer:
            # Perhaps TLS itself is not there yet: nobody would get the answer.
            self.relay.refused_early(self, 408, "Nothing came; TLS may not be complete.")
            self.abort()
            return
        reason = f"The request was not complete after {seconds:g} seconds; send it faster."
        self._refuse(BadRequest(408, reason))

    def _refuse(self, problem: BadRequest) -> None:
        self.relay.refused_early(self, problem.status, problem.reason)
        self.answer(problem.status, problem.reason, problem.headers)

    def _lost_early(self, reason: Failure) -> None:
        is_early = self.facts is None and not self.is_idle and not self.is_answered
        if is_early and reason.check(TLSError):
            self.relay.refused_early(self, 400, f"TLS failed: {_tls_words(reason.value)}.")
        left, self.left = self.left, nobody
        left()
        self.give_back()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _tls_words(error: Any) -> str:
    """Say what OpenSSL says, without its codes."""
    parts = error.args[0] if error.args else ()
    return ", ".join(part[-1] for part in parts if part) or "no reason given"
