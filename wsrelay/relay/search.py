"""
Finding the upstream that answers a request: choosing, waiting, dialling, and trying others.

`Search` is what an opening handshake and a plain request have in common; what becomes of
an answer is theirs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.config.model import RouteConfig
from wsrelay.log import Logger
from wsrelay.pools.choosing import BalancerFailed, BalancerRefused, NoUpstream, choose
from wsrelay.pools.pool import Lease, Pool, Upstream
from wsrelay.relay.dialer import Dialer, NoWay
from wsrelay.relay.doors import FULL
from wsrelay.relay.ends import header_for
from wsrelay.relay.facts import Facts
from wsrelay.relay.forwarding import head_for
from wsrelay.relay.handshake import Handshake
from wsrelay.relay.turn import Turn
from wsrelay.relay.upstream import Problem, UpstreamConnection
from wsrelay.wire.forward import Forwarded
from wsrelay.wire.request import Request
from wsrelay.wire.response import Response

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.relay import Relay

log = Logger()

RETRY_AFTER: Final = ((b"Retry-After", b"5"),)
"""Sent where a client may well try again; seconds."""

_WITH: Final = {
    405: ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
    **dict.fromkeys((502, 503, 504), RETRY_AFTER),
}
"""Headers that go with a status."""


@define(eq=False)
class Search:
    """
    Finds an upstream for one request, and its answer.

    Tells the relay once what became of the client, unless `cancel` comes first.  *attempts*
    counts the upstreams that were asked.
    """

    upgrades: ClassVar[bool]
    """Whether the request is a websocket handshake."""

    relay: Relay
    client: ClientConnection
    request: Request
    route: RouteConfig
    pool: Pool
    handshake: Handshake
    facts: Facts
    forwarded: Forwarded
    attempts: int = field(default=0, init=False)
    upstream: Upstream | None = field(default=None, init=False)
    _tried: list[Upstream] = field(factory=list, init=False)
    _lease: Lease | None = field(default=None, init=False)
    _connection: UpstreamConnection | None = field(default=None, init=False)
    _choice: Deferred[Any] | None = field(default=None, init=False)
    _choice_timer: IDelayedCall | None = field(default=None, init=False)
    _problem: Problem | None = field(default=None, init=False)  # the last upstream's
    _tries: int = field(default=0, init=False)  # since it was its turn
    _turn: Turn = field(init=False)
    _answered: bool = field(default=False, init=False)  # by the upstream, to the client
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        relay, phases = self.relay, self.facts.phases
        self._turn = Turn(
            relay.reactor, relay.rounds, self.pool, phases, self._called, self._waited_enough
        )

    def begin(self) -> None:
        """Ask the balancer, unless others have waited longer; called once."""
        self._guarded(self._queue_up if self._turn.is_behind else self._choose)

    def client_left(self) -> None:
        """Give up: there is nobody to answer any more."""
        self.cancel()
        self.facts.refusal = "client-left"
        self.relay.refused(self, 499, "The client left before it was answered.")

    def cancel(self) -> None:
        """Give up, because the client left or the relay ends; nothing is told any more."""
        self._end()
        if self._choice is not None:
            self._choice.cancel()
        if self._connection is not None:
            self._connection.abandon()
        self._release()

    def refuse(self, status: int, reason: str, refusal: str) -> None:
        """
        Answer the client without an upstream; the relay is draining, for example.

        :param refusal: see `Facts.refusal`.
        """
        self.cancel()
        self._refuse(status, reason, refusal)

    # what becomes of an answer

    @property
    @abstractmethod
    def _answer_timeout(self) -> float | None:
        """Seconds that a connected upstream may take to answer; None: as long as it likes."""

    @abstractmethod
    def _take_answer(self, response: Response, rest: bytes) -> None:
        """Take an upstream's final answer, and what came behind its head."""

    def _may_try_another(self, problem: Problem) -> bool:
        """Whether the request may be sent again, whatever ``retries`` says."""
        return True

    def upstream_connected(self) -> None:
        """Learn that the head of the request is on its way."""

    def upstream_interim(self, response: Response) -> None:
        """Do nothing about an interim answer (RFC 9110 section 15.2); a final one follows."""

    def upstream_answered(self, response: Response, rest: bytes) -> None:
        """Take the answer, and what came behind its head."""
        self._guarded(self._take_answer, response, rest)

    # choosing

    def _choose(self) -> None:
        try:
            choice = choose(self.pool, self.handshake, self._tried)
        except (NoUpstream, BalancerRefused, BalancerFailed) as error:
            self._no_choice(error)
            return
        if not isinstance(choice, Deferred):
            self._dial(choice)
            return
        self._choice = choice
        self._choice_timer = self.relay.reactor.callLater(
            self.route.upstream_handshake_timeout, choice.cancel
        )
        choice.addCallbacks(self._chosen, self._not_chosen)
        choice.addErrback(self._broke)

    def _chosen(self, upstream: Upstream) -> None:
        self._choice_is_over()
        if not self._over:
            self._dial(upstream)

    def _not_chosen(self, failure: Failure) -> None:
        self._choice_is_over()
        if self._over:
            return
        if failure.check(CancelledError):
            log.warn("session {id}: the balancer did not choose in time", id=self.client.id)
            self._refuse(
                504, "The balancer did not choose an upstream in time; try again.", "error"
            )
        elif isinstance(failure.value, NoUpstream | BalancerRefused | BalancerFailed):
            self._no_choice(failure.value)
        else:
            failure.raiseException()

    def _choice_is_over(self) -> None:
        self._choice = None
        if self._choice_timer is not None and self._choice_timer.active():
            self._choice_timer.cancel()

    def _no_choice(self, error: Exception) -> None:
        if isinstance(error, BalancerFailed):
            self._refuse(500, "The balancer failed; the relay's log says how.", "error")
        elif isinstance(error, NoUpstream) and self._turn.may_wait:
            self._queue_up()
        elif self._problem is not None:
            self._upstreams_failed(self._problem)
        else:
            reason = "No upstream may take this connection now; try again later."
            self._refuse(503, reason, "no-upstream")

    # waiting for an upstream

    @property
    def is_waiting(self) -> bool:
        """Whether it stands in the pool's queue."""
        return self._turn.is_waiting

    def _queue_up(self) -> None:
        if not self._turn.wait():
            reason = "Too many wait for an upstream already; try again later."
            self._refuse(503, reason, "queue-full")

    def _called(self) -> None:
        """Try anew: it is this request's turn."""
        self._tries = 0
        self._tried.clear()
        self._guarded(self._choose)

    def _waited_enough(self) -> None:
        reason = "No upstream was free in time; try again later."
        self._refuse(503, reason, "queue-timeout", self._problem.what if self._problem else "")

    # asking an upstream

    def _dial(self, upstream: Upstream) -> None:
        self._lease = upstream.take(plain=not self.upgrades)
        if self._lease is None:
            self._choose()  # without this one, which is full now
            return
        self.upstream = upstream
        self.attempts += 1
        self._tries += 1
        self._tried.append(upstream)
        head = head_for(
            upstream.config,
            self.request,
            self.route,
            self.forwarded,
            self.client.id,
            upgrades=self.upgrades,
        )
        self._connect(self.relay.dialers[upstream], head)

    def _connect(self, dialer: Dialer | NoWay, head: bytes) -> None:
        """Send the head of the request by a connection of its own."""
        self._connection = UpstreamConnection(
            self.client.id,
            self.relay.reactor,
            self,
            head,
            self.route.connect_timeout,
            self._answer_timeout,
        )
        dialer.dial(self._connection, self._proxy_header())

    def _proxy_header(self) -> bytes:
        version, client = self.pool.config.proxy_protocol, self.client
        if version == "off":
            return b""
        address = (self.forwarded.real_ip or b"").decode()
        is_secure = self.forwarded.proto == b"https"
        return header_for(version, address, client.peer, client.local, is_secure=is_secure)

    def upstream_failed(self, problem: Problem) -> None:
        """Try another upstream, unless ``retries`` is used up."""
        self._guarded(self._try_another, problem)

    def _try_another(self, problem: Problem) -> None:
        assert self.upstream is not None
        # That it is down is in the log already; those who wait for it try four times a second.
        tell = log.debug if self.upstream.looks_down else log.warn
        tell(
            "session {id}: upstream {pool}/{upstream} {what}",
            id=self.client.id,
            pool=self.pool.name,
            upstream=self.upstream.name,
            what=problem.what,
        )
        self._connection = None
        if problem.status != 503:  # that is no fault of the upstream's
            self.upstream.failed(problem.what)
        self._release()
        self._problem = problem
        if self._over:
            return
        if problem.status == 503:
            self._refuse(503, FULL, "full", problem.what)
            return
        # Where everything looks down, one wait for an upstream that does not answer is enough.
        is_hopeless = problem.status == 504 and self.pool.is_hopeless(self._tried)
        if not self._may_try_another(problem):
            self._upstreams_failed(problem)
        elif self._tries <= self.route.retries and not is_hopeless:
            self.relay.observer.retried(self.pool.name)
            self._choose()
        elif self._turn.may_wait:
            self._queue_up()
        else:
            self._upstreams_failed(problem)

    def _upstream_works(self, upstream: Upstream) -> None:
        """Note an answer; it goes to the client next."""
        assert self._connection is not None
        self._answered = True
        self._end()
        self.facts.phases.update(self._connection.phases())
        upstream.succeeded(plain=not self.upgrades)

    def _broken(self, reason: str) -> None:
        """Do without an upstream whose answer is none."""
        assert self._connection is not None
        self._connection.abandon()
        self.upstream_failed(Problem(502, reason, is_sent=True))

    # the relay's own answers

    def _upstreams_failed(self, problem: Problem) -> None:
        reason = "The upstream did not answer in time; try again later."
        refusal = "upstream-timeout"
        if problem.status == 502:
            reason = "The upstream could not be reached, or broke off; try again later."
            refusal = "upstream-failed"
        # The log has what happened; a client is not told of the inside.
        self._refuse(problem.status, reason, refusal, problem.what)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Take a step; called by timers and connections, which could not handle a failure."""
        try:
            step(*arguments)
        except Exception:
            self._broke(Failure())

    def _broke(self, failure: Failure) -> None:
        what = "handshake" if self.upgrades else "request"
        log.failure("session {id}: the {what} failed", failure, id=self.client.id, what=what)
        if self._answered:
            self.cancel()
            self.client.abort()
        elif not self._over:
            self.cancel()
            self._refuse(500, "The relay failed; its log says how.", "error")

    def _refuse(self, status: int, reason: str, refusal: str, detail: str = "") -> None:
        self._end()
        self._release()
        self.facts.refusal = refusal
        self.relay.refused(self, status, detail or reason)
        self.client.answer(status, reason, _WITH.get(status, ()))

    def _end(self) -> None:
        """Wait for nothing any more."""
        self._over = True
        self._turn.end()

    def _release(self) -> None:
        if self._lease is not None:
            self._lease.release()
