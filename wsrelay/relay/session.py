"""
A session: a client leg, an upstream leg, and how the two end together.

The rules of the end, in one place:

* The first cause decides: a peer's close frame, a lost leg, a violation, or the relay's
  own reason (drain, idle, a late pong).  What comes later changes nothing.
* A close frame from one peer is forwarded to the other, and what that one answers is the
  answer: the relay makes up neither.
* A leg that is lost without a close frame becomes 1001 for the upstream, 1011 for the client.
* Each leg gets one close frame at most, between two data frames; a leg that was left
  inside a frame can get none and is aborted.
* Everything is over ``close_timeout`` seconds after the first cause.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport

from wsrelay.config.model import RouteConfig
from wsrelay.log import Logger
from wsrelay.pools.pool import Upstream
from wsrelay.relay.causes import LOST_CODE, Cause, cause_of, fault_reason, lost_reason
from wsrelay.relay.facts import Facts, Observer
from wsrelay.relay.heartbeat import Heartbeat
from wsrelay.relay.legs import ClientLeg, UpstreamLeg
from wsrelay.relay.lifetime import Lifetime
from wsrelay.relay.pump import Pump, PumpFactory, PumpOptions, Side
from wsrelay.wire import close
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import ANY_BITS

log = Logger()

ANSWER_SHARE: Final = 0.8
"""Part of ``close_timeout`` that a peer may take to answer a forwarded close frame; the
rest is for answering the one that is waiting."""


@define(eq=False)
class _Half:
    """One leg of a session, and how far its closing handshake is."""

    side: Side
    leg: ClientLeg | UpstreamLeg
    heart: Heartbeat | None = None
    words: tuple[int | None, bytes] | None = None  # of the close frame that it sent
    told: bool = False  # it was sent a close frame
    heard: bool = False  # it sent one, or will not be heard any more
    shut: bool = False  # its transport is ending
    gone: bool = False  # its transport has ended


@define(eq=False)
class Session:
    """
    One client's conversation with one upstream.

    Made when both opening handshakes are over; `start` moves the first byte.
    """

    facts: Facts
    route: RouteConfig
    upstream: Upstream
    reactor: IReactorTime
    observer: Observer
    ended: Callable[[Session], None]
    """Called once, when both legs are gone."""
    id: str = field(init=False)
    cause: Cause | None = field(default=None, init=False)
    rtt: dict[Side, float] = field(factory=dict, init=False)
    """Seconds of the last ping and pong on each leg, once there was one."""
    opened_at: float = field(init=False)
    pump: Pump = field(init=False)
    _is_opaque: bool = field(init=False)  # its extensions could make anything of a frame
    _halves: dict[Side, _Half] = field(init=False)
    _ping_timer: IDelayedCall | None = field(default=None, init=False)  # for the first ones
    _lifetime: Lifetime | None = field(default=None, init=False)  # while it runs
    _close_timer: IDelayedCall | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)

    def join(
        self,
        make_pump: PumpFactory,
        client: ITransport,
        upstream: ITransport,
        options: PumpOptions,
    ) -> None:
        """Put the pump and the two Autobahn legs between the transports."""
        self.id = self.facts.id
        self.opened_at = self.reactor.seconds()
        self.pump = make_pump(self, client, upstream, options, self.reactor)
        self._is_opaque = options.bits == ANY_BITS
        near, far = ClientLeg(), UpstreamLeg()
        near.open(self)
        far.open(self)
        self._halves = {
            Side.CLIENT: _Half(Side.CLIENT, near),
            Side.UPSTREAM: _Half(Side.UPSTREAM, far),
        }

    def start(self, head: bytes, from_client: bytes, from_upstream: bytes) -> None:
        """Begin, with the client's 101 and what arrived behind the request and the 101."""
        if self.route.keepalive is not None:
            # The first pings may come early; from then on each leg has a rhythm of its own.
            self._ping_timer = self.reactor.callLater(
                self.route.keepalive * random.uniform(0.4, 1.0), self._begin_pings
            )
        self.pump.start(head, from_client, from_upstream)
        route = self.route
        times = (route.idle_timeout, route.max_session_age, self.facts.expires_at)
        if times != (None, None, None) and self.cause is None:
            self._lifetime = Lifetime(self)
            self._lifetime.begin()

    # told by the pump

    def control_received(self, side: Side, frame: bytes) -> None:
        """Let Autobahn read a control frame; its failure ends this session only."""
        try:
            self._halves[side].leg.dataReceived(frame)
        except Exception:
            log.failure("session {id}: a control frame could not be handled", id=self.id)
            self.close(close.INTERNAL_ERROR, "internal error", "error")

    def violated(self, side: Side, violation: Violation) -> None:
        """Close the violator's leg with the code it earned, the other with that of a loss."""
        half = self._halves[side]
        half.heard = True
        half.words = None
        if self.cause is None:
            self._begin_end(cause_of(violation, side))
        reason = close.encode_reason(violation.reason)
        self._tell(half, violation.code, reason)
        far = self._halves[side.other]
        self._tell(far, LOST_CODE[side], fault_reason(violation, side))
        self._settle()

    def pump_failed(self) -> None:
        """Log the exception that is being handled, and end both legs at once."""
        log.failure("session {id}: the pump failed", id=self.id)
        self.abort()

    def leg_lost(self, side: Side) -> None:
        """Say goodbye to the other leg when one has ended."""
        half, far = self._halves[side], self._halves[side.other]
        half.gone = half.heard = True
        half.leg.end()
        if self.cause is None:
            self._begin_end(Cause(close.ABNORMAL, "connection lost", side.value))
        if not far.gone and self.pump.is_cut(far.side):
            self.pump.abort(far.side)
        elif far.words is not None:
            self._tell(far, *far.words)
        else:
            self._tell(far, LOST_CODE[side], lost_reason(side, "is gone"))
        self._settle()

    def leg_slow(self, side: Side) -> None:
        """End the session with a leg that takes nothing, which would keep memory for ever."""
        self.close(close.TRY_AGAIN_LATER, f"the {side.value} takes no data", "slow")

    # told by the Autobahn legs

    def frame_to_send(self, side: Side, frame: bytes) -> None:
        """Send a frame of a leg's at the next frame boundary."""
        self.pump.send(side, frame)

    def ping_received(self, side: Side, payload: bytes) -> None:
        """Relay a peer's ping, or answer it where the route says so."""
        if self.route.ping == "answer":
            self._halves[side].leg.sendPong(payload)
        else:
            self._halves[side.other].leg.sendPing(payload)

    def pong_received(self, side: Side, payload: bytes) -> None:
        """Relay a pong, unless it answers a ping of the relay's own."""
        heart = self._halves[side].heart
        if heart is None or not heart.pong_received(payload):
            self._halves[side.other].leg.sendPong(payload)

    def close_received(self, side: Side, code: int | None, reason: bytes) -> None:
        """Forward a close frame; the other side's answer comes back the same way."""
        half = self._halves[side]
        half.heard = True
        half.words = (code, reason)
        if self.cause is None:
            api_code = close.NO_STATUS if code is None else code
            self._begin_end(Cause(api_code, reason.decode(), side.value))
        self._tell(self._halves[side.other], code, reason)
        self._settle()

    # told by the relay

    def close(self, code: int, reason: str, why: str) -> None:
        """
        End the session with a close frame to both legs, each at its next frame boundary.

        Does nothing when the session is ending already.

        :param why: one word for the log: ``drain``, ``idle``, …
        """
        if self.cause is not None:
            return
        self._begin_end(Cause(code, reason, f"relay:{why}"))
        encoded = close.encode_reason(reason)
        for half in self._halves.values():
            self._tell(half, code, encoded)
        self._settle()

    def publish(self, side: Side, payload: bytes, is_binary: bool) -> str:
        """
        Send a message of the relay's own to one peer, between two messages of the other's.

        :returns: ``sent``: it is on its way, or waits for the end of a message; ``busy``:
            too much waits already for that peer; ``ending``: the session is; ``extension``:
            the peers have agreed on one that the relay does not know, and what is no frame
            of theirs might mean something else to them.
        """
        if self.is_ending:
            return "ending"
        if self._is_opaque:
            return "extension"
        return "sent" if self.pump.inject(side, payload, is_binary) else "busy"

    @property
    def is_ending(self) -> bool:
        """Whether there is a cause for its end already."""
        return self.cause is not None

    @property
    def is_over(self) -> bool:
        """Whether both legs are gone."""
        return self._over

    def abort(self) -> None:
        """End both legs at once."""
        if self.cause is None:
            self._begin_end(Cause(close.ABNORMAL, "aborted", "relay:abort"))
        for side in Side:
            self.pump.abort(side)

    # told by the heartbeats, and timers

    def rtt_measured(self, side: Side, seconds: float) -> None:
        """Note how long a ping and its pong took."""
        self.rtt[side] = seconds
        if side is Side.UPSTREAM:
            self.upstream.rtt = seconds
        self.observer.pinged(side, seconds)

    def pong_late(self, side: Side) -> None:
        """End the session with a leg that seems dead."""
        self.observer.pinged(side, None)
        self.close(close.INTERNAL_ERROR, f"no pong from the {side.value}", "pong")

    def _begin_pings(self) -> None:
        self._ping_timer = None
        interval, timeout = self.route.keepalive, self.route.keepalive_timeout
        assert interval is not None
        for side, half in self._halves.items():
            half.heart = Heartbeat(
                self.reactor, self.pump, side, interval, timeout, half.leg.sendPing, self
            )
            half.heart.ping()

    def _answer_time_over(self) -> None:
        """Answer a peer that waits for the other one's close frame."""
        self._close_timer = self.reactor.callLater(
            self.route.close_timeout * (1 - ANSWER_SHARE), self._close_time_over
        )
        for half in self._halves.values():
            if half.words is not None:
                self._tell(half, *half.words)
        self._settle()

    def _close_time_over(self) -> None:
        self._close_timer = None
        for side in Side:
            self.pump.abort(side)

    # the end

    def _begin_end(self, cause: Cause) -> None:
        """Note the first cause, and give the end its time."""
        self.cause = cause
        for half in self._halves.values():
            if half.heart is not None:
                half.heart.stop()
        _cancel(self._ping_timer)
        lifetime, self._lifetime = self._lifetime, None  # a circle
        if lifetime is not None:
            lifetime.end()
        self._close_timer = self.reactor.callLater(
            self.route.close_timeout * ANSWER_SHARE, self._answer_time_over
        )

    def _tell(self, half: _Half, code: int | None, reason: bytes) -> None:
        """Send the one close frame that a leg gets."""
        if half.told or half.gone:
            return
        half.told = True
        half.leg.say_close(code, reason)
        self.pump.finish(half.side)

    def _settle(self) -> None:
        """End the transports whose closing handshake is over, and the session after both."""
        near, far = self._halves.values()
        for half in (near, far):
            if not (half.told and half.heard) or half.shut or half.gone:
                continue
            # RFC 6455 section 7.1.1: the server ends the TCP connection first.  A
            # violator is not waited for: what it still sends could be anything.
            if half is near or half.words is None:
                half.shut = True
                self.pump.shut(half.side)
        if near.gone and far.gone and not self._over:
            self._over = True
            near.heart = far.heart = None  # circles, as in `_Leg.end`
            _cancel(self._close_timer)
            self.ended(self)


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
