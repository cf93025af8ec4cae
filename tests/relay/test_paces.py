"""Every pump: a client that sends more than it may, and a leg that takes nothing."""

from __future__ import annotations

import gc
import os
import re
import select
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.relay.pumps import (
    LONG,
    NATIVE,
    TLS,
    WHOLE,
    GroundTestCase,
    Owner,
    PumpTestCase,
    needs_native,
    with_every_pump,
)
from tests.relay.support import (
    BINARY,
    CLOSE,
    PING,
    ROUTE,
    TEXT,
    Conversation,
    close_payload,
    connect,
    data_of,
    frame_from,
    frames_in,
    settle,
)
from wsrelay.config.model import Rate
from wsrelay.relay.pump import PumpOptions, Side
from wsrelay.wire.faults import Limits, Violation
from wsrelay.wire.paces import Pace

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
TEN = Pace(10.0, 10.0)
MESSAGES = Limits(WHOLE, messages=TEN, throttles=True)
CLOSING = Limits(WHOLE, messages=TEN)
BYTES = Limits(WHOLE, bytes=Pace(1000.0, 1000.0), throttles=True)
FEW = frame_from(CLIENT, TEXT, b"")  # six bytes


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def many(count: int) -> bytes:
    return b"".join(frame_from(CLIENT, TEXT, each) for each in numbered(count))


@with_every_pump
class ClosingTests(PumpTestCase):
    """What goes over is a violation."""

    def test_what_is_within_the_rate_has_passed_and_what_is_over_has_not(self) -> None:
        self.join(CLOSING)
        self.start()
        self.send(CLIENT, many(1000))
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), numbered(10))
        violation = Violation(1008, "more than 10 messages a second")
        self.assertEqual(self.owner.told, [(CLIENT, violation)])
        self.pass_time(5)
        self.send(CLIENT, many(1))
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 10)
        self.assertEqual(len(self.owner.told), 1)

    def test_who_keeps_to_the_rate_is_not_closed(self) -> None:
        self.join(CLOSING)
        self.start()
        for _ in range(20):
            self.send(CLIENT, many(5))
            self.pass_time(0.5)
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 100)
        self.assertEqual(self.owner.told, [])

    def test_what_came_with_the_handshake_counts(self) -> None:
        self.join(CLOSING)
        self.start(many(11))
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 10)
        self.assertEqual([each.code for _, each in self.owner.told], [1008])

    def test_pings_count_as_bytes(self) -> None:
        self.join(evolve(BYTES, throttles=False))
        self.start()
        ping = frame_from(CLIENT, PING, b"x" * 94)
        self.send(CLIENT, ping * 40)
        self.assertEqual(self.owner.told[:-1], [(CLIENT, ping)] * 10)
        violation = Violation(1008, "more than 1000 bytes a second")
        self.assertEqual(self.owner.told[-1], (CLIENT, violation))

    def test_bytes_can_go_over_inside_a_frame_that_is_passed_on_in_pieces(self) -> None:
        self.join(evolve(BYTES, throttles=False))
        self.start()
        frame = frame_from(CLIENT, BINARY, LONG * 100)
        self.send(CLIENT, frame)
        self.assertEqual(self.got(UPSTREAM), frame[:1000])
        self.assertEqual([each.code for _, each in self.owner.told], [1008])
        self.send(CLIENT, frame * 2)
        self.assertEqual(self.got(UPSTREAM), frame[:1000])
        self.assertEqual(len(self.owner.told), 1)


