"""Answers that need no upstream: files and redirects, on a client's connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field

from wsrelay.config.model import RouteConfig
from wsrelay.http.answers import FileAnswer, OwnAnswer
from wsrelay.http.dates import http_date
from wsrelay.http.files import file_answer
from wsrelay.http.paths import normal_path
from wsrelay.http.redirect import redirect_answer
from wsrelay.http.sending import FileSender
from wsrelay.log import Logger
from wsrelay.relay.facts import Exchanged, Facts
from wsrelay.relay.transports import nobody
from wsrelay.wire.forward import own_head
from wsrelay.wire.request import Request

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.relay import Relay

log = Logger()


@define(eq=False)
class LocalAnswer:
    """
    Answers one request of a route with ``static`` or ``redirect``.

    Tells the relay once when the answer is over: `Relay.exchanged`.
    """

    relay: Relay
    client: ClientConnection
    request: Request
    route: RouteConfig
    facts: Facts
    _sender: FileSender | None = field(default=None, init=False)

    @property
    def place(self) -> tuple[str, str, str]:
        """See `wsrelay.http.exchanges.UnderWay`."""
        return self.route.name, "", ""

    @property
    def passed(self) -> tuple[int, int]:
        """See `wsrelay.http.exchanges.UnderWay`."""
        return 0, 0 if self._sender is None else self._sender.sent

    def begin(self) -> None:
        """Answer; called once."""
        self.client.left = self._client_left
        try:
            answer = self._find()
        except Exception:
            log.failure("session {id}: no answer could be made", id=self.client.id)
            answer = OwnAnswer(500, "The relay failed; its log says how.")
        self.relay.begins_locally(self, answer.status)
        if isinstance(answer, OwnAnswer):
            length = len(answer.reason.encode()) + 1  # with the end of its line
            self._over("", 0 if self.client.is_head else length)
            self.client.answer(answer.status, answer.reason, answer.headers)
        else:
            date = (b"Date", http_date(time.time()))
            self._send(answer, (date, *answer.headers))

    def break_off(self) -> None:
        """End now: the relay is in a hurry."""
        self._broke("the answer was broken off")

    def _find(self) -> FileAnswer | OwnAnswer:
        route, request = self.route, self.request
        if route.redirect is not None:
            return redirect_answer(route.redirect, request)
        assert route.static is not None
        # Another spelling of the path must not get past the route that is meant for it.
        routes = self.client.listener.routes
        if routes.match_decoded(request.host, normal_path(request.path)) is not route:
            return OwnAnswer(404, "There is no such file.")
        prefix = route.path.value if route.strip_prefix else ""
        return file_answer(route.static, request, now=time.time(), prefix=prefix)

    def _send(self, answer: FileAnswer, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        transport = self.client.transport
        transport.write(own_head(answer.status, headers, self.client.option))
        self._sender = FileSender(answer, transport, self.relay.reactor, self._sent, self._broke)
        self._sender.start()

    def _sent(self) -> None:
        self._over("")
        self.client.answered()

    def _broke(self, why: str) -> None:
        self._stop()
        self._over(why)
        self.client.abort()

    def _client_left(self) -> None:
        self._stop()
        self._over("the client left")

    def _stop(self) -> None:
        if self._sender is not None:
            self._sender.stop()

    def _over(self, problem: str, sent: int = 0) -> None:
        self.client.left = nobody
        if self._sender is not None:
            sent = self._sender.sent
        duration = self.relay.reactor.seconds() - self.client.started_at
        self.relay.exchanged(self, Exchanged(0, sent, duration, problem))
