"""One health check of one upstream, of the kind that its pool asks for."""

from __future__ import annotations

from wsrelay.health.base import Check, Done, Result, Target
from wsrelay.health.http import HTTPCheck
from wsrelay.health.tcp import TCPCheck
from wsrelay.health.websocket import WebSocketCheck

__all__ = ["Check", "Result", "Target", "begin_check"]

_KINDS: dict[str, type[Check]] = {
    "tcp": TCPCheck,
    "http": HTTPCheck,
    "websocket": WebSocketCheck,
}


def begin_check(target: Target, done: Done) -> Check:
    """
    Begin a check.

    :param done: is told the result, once, unless the check is cancelled before; perhaps
        before this returns.  What it raises is logged.
    """
    check = _KINDS[target.config.kind](target, done)
    check.begin()
    return check
