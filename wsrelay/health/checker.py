"""Checks one upstream again and again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Literal

from twisted.internet.interfaces import IDelayedCall

from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.health.check import Check, Result, Target, begin_check
from wsrelay.health.verdict import Verdict
from wsrelay.log import Logger

log = Logger()

FIRST_WITHIN: Final = 1.0
"""Seconds over which the first checks of all upstreams are spread."""

Report = Callable[[Result, Literal["up", "down"] | None], None]


class Checker:
    """
    Checks one upstream every ``interval``, and keeps count.

    An interval is measured from begin to begin; a check that takes longer delays the
    next, so that there are never two at once.

    :param report: is told each result, and what the upstream became if it flipped.  What
        it raises is logged.
    :param draw: a random number from 0 to 1.

    :ivar verdict: the counts, and the upstream's health.
    :ivar last: the result of the last check, None before the first.
    :raises ValueError: a file of the pool's ``tls_…`` cannot be read or used.
    """

    def __init__(
        self,
        reactor: Any,
        upstream: UpstreamConfig,
        pool: PoolConfig,
        report: Report,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._reactor = reactor
        self._target = Target.make(reactor, upstream, pool)
        self._config = config = self._target.config
        self._report = report
        self._draw = draw
        self._begun = 0.0
        self._timer: IDelayedCall | None = None
        self._check: Check | None = None
        self._is_stopped = False
        self.verdict = Verdict(config.rise, config.fall)
        self.last: Result | None = None

    def start(self) -> None:
        """Begin to check, soon; called once."""
        within = min(self._config.interval, FIRST_WITHIN)
        self._timer = self._reactor.callLater(self._draw() * within, self._begin)

    def stop(self) -> None:
        """Check no more; what is under way is dropped, and nothing is reported any more."""
        self._is_stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._check is not None:
            self._check.cancel()

    def _begin(self) -> None:
        self._begun = self._reactor.seconds()
        self._check = begin_check(self._target, self._take)

    def _take(self, result: Result) -> None:
        self.last = result
        flipped = result.counts and self.verdict.note(result.ok)
        now_is: Literal["up", "down"] = "up" if result.ok else "down"
        try:
            self._report(result, now_is if flipped else None)
        except Exception:
            log.failure("{id}: its result could not be reported", id=self._target.id)
        if not self._is_stopped:
            due = self._begun + self._period()
            wait = max(due - self._reactor.seconds(), 0.0)
            self._timer = self._reactor.callLater(wait, self._begin)

    def _period(self) -> float:
        """Return the seconds from this check's begin to the next one's."""
        away = (2 * self._draw() - 1) * self._config.jitter
        return self._config.interval * (1 + away)
