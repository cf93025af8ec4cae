"""A leg for whole messages that may send no faster than the paces of its route allow."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime
from typing_extensions import override

from wsrelay.messages.leg import MessageLeg
from wsrelay.relay.paced_leg import PacedLeg
from wsrelay.relay.pump import PumpOwner, Side
from wsrelay.wire.frames import Scanner
from wsrelay.wire.paced_frames import PacedScanner


class PacedMessageLeg(PacedLeg, MessageLeg):
    """A `MessageLeg` that may send no faster than the paces of its route allow."""

    __slots__ = ()

    @property
    @override
    def _pause(self) -> float:
        # What was let through, and had to wait for something else, need not wait for more room.
        return 0.0 if self._events or self.messages.has_data else super()._pause

    @override
    def lost(self) -> None:
        MessageLeg.lost(self)  # which knows of what still has to wait


def message_leg(
    side: Side, transport: Any, scanner: Scanner, owner: PumpOwner, reactor: IReactorTime
) -> MessageLeg:
    """Make a leg, of the kind that its scanner needs."""
    if isinstance(scanner, PacedScanner):
        return PacedMessageLeg(side, transport, scanner, owner, reactor)
    return MessageLeg(side, transport, scanner, owner, reactor)
