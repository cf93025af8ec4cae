"""A question to DNS that is asked again and again, as often as its answers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.names.dns import QUERY_TYPES
from twisted.python.failure import Failure

from wsrelay.discovery.resolver import Answer, LookupFailed
from wsrelay.discovery.trouble import Trouble
from wsrelay.log import Logger

__all__ = ["LEAST_PAUSE", "Ask", "Question"]

Ask = Callable[[bytes, int], Deferred[Answer]]
"""`Resolver.ask`, or what stands in for it."""

LEAST_PAUSE: Final = 1.0
"""Seconds between an outcome and the next time the question is asked, at the least."""

PATIENCE: Final = 30.0
"""Seconds until an answer that does not come counts as a failure."""

log = Logger()


class Question:
    """
    One name and one type of record.

    After an answer it is asked again when the answer's time to live is over, or after *every*
    seconds if that is sooner; after a failure soon, then ever later, up to *every*.

    :param ask: whom to ask.
    :param reactor: for its timers.
    :param every: seconds, at least `LEAST_PAUSE`.
    :param answered: called after each answer, not after failures; what it raises (a record
        that makes no sense) is a failure, and the answer is forgotten.
    :ivar answer: the last good one; None: there was none yet.
    """

    def __init__(
        self,
        ask: Ask,
        reactor: Any,
        name: bytes,
        kind: int,
        every: float,
        answered: Callable[[Answer], None],
    ) -> None:
        self._ask = ask
        self._reactor = reactor
        self._name = name
        self._kind = kind
        self._every = every
        self._answered = answered
        self._trouble = Trouble(f"{QUERY_TYPES[kind]} records of {name.decode()}")
        self._pause = LEAST_PAUSE
        self._asked: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._is_stopped = False

    @property
    def problem(self) -> str:
        """Why the last try has failed; empty if it has not."""
        return self._trouble.text

    def start(self) -> None:
        """Ask, and go on asking."""
        self._timer = None
        self._asked = maybeDeferred(self._ask, self._name, self._kind)
        self._asked.addTimeout(PATIENCE, self._reactor)
        self._asked.addCallback(self._take)
        self._asked.addErrback(self._fail)

    def stop(self) -> None:
        """Ask no more."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asked is not None:
            self._asked.cancel()

    def _take(self, answer: Answer) -> None:
        if self._is_stopped:
            return
        self._answered(answer)
        self._trouble.clear()
        self._pause = LEAST_PAUSE
        ttl = self._every if answer.ttl is None else answer.ttl
        self._ask_in(max(LEAST_PAUSE, min(ttl, self._every)))

    def _fail(self, failure: Failure) -> None:
        if self._is_stopped:
            return
        self._trouble.say(f"{_why(failure)}; what was known stays")
        self._ask_in(self._pause)
        self._pause = min(2 * self._pause, self._every)

    def _ask_in(self, seconds: float) -> None:
        if not self._is_stopped:  # by what `answered` did
            self._timer = self._reactor.callLater(seconds, self.start)


def _why(failure: Failure) -> str:
    if failure.check(TimeoutError):
        return "there is no answer"
    if failure.check(LookupFailed, OSError, ValueError):
        return str(failure.value)
    log.failure("a name cannot be looked up", failure)
    return f"{type(failure.value).__name__}: {failure.value}"
