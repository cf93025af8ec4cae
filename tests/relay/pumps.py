"""The same tests for every pump: see `with_every_pump`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import ROUTE, Conversation, Ground, PythonGround
from wsrelay.config.model import RouteConfig

try:
    from tests.relay.sockets import NativeGround
except ImportError as error:
    NATIVE: Callable[[Clock], Ground] | None = None
    WHY_NOT = str(error)
else:
    NATIVE, WHY_NOT = NativeGround, ""

needs_native = pytest.mark.skipif(NATIVE is None, reason=f"no native pump: {WHY_NOT}")
"""Skips tests where it was not built; one test in test_native_pump.py fails under CI then."""

GROUNDS = [
    pytest.param(PythonGround, id="python"),
    pytest.param(NATIVE, id="native", marks=needs_native),
]
"""What makes the surroundings of each pump, for tests that are functions."""


class GroundTestCase(SynchronousTestCase):
    """Makes what a test's pumps need, and clears it away."""

    lay_ground: Callable[[Clock], Ground] = PythonGround

    def ground(self, clock: Clock) -> Ground:
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
            self.ground(clock),
            clock,
            route,
            bits=bits,
            from_client=from_client,
            from_upstream=from_upstream,
        )


Case = TypeVar("Case", bound=type[GroundTestCase])


def with_every_pump(case: Case) -> Case:
    """Run the tests of *case* with the native pump, too, in a class named after it."""
    name = f"Native{case.__name__}"
    facts = {"lay_ground": NATIVE, "__module__": case.__module__, "__doc__": case.__doc__}
    setattr(sys.modules[case.__module__], name, needs_native(type(name, (case,), facts)))
    return case
