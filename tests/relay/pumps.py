"""The same tests for every pump: see `with_every_pump`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import (
    BINARY,
    HIGH_WATER,
    ROUTE,
    Conversation,
    Ground,
    PythonGround,
    connect,
    frame_from,
    settle,
)
from wsrelay.config.model import RouteConfig
from wsrelay.relay.pump import PumpOptions, Side
from wsrelay.wire.faults import Limits, Violation

try:
    from tests.relay.sockets import NativeGround
    from tests.relay.tls_sockets import TLSGround
except ImportError as error:
    NATIVE: Callable[[Clock], Ground] | None = None
    TLS: Callable[[Clock], Ground] | None = None
    WHY_NOT = str(error)
else:
    NATIVE, TLS, WHY_NOT = NativeGround, TLSGround, ""

needs_native = pytest.mark.skipif(NATIVE is None, reason=f"no native pump: {WHY_NOT}")
"""Skips tests where it was not built; one test in test_native_pump.py fails under CI then."""

GROUNDS = [
    pytest.param(PythonGround, id="python"),
    pytest.param(NATIVE, id="native", marks=needs_native),
    pytest.param(TLS, id="tls", marks=needs_native),
]
"""What makes the surroundings of each pump, for tests that are functions."""


WHOLE = 1000
LONG = bytes(range(250)) * 20
"""A payload over `WHOLE`, so that its frame is passed on in pieces."""
LIMITS = Limits(whole_frames=WHOLE)


class GroundTestCase(SynchronousTestCase):
    """Makes what a test's pumps need, and clears it away."""

    lay_ground: Callable[[Clock], Ground] = PythonGround

    def new_ground(self, clock: Clock) -> Any:
        ground = type(self).lay_ground(clock)
        self.addCleanup(ground.close)
        return ground

    def converse(
        self,
        route: RouteConfig = ROUTE,
        *,
        bits: int = 0,
        from_client: bytes = b"",
        from_upstream: bytes = b"",
    ) -> Conversation:
        """Begin a session between two peers; see `Conversation`."""
        clock = Clock()
        return Conversation(
            self.new_ground(clock),
            clock,
            route,
            bits=bits,
            from_client=from_client,
            from_upstream=from_upstream,
        )


@define(eq=False)
class Owner:
    """Notes what the pump tells, and does what a test says when it does."""

    told: list[tuple[Side, Any]] = field(factory=list)
    on_control: Callable[[Side, bytes], None] = lambda side, frame: None
    on_violation: Callable[[Side], None] = lambda side: None
    on_lost: Callable[[Side], None] = lambda side: None
    on_slow: Callable[[Side], None] = lambda side: None
    failures: list[BaseException | None] = field(factory=list)

    def control_received(self, side: Side, frame: bytes) -> None:
        self.told.append((side, frame))
        self.on_control(side, frame)

    def violated(self, side: Side, violation: Violation) -> None:
        self.told.append((side, violation))
        self.on_violation(side)

    def pump_failed(self) -> None:
        self.failures.append(sys.exc_info()[1])

    def leg_lost(self, side: Side) -> None:
        self.told.append((side, "lost"))
        self.on_lost(side)

    def leg_slow(self, side: Side) -> None:
        self.told.append((side, "slow"))
        self.on_slow(side)


class PumpTestCase(GroundTestCase):
    """Gives each test a pump between two transports."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.ground = self.new_ground(self.clock)
        self.transports = {side: self.ground.transport() for side in Side}
        self.join()

    def join(self, limits: Limits = LIMITS, slow: float | None = None) -> None:
        """Make the pump between the transports; both may send as *limits* say."""
        self.pump = self.ground.make_pump(
            self.owner,
            self.transports[Side.CLIENT],
            self.transports[Side.UPSTREAM],
            PumpOptions(0, limits, limits, slow),
            self.clock,
        )
        for side, transport in self.transports.items():
            connect(self.pump, side, transport)

    def tearDown(self) -> None:
        self.assertEqual(self.owner.failures, [])

    def start(self, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        self.pump.start(b"", from_client, from_upstream)
        self.settle()

    def settle(self) -> None:
        settle(*self.transports.values())

    def send(self, side: Side, *pieces: bytes) -> None:
        for piece in pieces:
            self.transports[side].peer_sends(piece)
        self.settle()

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in steps between which the peers do what they can."""
        until = self.clock.seconds() + seconds
        while (left := until - self.clock.seconds()) > 1e-9:
            self.clock.advance(min(step, left))
            self.settle()

    def got(self, side: Side) -> bytes:
        return bytes(self.transports[side].received)

    def kept(self, side: Side) -> int:
        """Count the bytes for a peer that the relay keeps; true while only data flows to it."""
        given = self.pump.sent(side) - self.transports[side].unsent
        return self.pump.received(side.other) - int(given)

    def flood(self, side: Side) -> int:
        """
        Let a peer send until it is no longer read, which must come soon.

        :returns: how many bytes it sent, or is about to.
        """
        frame = frame_from(side, BINARY, LONG)
        count = 2 * HIGH_WATER // len(frame)
        for _ in range(count):
            self.send(side, frame)
        self.assertFalse(self.transports[side].reading)
        self.assertTrue(self.pump.is_paused(side))
        self.assertLess(self.pump.received(side), count * len(frame))
        return count * len(frame)


Case = TypeVar("Case", bound=type[GroundTestCase])


def with_every_pump(case: Case) -> Case:
    """Run the tests of *case* natively, too: between sockets, and between TLS connections."""
    _add_twin("TLS", case, TLS)
    return with_the_native_pump(case)


def with_the_native_pump(case: Case) -> Case:
    """Run the tests of *case* with the native pump, too, between sockets."""
    _add_twin("Native", case, NATIVE)
    return case


def _add_twin(word: str, case: Case, lay_ground: Any) -> None:
    name = f"{word}{case.__name__}"
    facts = {"lay_ground": lay_ground, "__module__": case.__module__, "__doc__": case.__doc__}
    setattr(sys.modules[case.__module__], name, needs_native(type(name, (case,), facts)))
