"""The relay's own pings on one leg, and the deadline for their pongs."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final, Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from wsrelay.relay.pump import Pump, Side

_MARK: Final = os.urandom(8)
"""Begins the payloads of this process, so that they are known from a peer's own pings:
those of another relay behind this one, for example."""


@frozen
class _Signs:
    """Signs of life of a leg, at one moment."""

    received: int
    sent: int
    stalls: int
    waiting: bool
    paused: bool


class HeartbeatOwner(Protocol):
    """What a heartbeat tells its session."""

    def rtt_measured(self, side: Side, seconds: float) -> None:
        """Learn how long a ping and its pong took."""

    def pong_late(self, side: Side) -> None:
        """Learn, once, that a pong did not come in time."""


@define(eq=False)
class Heartbeat:
    """
    Pings one leg every *interval* seconds, less up to a fifth of it at random.

    The jitter keeps the pings of sessions that opened together apart, and never makes
    one later than *interval*, which others' idle timeouts are measured against.

    A pong that is not there after *timeout* seconds is late, unless the leg shows life in
    another way: bytes came from it, or it is taking, slowly, what stands before the ping,
    or the relay itself did not read it.
    """

    reactor: IReactorTime
    pump: Pump
    side: Side
    interval: float
    timeout: float
    send_ping: Callable[[bytes], None]
    owner: HeartbeatOwner
    _timer: IDelayedCall | None = field(default=None, init=False)
    _payload: bytes = field(default=b"", init=False)  # of the ping under way
    _sent_at: float = field(default=0.0, init=False)
    _seen: _Signs = field(default=_Signs(0, 0, 0, False, False), init=False)

    def stop(self) -> None:
        """Ping no more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._payload = b""

    def pong_received(self, payload: bytes) -> bool:
        """
        Take a pong.

        :returns: True if it answers the ping under way, False if it is not the relay's.
        """
        if payload != self._payload or not payload:
            # The answer to a ping that the peer's other traffic made obsolete.
            return payload.startswith(_MARK) and len(payload) == 12
        self.owner.rtt_measured(self.side, self.reactor.seconds() - self._sent_at)
        self.stop()
        self._timer = self.reactor.callLater(self.interval * random.uniform(0.8, 1.0), self.ping)
        return True

    def ping(self) -> None:
        """Send a ping: the first when the session says so, the others in a rhythm of its own."""
        self._payload = _MARK + random.getrandbits(32).to_bytes(4, "big")
        self._sent_at = self.reactor.seconds()
        self.send_ping(self._payload)
        self._seen = self._signs()
        self._timer = self.reactor.callLater(self.timeout, self._deadline)

    def _signs(self) -> _Signs:
        pump, side = self.pump, self.side
        waiting = pump.is_waiting(side)
        paused = pump.is_paused(side)
        return _Signs(pump.received(side), pump.sent(side), pump.stalls(side), waiting, paused)

    def _deadline(self) -> None:
        before, now = self._seen, self._signs()
        self._seen = now
        # What goes out shows life only if it had to wait for the peer: else the kernel took
        # it, whether anybody is there or not.
        waited = before.waiting or now.waiting or before.stalls != now.stalls
        takes = waited and before.sent != now.sent
        # One that is read again since a moment had no time to be heard yet.
        unheard = before.paused or now.paused
        if takes or before.received != now.received or unheard:
            self._timer = self.reactor.callLater(self.timeout, self._deadline)
        else:
            self._timer = None
            self.owner.pong_late(self.side)
