"""Closing many sessions without hurting anybody: one after the other, and never all at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from wsrelay.config.model import Rate
from wsrelay.log import Logger
from wsrelay.relay.session import Session

log = Logger()

GRACE: Final = 1.0
"""Seconds for aborted sessions to be over; a turn of the reactor is enough."""

JITTER: Final = 0.25
"""How far the time between two closes may be off, as a part of it."""


MOST: Final = 200
"""Sessions that are closed in one turn of the reactor; each costs some tens of microseconds."""


class Choice(Protocol):
    """What a `Closing` closes, in which order."""

    @property
    def left(self) -> int:
        """How many are still to be closed."""

    spared: int
    """How many need not be closed after all."""

    def begin(self, sessions: Iterable[Session]) -> None:
        """Learn of all sessions, once."""

    def next(self) -> Session | None:
        """Return the next one to close, which is not counted any more; None: none is left."""

    def opened(self, session: Session) -> bool:
        """Learn of a session that opened since; return whether it is to be closed, too."""

    def ended(self, session: Session) -> None:
        """Learn of a session's end."""


@define(eq=False)
class Chosen:
    """
    Every session that is wanted, in random order.

    So the clients of one upstream do not all come back together.
    """

    wants: Callable[[Session], bool]
    spared: int = field(default=0, init=False)
    _queue: dict[Session, None] = field(factory=dict, init=False)

    @property
    def left(self) -> int:
        """How many are in the queue."""
        return len(self._queue)

    def begin(self, sessions: Iterable[Session]) -> None:
        """Shuffle them."""
        wanted = [each for each in sessions if self.wants(each)]
        random.shuffle(wanted)
        self._queue.update(dict.fromkeys(wanted))

    def next(self) -> Session | None:
        """Return one after the other."""
        session = next(iter(self._queue), None)
        if session is not None:
            del self._queue[session]
        return session

    def opened(self, session: Session) -> bool:
        """Take it, if it is wanted, as the last."""
        if self.wants(session):
            self._queue[session] = None
        return session in self._queue

    def ended(self, session: Session) -> None:
        """Take it out."""
        self._queue.pop(session, None)


@frozen
class Terms:
    """
    How sessions are closed.

    :param what: whose they are: ``upstream chat/a``.
    :param reason: what their peers read in the close frame.
    :param why: one word for the log: ``drain``, ``removed``, ``rebalance`` …
    :param timeout: seconds until the last is closed; 0: all at once; None: *rate* says.
    :param rate: at most so many; what is left after *timeout* is closed at once.
    :param code: the close code; None: that of each session's route.
    :param offset: when the first is due, as a part of the time between two, below 1; so
        several processes take turns.
    """

    what: str
    reason: str
    why: str
    timeout: float | None = None
    rate: Rate | None = None
    code: int | None = None
    offset: float = 0.0


