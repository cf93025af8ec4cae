"""What a session leaves behind."""

from __future__ import annotations

import gc
import weakref

from attrs import evolve

from tests.relay.pumps import NATIVE, GroundTestCase, needs_native
from tests.relay.support import ROUTE
from wsrelay.relay.pump import Side


@needs_native
class MemoryTests(GroundTestCase):
    """A session of the native pump goes with its end."""

    lay_ground = NATIVE

    def test_an_ended_session_does_not_wait_for_the_garbage_collector(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        pair = self.converse(evolve(ROUTE, keepalive=10.0))
        pair.advance(10)  # there are pings by now
        known = [weakref.ref(each) for each in (pair.session, pair.session.pump)]
        for side in Side:
            pair.say_close(side, 1000)
        for side in (Side.UPSTREAM, Side.CLIENT):
            pair.end(side)
        pair.assert_over()
        pair.ended.clear()
        del pair
        self.assertEqual([each() for each in known], [None, None])
