"""What all kinds of health checks have in common: how each of them begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay import __version__
from wsrelay.config.model import HealthCheckConfig, PoolConfig, UpstreamConfig
from wsrelay.log import Logger
from wsrelay.relay.dialer import Dialer
from wsrelay.relay.transports import discard
from wsrelay.relay.upstream import Problem, UpstreamConnection
from wsrelay.wire.proxy_protocol import UNKNOWN, encode_header
from wsrelay.wire.response import Response

log = Logger()


@frozen
class Result:
    """
    How one check went.

    *what* is a phrase that may stand behind "the upstream" in a log line; *seconds* went by
    from the begin of the check until it was decided.  *counts* is False where it says nothing
    of the upstream, which could not be asked.
    """

    ok: bool
    what: str
    seconds: float
    counts: bool = True


Done = Callable[[Result], None]


@frozen(eq=False)
class Target:
    """What is checked, and how; worked out once for all checks of one upstream."""

    reactor: Any
    id: str
    upstream: UpstreamConfig
    config: HealthCheckConfig
    dialer: Dialer
    header: bytes = b""

    @classmethod
    def make(cls, reactor: Any, upstream: UpstreamConfig, pool: PoolConfig) -> Self:
        """
        Make the target of an *upstream* in a *pool* that has a ``health_check``.

        :raises ValueError: a file of the pool's ``tls_…`` cannot be read or used.
        """
        config = pool.health_check
        assert config is not None
        dialer = Dialer(reactor, upstream, pool, config.port)
        # What is asked on a port of its own is not what clients come to.
        is_proxied = pool.proxy_protocol != "off" and config.port is None
        header = encode_header(pool.proxy_protocol, UNKNOWN) if is_proxied else b""
        id = f"check of {pool.name}/{upstream.name}"
        return cls(reactor, id, upstream, config, dialer, header)

    def request(self, *fields: bytes) -> bytes:
        """Return the head of a GET with these header *fields* besides those of every check."""
        lines = (
            f"GET {self.upstream.base_path}{self.config.path} HTTP/1.1".encode(),
            f"Host: {self.config.host or self.upstream.authority}".encode(),
            f"User-Agent: wsrelay/{__version__} (health check)".encode(),
            *fields,
        )
        return b"\r\n".join(lines) + b"\r\n\r\n"


class Check:
    """
    One check of one upstream, under way or over.

    It tells *done* how it went, once, unless it is cancelled before; by then it has ended
    its connection and keeps no timer.  It never takes longer than ``timeout``.

    A kind of check says what is sent (`head`), and decides when it has heard enough: with
    `conclude` where the connection may be ended properly, with `fail` where it may not.
    """

    head = b""
    awaited = "answer"
    """What the upstream has to do next, for when it does not."""

    def __init__(self, target: Target, done: Done) -> None:
        self.target = target
        self.is_over = False
        self._done = done
        self._result: Result | None = None  # while the connection still has to end
        self._begun: float = target.reactor.seconds()
        # Made before the connection, whose own timers would say the same, but never later.
        timeout = target.config.timeout
        self._deadline: IDelayedCall = target.reactor.callLater(timeout, self._too_late)
        self.connection = self.make_connection()

    def make_connection(self) -> UpstreamConnection:
        """Make what sends `head` once it is connected."""
        timeout = self.target.config.timeout
        return UpstreamConnection(
            self.target.id, self.target.reactor, self, self.head, timeout, timeout
        )

    def begin(self) -> None:
        """Dial; it may be decided before this returns."""
        try:
            self.target.dialer.dial(self.connection, self.target.header)
        except Exception:
            log.failure("{id}: could not begin", id=self.target.id)
            self.fail("could not be dialled; the log has more")

    def cancel(self) -> None:
        """End at once, and tell nothing; harmless when it is over."""
        self.is_over = True
        if self._deadline.active():
            self._deadline.cancel()
        self.connection.abandon()

    # what the connection tells

    def upstream_connected(self) -> None:
        """Do nothing: `head` is on its way."""

    def upstream_interim(self, response: Response) -> None:
        """Do nothing: another answer follows."""

    def upstream_answered(self, response: Response, rest: bytes) -> None:
        """Take the answer to `head`, and what came behind it; a kind that sends one says how."""
        # Not abstract: the check that only connects sends no head, and ends before an answer.
        raise NotImplementedError

    def upstream_failed(self, problem: Problem) -> None:
        """Fail: there is no answer."""
        if problem.status == 504:
            self._too_late()
        else:
            self.fail(problem.what, counts=problem.status != 503)

    # the end

    def conclude(self, ok: bool, what: str) -> None:
        """Decide, and end the connection so that the upstream has nothing to complain of."""
        if self._result is not None or self.is_over:
            return
        self._result = self._make_result(ok, what)
        self.connection.receive = discard
        self.connection.lost = self._connection_ended
        self.connection.transport.loseConnection()

    def fail(self, what: str, *, counts: bool = True) -> None:
        """Decide, and drop the connection."""
        if self._result is None:
            self._end(self._make_result(False, what, counts))

    def _make_result(self, ok: bool, what: str, counts: bool = True) -> Result:
        return Result(ok, what, self.target.reactor.seconds() - self._begun, counts)

    def _too_late(self) -> None:
        if self._result is not None:  # all that failed to come is the end of the connection
            self._end(self._result)
            return
        awaited = self.awaited if self.connection.is_made else "accept a connection"
        self.fail(f"did not {awaited} within {self.target.config.timeout:g}s")

    def _connection_ended(self, reason: Failure) -> None:
        assert self._result is not None
        self._end(self._result)

    def _end(self, result: Result) -> None:
        if self.is_over:
            return
        self.cancel()
        try:
            self._done(result)
        except Exception:
            log.failure("{id}: failed while taking its result", id=self.target.id)
