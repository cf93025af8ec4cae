"""Time for timers: a clock that nobody can set."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.base import ReactorBase

__all__ = ["follow_monotonic"]


def follow_monotonic(reactor: Any) -> None:
    """
    Have the timers of a reactor follow the monotonic clock; once is enough, more do no harm.

    Twisted's follow the time of day.  When that is set, by an operator, by NTP or by a
    virtual machine that resumes, all timers would fire at once, or hours late: pings would
    count as unanswered, and time limits as passed or as never coming.

    Timers that are planned already keep the time that is left to them.  ``reactor.seconds()``
    is no time of day any more: whoever needs a date asks `time.time`.  A whole process
    has one reactor, so that only a program may decide this: ``twistd wsrelay`` does, and what
    embeds the relay may.

    :param reactor: one that is not Twisted's own (a test's clock) is left as it is.
    """
    if not isinstance(reactor, ReactorBase):
        return
    shift = time.monotonic() - reactor.seconds()
    # Those that were cancelled, too: they are in the same heap, which stays in order only
    # if all are moved alike.
    for call in (*reactor._pendingTimedCalls, *reactor._newTimedCalls):
        call.time += shift
        call.seconds = time.monotonic
    reactor.seconds = time.monotonic
