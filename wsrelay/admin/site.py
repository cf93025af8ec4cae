"""The admin endpoint over HTTP: requests come in, are let in or not, and are answered."""

# ruff: noqa: N802, N815  (camelCase here is Twisted's: it calls or reads all of it)

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request, datetimeToString
from typing_extensions import override

from wsrelay.admin.access import Access
from wsrelay.admin.api import make_routes
from wsrelay.admin.control import Control, Refused
from wsrelay.admin.door import Door
from wsrelay.admin.live import Live
from wsrelay.admin.login import Logins
from wsrelay.admin.messages import (
    LARGEST_BODY,
    Answer,
    Call,
    HandOver,
    error_answer,
    split_path,
)
from wsrelay.admin.routing import Entry, RouteTable
from wsrelay.log import EveryLine, Logger

__all__ = ["AdminSite", "make_admin_site"]

log = Logger()
_orders = EveryLine()

PATIENCE: Final = 60.0
"""Seconds for a whole request, from the end of the one before; and for its answer to be read."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: a form of ours would then be sent with the Origin "null".
    "Referrer-Policy": "same-origin",
    "Server": "wsrelay",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""With every answer; an answer's own go before."""


def make_admin_site(control: Control, token: str | None, is_local: bool, reactor: Any) -> AdminSite:
    """
    Make the site.

    :param token: what opens it; None: it is open to whoever can connect.
    :param is_local: only this machine can connect.
    :raises ValueError: there is no token though others can connect, too.
    """
    if token is None and not is_local:
        raise ValueError("an admin endpoint that others can reach needs a token")
    return AdminSite(control, None if token is None else Logins(token, reactor.seconds), reactor)


class AdminSite(HTTPFactory):
    """
    Answers requests; see docs/api.rst.

    *door* is what listens: it counts the connections and ends them.
    """

    noisy = False

    def __init__(self, control: Control, logins: Logins | None, reactor: Any) -> None:
        super().__init__(timeout=PATIENCE, reactor=reactor)
        self.protocol: Any = _Channel
        self._access = Access(logins)
        self.live = Live(control, reactor, self._access.admits)
        self.table = RouteTable(make_routes(control, logins, self.live, reactor))
        self.door = Door(self, reactor)

    @override
    def startFactory(self) -> None:
        """Begin; there is no access log, so no clock for it either."""
        self.live.start()

    @override
    def stopFactory(self) -> None:
        """End; `close` ends the connections."""

    @override
    def log(self, request: Any) -> None:
        """Write nothing: a dashboard asks all the time.  Orders are logged in `answer`."""

    def close(self) -> Deferred[None]:
        """End all connections; fires when they have ended, which is soon."""
        self.live.stop()
        return self.door.close()

    async def answer(self, call: Call) -> Answer | HandOver:
        """Return what to answer; whatever happens, there is an answer."""
        try:
            answer = await self._answer(call)
        except Refused as error:
            answer = error_answer(error.status, error.message, error.errors)
        except CancelledError:  # who asked is gone
            raise
        except Exception:
            log.failure("admin: {method} {path} failed", method=call.method, path=call.path)
            answer = error_answer(500, "The relay failed; its log says how.")
        if isinstance(answer, Answer):
            _log_order(call, answer)
            if answer.delay:
                await deferLater(self.reactor, answer.delay)
        return answer

    async def _answer(self, call: Call) -> Answer | HandOver:
        routes = self.table.find(call.path)
        entries = {route.entry for route, _ in routes.values()} or {Entry.OPERATOR}
        refusal = self._access.refusal(call, *entries)
        if refusal is not None:
            return refusal
        if not routes:
            raise Refused(404, "There is nothing here.")
        method = "GET" if call.method == "HEAD" else call.method
        if method not in routes:
            allowed = [*routes, "HEAD"] if "GET" in routes else [*routes]
            headers = {"Allow": ", ".join(allowed)}
            return error_answer(405, f"Use {' or '.join(routes)} here.", headers=headers)
        route, arguments = routes[method]
        answer = route.action(call, **arguments)
        return answer if isinstance(answer, Answer | HandOver) else await answer


class _Request(Request):
    """A request of HTTP; its body, bounded, stays in memory."""

    channel: _Channel
    transport: Any
    _answering: Deferred[None] | None = None

    def __init__(self, channel: HTTPChannel, queued: object = False) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)

    @override
    def gotLength(self, length: int | None) -> None:
        self.content: Any = BytesIO()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        # Up to one byte more than may be; the rest is read, which takes no more than
        # PATIENCE, so that the answer is, too.
        self.content.write(data[: LARGEST_BODY + 1 - self.content.tell()])

    @override
    def process(self) -> None:
        site = self.channel.factory
        self._answering = Deferred.fromCoroutine(self._respond(site))
        self._answering.addErrback(self._failed)

    @override
    def connectionLost(self, reason: Any) -> None:
        if self._answering is not None:
            self._answering.cancel()
        super().connectionLost(reason)

    async def _respond(self, site: AdminSite) -> None:
        answer = await site.answer(self._call())
        if isinstance(answer, HandOver):
            answer.resource.render(self)
        else:
            self._write(answer)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # who asked is gone
            log.failure("admin: an answer could not be written", failure)
            self.transport.abortConnection()

    def _call(self) -> Call:
        body = self.content.read()
        return Call(
            method=self.method.decode("latin-1"),
            path=split_path(self.path),
            query=self.uri.partition(b"?")[2].decode("latin-1"),
            headers={
                name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
                for name, values in self.requestHeaders.getAllRawHeaders()
            },
            body=body if len(body) <= LARGEST_BODY else None,
            is_secure=self.isSecure(),
            is_unix=isinstance(self.getHost(), UNIXAddress),
            client=_name_of(self.getClientAddress()),
        )

    def _write(self, answer: Answer) -> None:
        self.setResponseCode(answer.status)
        headers = {
            **_HEADERS,
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Date": datetimeToString().decode(),
            **answer.headers,
        }
        for name, value in headers.items():
            self.setHeader(name, value)
        self.write(answer.body)
        self.finish()


class _Channel(HTTPChannel):
    """A connection that speaks HTTP/1.1."""

    factory: Any
    requestFactory = _Request  # type: ignore[assignment]

    def resetTimeout(self) -> None:
        """Grant nothing: a request that trickles in gets no more time than one that does not."""

    @override
    def timeoutConnection(self) -> None:
        self.loseConnection()  # the door sees to it that this ends


def _name_of(address: IAddress) -> str:
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    return f"{address.host}:{address.port}" if isinstance(address, IPv4Address) else "unix:"


def _log_order(call: Call, answer: Answer) -> None:
    """Log who ordered what; not who looks, and not who was not let in."""
    if call.method not in ("GET", "HEAD") and answer.status not in (401, 403, 404, 405):
        _orders.info(
            "admin: {client} {method} /{path}: {status}",
            client=call.client,
            method=call.method,
            path="/".join(call.path or ()),
            status=answer.status,
        )
