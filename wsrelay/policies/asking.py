"""Asks a URL, over connections that are kept."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from OpenSSL.SSL import Error as TLSError
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseDone,
    _HTTP11ClientFactory,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IPolicyForHTTPS, IResponse
from typing_extensions import override
from zope.interface import implementer

from wsrelay.config.model import PoolConfig
from wsrelay.interfaces import CannotTell
from wsrelay.policies.options import Url
from wsrelay.policies.watched import Watched
from wsrelay.relay.identity import BadCertificate
from wsrelay.relay.reasons import in_words
from wsrelay.relay.tls import upstream_tls

__all__ = ["Answer", "Asker"]

AT_ONCE: Final = 64
"""Questions that are under way at once; others wait, and the time they have runs."""

KEPT: Final = 8
"""Connections that are kept for the next question."""

IDLE: Final = 30
"""Seconds that they are kept."""


@frozen
class Answer:
    """An answer; ``body`` is None if it was too long."""

    status: int
    headers: Headers
    body: bytes | None


class Asker:
    """
    Asks one URL.

    :param ca_file: of the authorities for its certificate, re-read when it changes; None:
        the system's.
    :param timeout: seconds for an answer, the wait for a connection included.
    :param most: bytes of a body that are read.
    :param agent: what asks, in tests.
    :raises ValueError: the file cannot be used; the text says why.
    """

    def __init__(
        self,
        reactor: Any,
        url: Url,
        *,
        ca_file: str | None,
        timeout: float,
        most: int,
        agent: IAgent | None = None,
    ) -> None:
        if ca_file is not None and not url.is_secure:
            raise ValueError("ca_file: without https:// there is no TLS; delete one of them")
        self._reactor = reactor
        self._url = url
        self._timeout = timeout
        self._most = most
        self._turns = DeferredSemaphore(AT_ONCE)
        self._pool = _Pool(reactor)
        self._pool.maxPersistentPerHost = KEPT
        self._pool.cachedConnectionTimeout = IDLE
        trust = _Trust(reactor, url.host, ca_file) if url.is_secure else BrowserLikePolicyForHTTPS()
        self._agent: Any = agent or Agent(reactor, trust, pool=self._pool)

    def ask(self, fields: Iterable[tuple[bytes, bytes]]) -> Deferred[Answer]:
        """
        Send a GET with these header fields.

        The Deferred fails with `CannotTell` when there is no answer; cancelled, it closes
        its connection.
        """
        asked: Deferred[Any] = self._turns.run(self._send, list(fields))
        asked.addTimeout(self._timeout, self._reactor, self._give_up)
        asked.addErrback(self._explain)
        return asked

    def stop(self) -> None:
        """Close the connections that are idle."""
        self._pool.closeCachedConnections()

    def _send(self, fields: list[tuple[bytes, bytes]]) -> Deferred[Answer]:
        headers = Headers()
        for name, value in fields:
            headers.addRawHeader(name, value)
        sent: Deferred[Any] = self._agent.request(b"GET", self._url.text.encode(), headers)
        return sent.addCallback(self._read)

    def _read(self, response: Any) -> Deferred[Answer]:
        done: Deferred[bytes | None] = Deferred(lambda _: _abort(response))
        response.deliverBody(_Body(response, self._most, done))
        return done.addCallback(lambda body: Answer(response.code, response.headers, body))

    def _give_up(self, _result: object, seconds: float) -> Failure:
        return Failure(CannotTell(f"{self._url.name} did not answer in {seconds:g}s"))

    def _explain(self, failure: Failure) -> Failure:
        """Put what kept an answer away into an operator's words."""
        error: Any = failure.value
        reasons = getattr(error, "reasons", None)
        if reasons:  # ResponseNeverReceived and its like, also of what was cancelled
            return self._explain(reasons[0])
        if isinstance(error, CannotTell):
            return failure
        if isinstance(error, CancelledError | ConnectingCancelledError):
            return Failure(CancelledError())
        return Failure(CannotTell(f"{self._url.name} could not be asked: {_words(failure)}"))


class _Quiet(_HTTP11ClientFactory):
    noisy = False  # two lines of log for each connection, which nothing limits


class _Pool(HTTPConnectionPool):
    _factory = _Quiet


class _Body(Protocol):
    """Collects a body until it is too long."""

    def __init__(self, response: IResponse, most: int, done: Deferred[bytes | None]) -> None:
        self._response = response
        self._left = most
        self._pieces: list[bytes] = []
        self._done = done

    @override
    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        elif not self._done.called:
            self._done.callback(None)
            _abort(self._response)

    @override
    def connectionLost(self, reason: Failure = Failure(ResponseDone())) -> None:  # noqa: B008
        if self._done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self._done.callback(b"".join(self._pieces))
        else:
            self._done.errback(reason)


def _abort(response: Any) -> None:
    """Close the connection that a body comes from, however much is still to come."""
    proxy = getattr(response, "_transport", None)
    # What Twisted gives to readers can only be closed politely: over TLS it would read on.
    transport = getattr(proxy, "_producer", None)
    if transport is not None:
        transport.abortConnection()


@implementer(IPolicyForHTTPS)
class _Trust:
    """Opens TLS as the relay does to upstreams, whose checks are stricter than Twisted's."""

    def __init__(self, reactor: Any, host: str, ca_file: str | None) -> None:
        pool = PoolConfig("", tls_ca=None if ca_file is None else Path(ca_file))
        self._reactor = reactor
        self._make = partial(upstream_tls, pool, host)
        self._creator = self._make()
        self._watched = None if ca_file is None else Watched(ca_file, lambda _: self._make())

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:  # noqa: N802
        """Return what opens TLS to the only host that is asked; Twisted calls this."""
        if self._watched is None:
            return self._creator
        return self._watched.value(self._reactor.seconds())


def _words(failure: Failure) -> str:
    """Say why there is no answer, in few words."""
    error = failure.value
    if isinstance(error, BadCertificate):
        return str(error).partition(";")[0]
    if isinstance(error, TLSError) and "certificate verify failed" in str(error):
        return "its certificate is not signed by an authority that is trusted, or not valid now"
    return in_words(failure).replace("the upstream", "it") or type(error).__name__