@with_every_pump
class ThrottleTests(PumpTestCase):
    """What goes over waits."""

    def count(self) -> int:
        return len(frames_in(self.got(UPSTREAM))[0])

    def test_many_messages_in_one_read_pass_in_their_time_and_in_order(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.send(CLIENT, many(100))
        for second in range(9):
            self.assertEqual(self.count(), 10 * (second + 1))
            self.assertTrue(self.pump.is_paused(CLIENT))
            self.pass_time(1.0, 0.125)
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), numbered(100))
        self.assertFalse(self.pump.is_paused(CLIENT))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.owner.told, [])

    def test_one_that_waits_is_not_read(self) -> None:
        self.join(MESSAGES)
        self.start()
        for _ in range(100):
            self.send(CLIENT, FEW * 2000)
        self.assertLessEqual(self.pump.received(CLIENT), 65536 + 17 * 1024)
        self.assertLessEqual(self.pump.totals().buffered, 65536 + 17 * 1024)
        self.assertGreater(self.pump.totals().buffered, 10_000)

    def test_the_other_direction_is_not_held_up(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.send(CLIENT, many(100))
        frame = frame_from(UPSTREAM, TEXT, b"down")
        self.send(UPSTREAM, frame)
        self.assertEqual(self.got(CLIENT), frame)

    def test_bytes_wait_even_inside_a_frame(self) -> None:
        self.join(BYTES)
        self.start()
        frame = frame_from(CLIENT, BINARY, bytes(9992))
        self.send(CLIENT, frame)
        for second in range(9):
            self.assertEqual(len(self.got(UPSTREAM)), 1000 * (second + 1))
            self.pass_time(1.0, 0.125)
        self.assertEqual(self.got(UPSTREAM), frame)

    def test_half_a_second_gives_half_as_much(self) -> None:
        self.join(BYTES)
        self.start()
        self.send(CLIENT, frame_from(CLIENT, BINARY, bytes(9992)))
        self.pass_time(0.5)
        self.assertEqual(len(self.got(UPSTREAM)), 1500)

    def test_a_frame_that_is_held_until_it_is_whole_comes_whole_in_the_end(self) -> None:
        self.join(evolve(BYTES, whole_frames=5000))
        self.start()
        frame = frame_from(CLIENT, BINARY, bytes(4992))
        self.send(CLIENT, frame[:3000], frame[3000:])
        self.pass_time(3.75)
        self.assertEqual(self.got(UPSTREAM), b"")
        self.pass_time(0.5)
        self.assertEqual(self.got(UPSTREAM), frame)

    def test_pings_wait_as_well(self) -> None:
        self.join(BYTES)
        self.start()
        self.send(CLIENT, frame_from(CLIENT, PING, b"x" * 94) * 40)
        self.assertEqual(len(self.owner.told), 10)
        self.pass_time(3.0)
        self.assertEqual(len(self.owner.told), 40)

    def test_a_short_time_is_enough_for_a_fast_pace(self) -> None:
        self.join(evolve(MESSAGES, messages=Pace(1000.0, 1000.0)))
        self.start()
        self.send(CLIENT, FEW * 3000)
        self.pass_time(2.0, 0.0625)
        self.assertEqual(self.count(), 3000)

    def test_a_clock_that_is_set_back_stops_nobody(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.pass_time(100)
        self.send(CLIENT, many(100))
        self.clock.rightNow -= 50
        self.settle()
        self.assertEqual(self.count(), 10)

    def test_throttles_are_counted_and_are_no_pauses(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.send(CLIENT, many(30))
        self.pass_time(3.0)
        self.send(CLIENT, many(15))
        totals = self.pump.totals()
        self.assertEqual((totals.throttles, totals.client_pauses), (2, 0))

    def test_a_reset_is_noticed(self) -> None:
        self.join(evolve(MESSAGES, messages=Pace(0.01, 1.0)))
        self.start()
        self.send(CLIENT, many(100))
        self.transports[CLIENT].peer_resets()
        self.settle()
        self.pass_time(10.0)
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertEqual(self.count(), 1)
        self.assertEqual(self.pump.totals().buffered, 0)

    def test_an_end_comes_behind_what_had_to_wait(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.transports[CLIENT].peer_sends(many(30))
        self.transports[CLIENT].peer_ends()
        self.settle()
        self.assertEqual(self.owner.told, [])
        self.pass_time(3.0)
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), numbered(30))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_when_nothing_is_passed_on_any_more_nothing_waits(self) -> None:
        self.join(evolve(MESSAGES, messages=Pace(0.01, 1.0)))
        self.start()
        close = frame_from(CLIENT, CLOSE, close_payload(1000))
        self.send(CLIENT, many(100) + close)
        self.assertEqual(self.owner.told, [])
        self.pump.send(UPSTREAM, frame_from(CLIENT, CLOSE))
        self.pump.finish(UPSTREAM)
        self.pass_time(0.01)
        self.assertEqual(self.owner.told, [(CLIENT, close)])
        self.assertEqual(self.count(), 2)

    def test_when_the_upstream_is_lost_nothing_waits(self) -> None:
        self.join(evolve(MESSAGES, messages=Pace(0.01, 1.0)))
        self.start()
        close = frame_from(CLIENT, CLOSE, close_payload(1000))
        self.send(CLIENT, many(100) + close)
        self.transports[UPSTREAM].peer_resets()
        self.settle()
        self.pass_time(0.01)
        self.assertEqual(self.owner.told, [(UPSTREAM, "lost"), (CLIENT, close)])

    def test_an_upstream_that_takes_nothing_holds_up_what_waited_too(self) -> None:
        self.join(evolve(BYTES, bytes=Pace(1e6, 2e5)))
        self.start()
        self.transports[UPSTREAM].stalled = True
        frame = frame_from(CLIENT, BINARY, bytes(600_000))
        self.send(CLIENT, frame)
        self.pass_time(5.0)
        self.assertTrue(self.pump.is_paused(CLIENT))
        self.transports[UPSTREAM].stalled = False
        self.settle()
        self.pass_time(5.0)
        self.assertEqual(self.got(UPSTREAM), frame)

    def test_a_session_that_is_aborted_leaves_no_timer(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.send(CLIENT, many(100))
        for side in Side:
            self.pump.abort(side)
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual({told for _, told in self.owner.told}, {"lost"})
        self.assertEqual(self.count(), 10)


class EndedTests(PumpTestCase):
    """The Python pump learns of the end of TLS behind what has to wait, and in the same read."""

    def setUp(self) -> None:
        super().setUp()
        self.join(MESSAGES)
        self.start()
        self.send(CLIENT, many(30))
        self.transports[CLIENT]._lose(Failure(ConnectionDone()))

    def test_what_waits_still_passes_in_its_time_and_then_comes_the_end(self) -> None:
        frame = frame_from(UPSTREAM, BINARY, LONG * 20)
        self.send(UPSTREAM, frame, frame)
        self.assertFalse(self.pump.is_paused(UPSTREAM))
        self.pass_time(1.75)
        self.assertEqual(self.owner.told, [])
        self.pass_time(1.0)
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), numbered(30))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_can_be_aborted(self) -> None:
        self.pump.abort(CLIENT)
        self.pass_time(0.01)
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_ends_at_once_when_nothing_is_passed_on_any_more(self) -> None:
        self.pump.finish(UPSTREAM)
        self.pass_time(0.01)
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.pump.shut(CLIENT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_waits_for_an_upstream_that_is_full(self) -> None:
        self.transports[UPSTREAM].producer.pauseProducing()
        self.pass_time(30.0)
        self.assertEqual(self.owner.told, [])
        self.transports[UPSTREAM].producer.resumeProducing()
        self.pass_time(3.0)
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), numbered(30))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])


