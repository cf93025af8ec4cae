"""Waiting for something, but not for ever."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from wsrelay.admin.control import Refused, Soon
from wsrelay.log import Logger

__all__ = ["settled", "within"]

log = Logger()

T = TypeVar("T")


def within(
    reactor: IReactorTime, seconds: float, work: Deferred[T], late: Exception
) -> Deferred[T]:
    """
    Return a Deferred that fires as *work* does, or fails with *late*.

    Whether somebody waits or not, *work* goes on to its end: cancelling what this returns
    does not reach it.  A failure that comes when nobody waits any more is logged.
    """
    outcome: Deferred[T] = Deferred(lambda _: timer.cancel())
    timer = reactor.callLater(seconds, outcome.errback, late)

    def done(result: Any) -> None:
        if not outcome.called:
            timer.cancel()
            outcome.callback(result)  # a failure, too
        elif isinstance(result, Failure) and not result.check(Refused):
            log.failure("an order failed after nobody waited for it", result)

    work.addBoth(done)
    return outcome


async def settled(reactor: IReactorTime, seconds: float, answer: Soon[T], late: Exception) -> T:
    """Return an answer that is there, or wait for one `within` so many seconds."""
    if isinstance(answer, Deferred):
        return await within(reactor, seconds, answer, late)
    return answer