@define(eq=False)
class Closing:
    """
    Closes sessions in their turn, spread evenly over a time or at a rate.

    A session that does not end by itself is aborted its ``close_timeout`` after the
    last one was closed.  *done* fires when no chosen session is left.
    """

    reactor: Any = field(repr=False)
    terms: Terms
    _choice: Choice | None = field(repr=False)  # None once it is over: it holds sessions
    total: int = field(default=0, init=False)
    done: Deferred[None] = field(factory=Deferred, init=False)
    began_at: float = field(init=False)
    ended_at: float | None = field(default=None, init=False)
    _closing: set[Session] = field(factory=set, init=False, repr=False)
    _spared: int = field(default=0, init=False)
    _left: int = field(default=0, init=False)  # when it was called off
    _patience: float = field(default=0.0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def begin(self, sessions: Iterable[Session]) -> Deferred[None]:
        """Close the first, unless another process does, and plan for the others."""
        self.began_at = self.reactor.seconds()
        assert self._choice is not None
        self._choice.begin(list(sessions))
        self.total = self._choice.left
        if self.total and self._due(0.0) < 1:
            self._after(self._pause(0.0), self._step)
        else:
            self._step()
        return self.done

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end, or was called off."""
        return self.ended_at is not None

    @property
    def closed(self) -> int:
        """How many are gone."""
        spared = self._spared if self._choice is None else self._choice.spared
        return self.total - spared - self.left

    @property
    def left(self) -> int:
        """How many chosen sessions are still there, or were when it was called off."""
        return self._left if self._choice is None else self._choice.left + len(self._closing)

    @property
    def elapsed(self) -> float:
        """Seconds since it began, until it ended."""
        until = self.reactor.seconds() if self.ended_at is None else self.ended_at
        return float(until - self.began_at)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last session is closed at the latest; None: nobody knows."""
        if self.terms.timeout is None:
            return None
        return max(self.terms.timeout - self.elapsed, 0.0)

    def session_opened(self, session: Session) -> bool:
        """Learn of a new session; return whether it is among those that are closed."""
        if self._choice is None or not self._choice.opened(session):
            return False
        self.total += 1
        if self._choice.left == 1:  # there is no turn planned
            self._step()
        return True

    def session_ended(self, session: Session) -> None:
        """Learn of a session's end."""
        if self._choice is None:
            return
        self._closing.discard(session)
        self._choice.ended(session)
        if not self.left:
            self.stop()

    def stop(self) -> None:
        """Close no more; those that are told already end as they do."""
        if self._choice is None:
            return
        self._spared, self._left = self._choice.spared, self.left
        self._choice = None
        self._closing.clear()
        self.ended_at = self.reactor.seconds()
        self._stop_timer()
        self.done.callback(None)

    def hurry(self) -> None:
        """End everything now: somebody is in a hurry, or time is over."""
        if self._choice is None:
            return
        while (session := self._choice.next()) is not None:
            self._closing.add(session)
        if self._closing:
            log.warn(
                "{subject}: aborting {count} sessions",
                subject=self.terms.what,
                count=len(self._closing),
            )
        for session in list(self._closing):
            session.abort()
        if self._closing:
            self._after(GRACE, self.stop)  # their ends come before, a turn from now
        else:
            self.stop()

    def _step(self) -> None:
        """Close the sessions whose turn it is, and plan the next turn."""
        choice = self._choice
        assert choice is not None
        elapsed = self.reactor.seconds() - self.began_at
        # At least one: a timer may come a little early.
        due = max(self._due(elapsed), self._told + 1)
        now = min(due, self._told + MOST)
        while self._told < now and (session := choice.next()) is not None:
            self._close(session)
        if choice.left:
            self._after(self._pause(elapsed) if now == due else 0.0, self._step)
        elif self._closing:
            self._after(self._patience, self.hurry)
        else:
            self.stop()

    @property
    def _told(self) -> int:
        """How many were told to close, or ended before."""
        assert self._choice is not None
        return self.total - self._choice.spared - self._choice.left

    def _close(self, session: Session) -> None:
        self._closing.add(session)
        self._patience = max(self._patience, session.route.close_timeout)
        code = session.route.drain_close_code if self.terms.code is None else self.terms.code
        session.close(code, self.terms.reason, self.terms.why)

    def _due(self, elapsed: float) -> int:
        """Say how many should be closed by now."""
        timeout, rate = self.terms.timeout, self.terms.rate
        if timeout is not None and elapsed >= timeout:
            return self.total
        if rate is not None:
            return int(elapsed * rate.per_second + (rate.burst or 1) - self.terms.offset)
        assert timeout is not None
        return int(elapsed / timeout * self.total + 1 - self.terms.offset)

    def _pause(self, elapsed: float) -> float:
        """Say how long to wait until the next is due."""
        timeout, rate, offset = self.terms.timeout, self.terms.rate, self.terms.offset
        if rate is not None:
            at = (self._told - (rate.burst or 1) + 1 + offset) / rate.per_second
        else:
            assert timeout is not None
            at = (self._told + offset) * timeout / self.total
        pause = (at - elapsed) * random.uniform(1 - JITTER, 1 + JITTER)
        return pause if timeout is None else min(pause, timeout - elapsed)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.reactor.callLater(max(seconds, 0.0), action)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