@needs_native
class TLSThrottleEndTests(PumpTestCase):
    """What only TLS can bring in one read."""

    lay_ground = TLS

    def test_an_end_in_the_same_read_comes_behind_what_has_to_wait(self) -> None:
        self.join(MESSAGES)
        self.start()
        client = self.transports[CLIENT]
        client.peer.send(many(30))
        client.peer.shutdown()
        client.socket.peer_sends(client.encrypted())
        self.settle()
        self.assertEqual(self.owner.told, [])
        self.assertTrue(self.pump.is_paused(CLIENT))
        self.pass_time(3.0)
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), numbered(30))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_what_twisted_had_read_counts_and_waits_behind_the_rest(self) -> None:
        self.join(BYTES)
        frame = frame_from(CLIENT, BINARY, LONG)
        self.start(frame)
        self.pump.received_from(CLIENT)(frame)
        self.settle()
        self.assertEqual(self.got(UPSTREAM), frame[:1000])
        self.pass_time(4.0)
        self.assertEqual(self.got(UPSTREAM), frame[:5000])
        self.pass_time(6.0)
        self.assertEqual(self.got(UPSTREAM), frame * 2)


class HubTestCase(PumpTestCase):
    """Gives each test a hub with more than one session."""

    lay_ground = NATIVE

    def another(self, limits: Limits) -> dict[Side, Any]:
        """Begin another session on the same hub."""
        transports = {side: self.ground.transport() for side in Side}
        options = PumpOptions(0, limits, Limits(WHOLE))
        pump = self.ground.make_pump(Owner(), *transports.values(), options, self.clock)
        for side, transport in transports.items():
            connect(pump, side, transport)
        pump.start(b"", b"", b"")
        return transports


