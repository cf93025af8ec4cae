"""Why a session ended, and what is said of it: to the other leg, and to logs."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from wsrelay.relay.pump import Side
from wsrelay.wire import close
from wsrelay.wire.faults import Violation

LOST_CODE: Final = {Side.CLIENT: close.GOING_AWAY, Side.UPSTREAM: close.INTERNAL_ERROR}
"""What the other side is told when this one vanished or broke the protocol."""


@frozen
class Cause:
    """Why a session ended: the close code (1005 and 1006 as for APIs), its reason, and who."""

    code: int
    reason: str
    initiator: str  # "client", "upstream" or "relay:why"


def cause_of(violation: Violation, side: Side) -> Cause:
    """Return the cause that a violation by *side* is."""
    if violation.code == close.POLICY_VIOLATION:
        return Cause(violation.code, violation.reason, "relay:rate")
    kind = "too-big" if violation.code == close.TOO_BIG else "protocol"
    return Cause(violation.code, violation.reason, f"relay:{kind}-{side.value}")


def fault_reason(violation: Violation, side: Side) -> bytes:
    """Return the reason that goes with `LOST_CODE` after a violation by *side*."""
    is_rate = violation.code == close.POLICY_VIOLATION
    return lost_reason(side, "sent too much" if is_rate else "broke the protocol")


def lost_reason(side: Side, what: str) -> bytes:
    """Return the reason that goes with `LOST_CODE`."""
    return f"the {side.value} {what}".encode()
