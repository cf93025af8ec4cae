"""How long a session may live: without data, at all, and by what its policies said."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from wsrelay.wire import close

if TYPE_CHECKING:
    from wsrelay.relay.session import Session

EXPIRY_LOOK: Final = 60.0
"""Longest time, in seconds, between two looks at the clock that permissions expire by."""


@define(eq=False)
class Lifetime:
    """
    Closes a session when one of its times is over.

    :ivar idle: ``idle_timeout``; counted from the last data.
    :ivar age: ``max_session_age``.
    :ivar expiry: until a permission ends, in seconds since the epoch.
    """

    session: Session
    _idle: IDelayedCall | None = field(default=None, init=False)
    _age: IDelayedCall | None = field(default=None, init=False)
    _expiry: IDelayedCall | None = field(default=None, init=False)

    def begin(self) -> None:
        """Begin to count, once the session runs."""
        route, reactor = self.session.route, self.session.reactor
        if route.idle_timeout is not None:
            self._idle = reactor.callLater(route.idle_timeout, self._check_idle, route.idle_timeout)
        if route.max_session_age is not None:
            # Sessions that opened together, after a restart, must not come back together.
            jitter = route.session_age_jitter * random.random()
            self._age = reactor.callLater(route.max_session_age * (1 - jitter), self._too_old)
        if self.session.facts.expires_at is not None:
            self._check_expiry(self.session.facts.expires_at)

    def end(self) -> None:
        """Count no more."""
        for timer in (self._idle, self._age, self._expiry):
            if timer is not None and timer.active():
                timer.cancel()

    def _check_idle(self, idle_timeout: float) -> None:
        session = self.session
        left = session.pump.last_data() + idle_timeout - session.reactor.seconds()
        if left > 0:
            self._idle = session.reactor.callLater(left, self._check_idle, idle_timeout)
        else:
            session.close(session.route.idle_close_code, "idle", "idle")

    def _too_old(self) -> None:
        self.session.close(close.GOING_AWAY, "the session is old; connect again", "age")

    def _check_expiry(self, expires_at: float) -> None:
        """Look at the clock, which may be set while the session lives."""
        left = expires_at - time.time()
        if left > 0:
            wait = min(left, EXPIRY_LOOK)
            self._expiry = self.session.reactor.callLater(wait, self._check_expiry, expires_at)
        else:
            self.session.close(close.POLICY_VIOLATION, "what let you in has expired", "expired")