@needs_native
class NativeThrottleEndTests(HubTestCase):
    """What only sockets can bring."""

    def test_a_client_that_takes_nothing_any_more_is_lost_with_what_waits(self) -> None:
        self.join(evolve(MESSAGES, messages=Pace(0.01, 1.0)))
        self.start()
        self.send(CLIENT, many(100))
        self.transports[CLIENT].peer_takes_no_more()
        self.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"x"))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 1)

    def test_nothing_is_moved_unseen_after_a_violation(self) -> None:
        self.join(Limits(WHOLE, bytes=Pace(1e6, 1e5)))
        self.start()
        frame = frame_from(CLIENT, BINARY, bytes(10**6))
        self.send(CLIENT, frame[:200_000])
        self.assertEqual([each.code for _, each in self.owner.told], [1008])
        self.pass_time(1.0)
        self.send(CLIENT, frame[200_000:])
        self.assertEqual(len(self.got(UPSTREAM)), 100_000)

    def test_a_pump_that_is_gone_is_looked_at_no_more(self) -> None:
        self.join(MESSAGES)
        self.start()
        other = self.another(MESSAGES)
        self.send(CLIENT, many(20))
        other[CLIENT].peer_sends(many(20))
        settle(*other.values())
        for side in Side:
            self.pump.abort(side)
        self.settle()
        del self.pump
        gc.collect()
        self.pass_time(1.0, 0.125)
        settle(*other.values())
        self.assertEqual(len(frames_in(bytes(other[UPSTREAM].received))[0]), 20)
        self.assertEqual([told for _, told in self.owner.told], ["lost", "lost"])


@needs_native
class TimerTests(HubTestCase):
    """The hub's own timer, which tells the time that nobody else does."""

    def rings(self) -> bool:
        """Wait for the hub to be ready, for no longer than a test may take."""
        poller = select.poll()
        poller.register(self.ground.hub.fileno(), select.POLLIN)
        return bool(poller.poll(20_000))

    def runs(self) -> bool:
        watched = re.findall(r"tfd: +(\d+)", self.info(self.ground.hub.fileno()))
        (timer,) = [each for each in watched if "timerfd" in os.readlink(f"/proc/self/fd/{each}")]
        return "it_value: (0, 0)" not in self.info(timer)

    def info(self, descriptor: object) -> str:
        return Path(f"/proc/self/fdinfo/{descriptor}").read_text()

    def test_it_wakes_the_reactor_for_a_leg_that_waits(self) -> None:
        self.join(MESSAGES)
        self.start()
        self.assertFalse(self.runs())
        self.send(CLIENT, many(11))
        self.assertTrue(self.runs())
        self.assertTrue(self.rings())
        self.pass_time(0.125)
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 11)
        self.assertFalse(self.runs())

    def test_it_wakes_the_reactor_for_a_leg_that_may_be_slow(self) -> None:
        self.join(slow=0.04)
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.assertTrue(self.runs())
        while not self.owner.told:
            self.assertTrue(self.rings())
            self.pass_time(0.01, 0.01)
        self.assertEqual(self.owner.told, [(CLIENT, "slow")])
        self.assertFalse(self.runs())

    def test_the_earliest_of_many_is_what_it_rings_for(self) -> None:
        self.join(evolve(MESSAGES, messages=Pace(0.001, 1.0)))
        self.start()
        self.send(CLIENT, many(2))
        flow = self.another(evolve(MESSAGES, messages=Pace(20.0, 1.0)))
        flow[CLIENT].peer_sends(many(2))
        settle(*flow.values())
        self.assertTrue(self.rings())
        self.pass_time(0.0625)
        settle(*flow.values())
        self.assertEqual(len(frames_in(bytes(flow[UPSTREAM].received))[0]), 2)
        self.assertEqual(len(frames_in(self.got(UPSTREAM))[0]), 1)
        self.assertTrue(self.runs())
        for each in (*flow.values(), *self.transports.values()):
            each.peer_resets()
        settle(*flow.values(), *self.transports.values())
        self.assertEqual(self.owner.told, [(CLIENT, "lost"), (UPSTREAM, "lost")])


