"""What a balancer that learns from answers is shown."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred

from wsrelay.interfaces import LEARNS, IHandshake, ILearningBalancer
from wsrelay.log import Logger
from wsrelay.pools.pool import Pool, Upstream
from wsrelay.wire.response import Response

__all__ = ["Lesson", "lesson_for"]

log = Logger()


def lesson_for(
    pool: Pool, request: IHandshake, upstream: Upstream, response: Response
) -> Lesson | None:
    """Return what collects the beginning of an answer, if the pool's balancer wants to see it."""
    balancer = pool.balancer
    if not ILearningBalancer.providedBy(balancer):
        return None
    try:
        wants = balancer.wants_answer(request)
    except Exception:
        _say_failed(pool, "wants_answer")
        return None
    return Lesson(pool, balancer, request, upstream, response) if wants else None


@define(eq=False)
class Lesson:
    """Collects the beginning of one answer's body, and shows it to a balancer once."""

    _pool: Pool
    _balancer: ILearningBalancer
    _request: IHandshake
    _upstream: Upstream
    _response: Response
    _body: bytes = field(default=b"", init=False)
    _is_over: bool = field(default=False, init=False)

    def take(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self._is_over:
            self._body += body[: LEARNS - len(self._body)]
            if len(self._body) == LEARNS:
                self._show()

    def end(self) -> Deferred[None] | None:
        """
        Show what came, as there is no more; any number of times.

        :returns: what fires when others know what was learnt; None: nobody is told.
        """
        if not self._is_over:
            self._show()
        elsewhere = self._pool.elsewhere
        return None if elsewhere is None else elsewhere.told()

    def _show(self) -> None:
        self._is_over = True
        try:
            self._balancer.answered(
                self._request,
                self._upstream,
                self._response.status,
                self._response.headers,
                self._body,
            )
        except Exception:
            _say_failed(self._pool, "answered")


def _say_failed(pool: Pool, method: str) -> None:
    log.failure(
        "the balancer of pool {pool} failed in {method}; it stays in use",
        pool=pool.name,
        method=method,
    )
