"""Stopping without hurting anybody: sessions are closed one after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from wsrelay.log import Logger

if TYPE_CHECKING:
    from wsrelay.relay.relay import Relay

log = Logger()

GRACE: Final = 1.0
"""Seconds for aborted sessions to be over; a turn of the reactor is enough."""

REASON: Final = "the relay is stopping"


class Drain:
    """
    Closes every session of a relay, spread evenly over *timeout* seconds.

    The order is random, so that the clients of one upstream do not all come back
    together.  A session that does not end by itself is aborted ``close_timeout`` after
    the last one was closed.

    :param timeout: seconds; 0 closes all at once.
    """

    def __init__(self, relay: Relay, timeout: float) -> None:
        self._relay = relay
        self._timeout = timeout
        self._done: Deferred[None] = Deferred()
        self._timer: IDelayedCall | None = None
        self._began_at = relay.reactor.seconds()
        self._sessions = list(relay.sessions.values())
        random.shuffle(self._sessions)
        self._closed = 0

    def begin(self) -> Deferred[None]:
        """
        Refuse those who are not answered yet, and close the first session.

        :returns: fires when no session is left.
        """
        relay = self._relay
        log.info(
            "draining {count} sessions over {seconds} seconds",
            count=len(self._sessions),
            seconds=self._timeout,
        )
        relay.is_draining = True
        for opening in list(relay.openings):
            opening.refuse(503, "The relay is stopping; connect again.")
        relay.on_empty = self._finish
        if relay.sessions:
            self._step()
        else:
            self._finish()
        return self._done

    def hurry(self) -> None:
        """End everything now: the second signal came, or time is over."""
        log.warn("aborting {count} sessions", count=len(self._relay.sessions))
        for session in list(self._relay.sessions.values()):
            session.abort()
        if self._relay.sessions:
            self._after(GRACE, self._finish)  # on_empty comes before, a turn from now
        else:
            self._finish()

    def _step(self) -> None:
        """Close the sessions whose turn it is, and plan the next turn."""
        count = len(self._sessions)
        elapsed = self._relay.reactor.seconds() - self._began_at
        share = elapsed / self._timeout if self._timeout else 1.0
        # At least one: a timer may come a rounding error too early.
        due = min(count, max(int(share * count), self._closed) + 1)
        for session in self._sessions[self._closed : due]:
            session.close(session.route.drain_close_code, REASON, "drain")
        self._closed = due
        if due < count:
            self._after(due * self._timeout / count - elapsed, self._step)
        else:
            self._after(max(each.route.close_timeout for each in self._sessions), self.hurry)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._relay.reactor.callLater(max(seconds, 0.0), action)

    def _finish(self) -> None:
        self._stop_timer()
        if not self._done.called:
            self._done.callback(None)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
