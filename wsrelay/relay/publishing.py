"""Sending one message to many sessions without keeping the others waiting."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsrelay.relay.pump import Side
from wsrelay.relay.session import Session

__all__ = ["Publisher"]

MOST: Final = 200
"""Sessions that are sent to in one turn of the reactor; each costs about ten microseconds, and
up to sixty for the longest message that can be published."""

LONGEST: Final = 0.01
"""Seconds after which a turn is over anyway: each session with ``mode = messages`` compresses for
itself, which can take milliseconds."""


@define(eq=False)
class _Round:
    """One message on its way."""

    sessions: Iterator[Session]
    side: Side
    payload: bytes
    is_binary: bool
    results: Counter[str] = field(factory=Counter, init=False)
    done: Deferred[Counter[str]] = field(factory=Deferred, init=False)

    def step(self, seconds: Callable[[], float]) -> bool:
        """Send to the next sessions; return whether these were the last."""
        until = seconds() + LONGEST
        told = 0
        for session in islice(self.sessions, MOST):
            self.results[session.publish(self.side, self.payload, self.is_binary)] += 1
            told += 1
            if seconds() >= until:
                return False
        return told < MOST


@define(eq=False)
class Publisher:
    """Sends messages, one after the other: every session gets them in the same order."""

    reactor: Any
    _rounds: deque[_Round] = field(factory=deque, init=False)

    def publish(
        self, sessions: Iterable[Session], side: Side, payload: bytes, is_binary: bool
    ) -> Deferred[Counter[str]]:
        """
        Send a message to one side of all *sessions* that there are now.

        :returns: fires with how many sessions there were of each result of
            `Session.publish`.  Cancelling it stops nothing.
        """
        new = _Round(iter(list(sessions)), side, payload, is_binary)
        self._rounds.append(new)
        if len(self._rounds) == 1:
            self._step()
        return new.done

    def _step(self) -> None:
        now = self._rounds[0]
        result: Any = now.results
        try:
            is_over = now.step(self.reactor.seconds)
        except Exception:
            is_over, result = True, Failure()
        if is_over:
            self._rounds.popleft()
        if self._rounds:
            self.reactor.callLater(0, self._step)
        if is_over:
            now.done.callback(result)  # or errback, for a Failure