@with_every_pump
class SlowTests(PumpTestCase):
    """A leg that takes nothing."""

    def fill(self, side: Side) -> None:
        self.join(slow=8.0)
        self.start()
        self.transports[side].stalled = True
        self.pour(side)

    def pour(self, side: Side) -> None:
        """Send to a leg until it takes no more."""
        for _ in range(100):
            if not self.pump.is_paused(side.other):
                self.send(side.other, frame_from(side.other, BINARY, LONG))
        self.assertTrue(self.pump.is_paused(side.other))

    def test_one_that_takes_nothing_for_so_long_is_told_once_and_not_before(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.fill(side)
                self.pass_time(7.75)
                self.assertEqual(self.owner.told, [])
                self.pass_time(4.5)
                self.assertEqual(self.owner.told, [(side, "slow")])
                self.pass_time(60)
                self.assertEqual(self.owner.told, [(side, "slow")])

    def test_one_that_takes_a_little_now_and_then_is_not_slow(self) -> None:
        self.fill(CLIENT)
        for _ in range(10):
            self.pass_time(6.0)
            self.transports[CLIENT].peer_takes(6000)  # a unix socket tells of whole pieces
            self.settle()
            self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG))
            self.assertTrue(self.pump.is_waiting(CLIENT))
        self.assertEqual(self.owner.told, [])
        self.pass_time(12.0)
        self.assertEqual(self.owner.told, [(CLIENT, "slow")])

    def test_one_that_has_taken_all_is_looked_at_no_more(self) -> None:
        self.fill(CLIENT)
        self.pass_time(7.0)
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(60.0)
        self.assertEqual(self.owner.told, [])

    def test_one_that_is_full_again_has_its_time_again(self) -> None:
        self.fill(CLIENT)
        self.pass_time(7.0)
        self.transports[CLIENT].stalled = False
        self.settle()
        self.transports[CLIENT].stalled = True
        self.pour(CLIENT)
        self.pass_time(7.0)
        self.assertEqual(self.owner.told, [])
        self.pass_time(5.0)
        self.assertEqual(self.owner.told, [(CLIENT, "slow")])

    def test_without_a_patience_nobody_is_looked_at(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.pour(CLIENT)
        self.pass_time(100.0, 5.0)
        self.assertEqual(self.owner.told, [])

    def test_one_that_is_idle_is_not_slow(self) -> None:
        self.join(slow=1.0)
        self.start()
        self.transports[CLIENT].stalled = True
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(60.0)
        self.assertEqual(self.owner.told, [])

    def test_a_session_that_ends_meanwhile_leaves_no_timer(self) -> None:
        self.fill(CLIENT)
        for side in Side:
            self.pump.abort(side)
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(60.0)
        self.assertNotIn((CLIENT, "slow"), self.owner.told)

    def test_a_clock_that_is_set_makes_nobody_slow_early(self) -> None:
        self.fill(CLIENT)
        self.pass_time(2.0)
        self.clock.rightNow += 1000
        self.pass_time(1.0)
        self.clock.rightNow -= 1000
        self.pass_time(5.0)
        self.assertEqual(self.owner.told, [])


@with_every_pump
class SessionTests(GroundTestCase):
    """What a session makes of it."""

    def test_a_client_over_its_rate_gets_1008_and_the_upstream_1001(self) -> None:
        pair = self.converse(evolve(ROUTE, messages=Rate(10.0)))
        pair.send(CLIENT, many(30))
        self.assertEqual(pair.close_heard(CLIENT), (1008, b"more than 10 messages a second"))
        self.assertEqual(pair.close_heard(UPSTREAM), (1001, b"the client sent too much"))
        self.assertEqual(len(pair.heard(UPSTREAM)), 11)
        pair.end(CLIENT)
        pair.end(UPSTREAM)
        pair.assert_over()
        self.assertEqual((pair.code(), pair.initiator()), (1008, "relay:rate"))

    def test_a_client_over_its_bytes_inside_a_frame_takes_the_upstream_with_it(self) -> None:
        pair = self.converse(evolve(ROUTE, bytes=Rate(1000.0, 2000)))
        pair.send(CLIENT, frame_from(CLIENT, BINARY, LONG))
        self.assertEqual(pair.close_heard(CLIENT), (1008, b"more than 1000 bytes a second"))
        pair.end(CLIENT)
        self.assertTrue(pair.upstream.aborted)
        pair.settle()
        pair.assert_over()
        self.assertEqual(pair.initiator(), "relay:rate")

    def test_a_burst_is_allowed(self) -> None:
        pair = self.converse(evolve(ROUTE, messages=Rate(1.0, 30)))
        pair.send(CLIENT, many(30))
        self.assertIsNone(pair.close_heard(CLIENT))
        self.assertEqual(len(pair.heard(UPSTREAM)), 30)

    def test_the_upstream_may_send_as_it_likes(self) -> None:
        pair = self.converse(evolve(ROUTE, messages=Rate(1.0), bytes=Rate(100.0)))
        pair.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"x") * 1000)
        self.assertEqual(len(pair.heard(CLIENT)), 1000)

    def throttled(self, **more: Any) -> Conversation:
        route = evolve(ROUTE, messages=Rate(0.01, 1), on_excess="throttle", **more)
        pair = self.converse(route)
        pair.send(CLIENT, many(300))
        self.assertTrue(pair.session.pump.is_paused(CLIENT))
        return pair

    def test_a_throttled_session_is_closed_as_any_other(self) -> None:
        pair = self.throttled()
        pair.session.close(1012, "bye", "drain")
        pair.advance(0.0)
        pair.say_close(CLIENT, 1012)
        pair.say_close(UPSTREAM, 1012)
        self.assertEqual(pair.close_heard(CLIENT), (1012, b"bye"))
        self.assertTrue(pair.client.eof)
        pair.end(CLIENT)
        pair.end(UPSTREAM)
        pair.assert_over()
        self.assertFalse(pair.client.aborted or pair.upstream.aborted)

    def test_a_throttled_session_ends_with_its_upstream(self) -> None:
        pair = self.throttled()
        pair.reset(UPSTREAM)
        pair.advance(0.0)
        self.assertEqual(pair.close_heard(CLIENT), (1011, b"the upstream is gone"))
        pair.say_close(CLIENT, 1011)
        pair.end(CLIENT)
        pair.assert_over()

    def test_a_throttled_session_ends_with_its_client(self) -> None:
        pair = self.throttled()
        pair.reset(CLIENT)
        pair.advance(5.0)
        self.assertEqual(pair.close_heard(UPSTREAM), (1001, b"the client is gone"))
        pair.end(UPSTREAM)
        pair.assert_over()

    def test_a_throttled_session_that_nobody_ends_is_aborted_in_time(self) -> None:
        pair = self.throttled()
        pair.session.close(1012, "bye", "drain")
        pair.advance(5.0)
        pair.assert_over()

    def test_a_close_frame_behind_what_waits_comes_in_its_turn(self) -> None:
        pair = self.converse(evolve(ROUTE, messages=Rate(8.0, 8), on_excess="throttle"))
        pair.send(CLIENT, many(24) + frame_from(CLIENT, CLOSE, close_payload(4000)))
        pair.advance(1.0)
        self.assertIsNone(pair.close_heard(UPSTREAM))
        pair.advance(1.0)
        self.assertEqual(data_of(pair.heard(UPSTREAM)), numbered(24))
        self.assertEqual(pair.close_heard(UPSTREAM), (4000, b""))

    def test_a_throttled_client_is_not_taken_for_dead(self) -> None:
        pair = self.throttled(keepalive=10.0, keepalive_timeout=2.0)
        for _ in range(200):
            pair.advance(0.5)
            for frame in pair.heard(UPSTREAM):
                if frame.opcode == PING:
                    pair.say(UPSTREAM, 10, frame.payload)
        self.assertIsNone(pair.session.cause)

    def test_a_slow_leg_ends_the_session_with_1013(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse(evolve(ROUTE, slow_consumer=4.0))
                pair.leg(side).stalled = True
                for _ in range(60):
                    pair.send(side.other, frame_from(side.other, BINARY, LONG))
                self.assertIsNone(pair.session.cause)
                for _ in range(24):
                    pair.advance(0.25)
                reason = b"the %b takes no data" % side.value.encode()
                self.assertEqual((pair.code(), pair.initiator()), (1013, "relay:slow"))
                self.assertEqual(pair.close_heard(side.other), (1013, reason))
                pair.say_close(side.other, 1013)
                pair.end(side.other)
                self.assertFalse(pair.leg(side).lost)
                pair.advance(5.0)
                self.assertTrue(pair.leg(side).aborted)
                pair.assert_over()


class AgeTests(GroundTestCase):
    """A session that is old."""

    def age_of(self, jitter: float) -> float:
        pair = self.converse(evolve(ROUTE, max_session_age=100.0, session_age_jitter=jitter))
        for timer in pair.clock.getDelayedCalls():
            pair.advance(timer.getTime())
        self.assertEqual((pair.code(), pair.initiator()), (1001, "relay:age"))
        return float(pair.clock.seconds())

    def test_it_is_closed_with_1001_on_both_sides(self) -> None:
        pair = self.converse(evolve(ROUTE, max_session_age=100.0, session_age_jitter=0.0))
        pair.advance(99.0)
        self.assertIsNone(pair.session.cause)
        pair.advance(1.0)
        words = (1001, b"the session is old; connect again")
        self.assertEqual(pair.close_heard(CLIENT), words)
        self.assertEqual(pair.close_heard(UPSTREAM), words)
        pair.advance(5.0)
        pair.assert_over()

    def test_sessions_of_one_moment_end_at_many_and_none_too_late_or_too_early(self) -> None:
        ages = [self.age_of(0.2) for _ in range(50)]
        self.assertGreater(len(set(ages)), 40)
        self.assertTrue(all(80.0 <= age <= 100.0 for age in ages))
        self.assertGreater(max(ages) - min(ages), 10.0)

    def test_one_that_ends_before_leaves_no_timer(self) -> None:
        pair = self.converse(evolve(ROUTE, max_session_age=100.0))
        pair.reset(CLIENT)
        pair.end(UPSTREAM)
        pair.assert_over()

    def test_data_makes_it_no_younger(self) -> None:
        pair = self.converse(evolve(ROUTE, max_session_age=10.0, idle_timeout=6.0))
        for _ in range(10):
            pair.advance(1.0)
            pair.send(CLIENT, many(1))
        self.assertEqual(pair.initiator(), "relay:age")
