"""
One plain request and its answer: sent to an upstream as it comes, answered as that answers.

Until a byte of the request may have gone out another upstream is tried, as for a handshake.
After that none is, whatever the method, so that nothing is done twice.
"""

from __future__ import annotations

from typing import ClassVar, Final

from attrs import define, field
from typing_extensions import override

from wsrelay.http.lesson import Lesson, lesson_for
from wsrelay.http.upload import Upload
from wsrelay.relay.answer import Answer
from wsrelay.relay.dialer import Dialer, NoWay
from wsrelay.relay.facts import Exchanged
from wsrelay.relay.idle import logs_in, patience_of
from wsrelay.relay.search import Search
from wsrelay.relay.transports import unsent
from wsrelay.relay.upstream import Problem, UpstreamConnection
from wsrelay.wire.body import BodyReader, LengthBody, request_body, response_body
from wsrelay.wire.forward import interim_head
from wsrelay.wire.request import CLOSE, connection_option
from wsrelay.wire.response import BadResponse, Response

_UNANSWERED: Final = ("CONNECT", "TRACE")
"""Methods that are not for an upstream behind a relay (RFC 9110 sections 9.3.6 and 9.3.8)."""


@define(eq=False)
class Exchange(Search):
    """
    Finds the answer to one plain request, and passes both bodies on.

    Tells the relay once what became of it: `Relay.exchanged` or `Relay.refused`; nothing
    when `cancel` comes before an answer.
    """

    upgrades: ClassVar[bool] = False

    _reader: BodyReader = field(init=False)
    _upload: Upload = field(init=False)
    _answer: Answer | None = field(default=None, init=False)
    _lesson: Lesson | None = field(default=None, init=False)
    _dialer: Dialer | NoWay | None = field(default=None, init=False)
    _patience_of_upstream: float = field(default=0.0, init=False)

    @override
    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._reader = request_body(self.request)
        route = self.route
        self._upload = Upload(
            self,
            self.client,
            self._reader,
            route.http_timeout,
            route.max_body_size,
            self._expected != (),
        )

    @property
    def place(self) -> tuple[str, str, str]:
        """See `wsrelay.http.exchanges.UnderWay`."""
        upstream = "" if self.upstream is None else self.upstream.name
        return self.route.name, self.pool.name, upstream

    @property
    def passed(self) -> tuple[int, int]:
        """See `wsrelay.http.exchanges.UnderWay`."""
        return (0, 0) if self._answer is None else (self._upload.sent, self._answer.sent)

    @override
    def begin(self) -> None:
        self.client.option = connection_option(self.request) if self._reader.done else CLOSE
        self._guarded(self._begin)

    def _begin(self) -> None:
        refusal = self._objection()
        if refusal is not None:
            self._refuse(*refusal)
            return
        self._upload.begin()
        if not self._over:
            super().begin()

    @property
    def _expected(self) -> tuple[str, ...]:
        """What the client expects; HTTP/1.0 knows no Expect (RFC 9110 section 10.1.1)."""
        return self.request.headers.elements(b"expect") if self.request.version != "1.0" else ()

    def _objection(self) -> tuple[int, str, str] | None:
        """Say what is wrong with a request before its body is read."""
        limit = self.route.max_body_size
        length = self._reader.length if isinstance(self._reader, LengthBody) else 0
        if self.request.method in _UNANSWERED:
            reason = f"{self.request.method} is not answered here; use another method."
            return 405, reason, "method"
        if self._expected and self._expected != ("100-continue",):
            reason = "Nothing but 100-continue can be expected here; remove Expect."
            return 417, reason, "expectation"
        if limit is not None and length > limit:
            reason = f"The request's body is over {limit} bytes; send less."
            return 413, reason, "body-too-large"
        return None

    @override
    def cancel(self) -> None:
        self._upload.end()
        super().cancel()

    def break_off(self, why: str = "The relay is stopping") -> None:
        """End now: the relay, or what serves this, is being drained, and time is over."""
        if self._answer is not None:
            self._answer.break_off()
        else:
            self.refuse(503, f"{why}; connect again.", "draining")

    @override
    def _refuse(self, status: int, reason: str, refusal: str, detail: str = "") -> None:
        self._upload.end()
        super()._refuse(status, reason, refusal, detail)

    # the request's way

    @property
    @override
    def _answer_timeout(self) -> float | None:
        return self.route.http_timeout

    @override
    def _may_try_another(self, problem: Problem) -> bool:
        return not problem.is_sent

    @override
    def _connect(self, dialer: Dialer | NoWay, head: bytes) -> None:
        self._dialer = dialer
        connection = dialer.idle.take()
        if connection is None:
            super()._connect(dialer, head)
            return
        self._connection = connection
        head += self._upload.take_held()  # at once, as it is not asked of anybody else
        connection.ask_again(self.client.id, self, head, self._answer_timeout)

    @override
    def upstream_connected(self) -> None:
        assert self._connection is not None
        self._guarded(self._upload.flow_to, self._connection)

    def client_is_awaited(self) -> None:
        """Let the upstream take its time: it cannot answer what it has not got."""
        if self._connection is not None:
            self._connection.stop_waiting()

    def upstream_is_awaited(self) -> None:
        """Give the upstream its time."""
        if self._connection is not None:
            self._connection.wait_anew()

    def body_ended(self) -> None:
        """Let the connection serve another request after this one, which is whole."""
        self.upstream_is_awaited()
        if not self._answered:
            self.client.option = connection_option(self.request)

    def body_failed(self, status: int, reason: str, refusal: str) -> None:
        """Answer a request whose body is broken, too long or too slow."""
        if self._answer is not None:
            self._answer.break_off()
        elif not self._over:
            self.refuse(status, reason, refusal)

    # the answer's way

    @override
    def upstream_interim(self, response: Response) -> None:
        if self._over:
            return
        if self.request.version != "1.0":
            self.client.transport.write(interim_head(response))
        if response.status == 100:
            self._upload.continued()
        if not self._upload.awaits_client:
            self.upstream_is_awaited()  # it is not silent

    @override
    def _take_answer(self, response: Response, rest: bytes) -> None:
        assert self.upstream is not None
        try:
            if response.status == 101:
                raise BadResponse("The response is a 101, which nobody asked for.")
            reader = response_body(response, to_head=self.client.is_head)
        except BadResponse as error:
            self._broken(error.reason)
            return
        assert self._lease is not None
        self._upstream_works(self.upstream)
        self._lease.answered()
        self._upload.stop_waiting()
        self._patience_of_upstream = 0.0 if logs_in(self.request) else patience_of(response)
        self._lesson = lesson_for(self.pool, self.handshake, self.upstream, response)
        self.relay.begins_to_answer(self, response.status)
        has_end = reader.done or isinstance(reader, LengthBody)
        is_modern = self.request.version != "1.0"
        if self.relay.is_draining or not (self._upload.is_whole and (has_end or is_modern)):
            self.client.option = CLOSE
        self._pass_on(response, reader, rest, in_chunks=is_modern and not has_end)

    def _pass_on(
        self, response: Response, reader: BodyReader, rest: bytes, *, in_chunks: bool
    ) -> None:
        assert self._connection is not None
        assert self.upstream is not None
        lesson = self._lesson
        self._answer = Answer(
            self.relay.reactor,
            self.route.http_timeout,
            self._connection,
            self.client,
            reader,
            self._ended,
            in_chunks=in_chunks,
            on_body=None if lesson is None else lesson.take,
            before_end=None if lesson is None else lesson.end,
        )
        cookies = self.relay.cookies_of(self, self.upstream)
        self._answer.begin(response, rest, cookies)

    def _ended(self, problem: str) -> None:
        """Let go of the upstream's connection, and tell the relay."""
        connection, self._connection = self._connection, None
        assert connection is not None
        assert self._answer is not None
        if self._lesson is not None:
            self._lesson.end()
        is_clean = not problem and self._upload.is_whole and self._answer.ends_cleanly
        self._upload.end()
        # Bytes of the body that wait in the transport would be overtaken by another request.
        if is_clean and not unsent(connection.transport):
            self._keep(connection)
        else:
            connection.abandon()
        self._release()  # who waits for it may ask by the same connection
        duration = self.relay.reactor.seconds() - self.client.started_at
        what = Exchanged(self._upload.sent, self._answer.sent, duration, problem)
        self.relay.exchanged(self, what)

    def _keep(self, connection: UpstreamConnection) -> None:
        assert self.upstream is not None
        dialer = self._dialer
        # The upstream may have left meanwhile, be drained, or have other files for TLS now.
        is_good = dialer is self.relay.dialers.get(self.upstream) and self.upstream.state == "ready"
        if dialer is not None and is_good and self._patience_of_upstream:
            dialer.idle.put(connection, self._patience_of_upstream)
        else:
            connection.hang_up()
