"""The relay's own pings, the pings of peers, and sessions that are idle."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

from attrs import define, evolve
from twisted.internet.task import Clock

from tests.relay.pumps import GroundTestCase, with_every_pump
from tests.relay.support import (
    BINARY,
    CLOSE,
    HIGH_WATER,
    PING,
    PONG,
    ROUTE,
    TEXT,
    Conversation,
    Frame,
    frame_from,
)
from wsrelay.relay.heartbeat import Heartbeat
from wsrelay.relay.pump import Pump, Side

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
ALIVE = evolve(ROUTE, keepalive=10.0, keepalive_timeout=4.0, whole_frames=1000)


def pings(pair: Conversation, side: Side) -> list[Frame]:
    return [frame for frame in pair.heard(side) if frame.opcode == PING]


def wait_for_ping(pair: Conversation, side: Side) -> bytes:
    """Let time pass until the next ping, while the other peer answers all of its own."""
    count = len(pings(pair, side))
    for _ in range(2000):
        pair.advance(0.01)
        answer_all(pair, side.other)
        now = pings(pair, side)
        if len(now) > count:
            return now[-1].payload
    raise AssertionError("no ping came")


def answer_all(pair: Conversation, side: Side) -> None:
    """Let a peer answer the newest ping that it has got."""
    got = pings(pair, side)
    if got:
        pair.say(side, PONG, got[-1].payload)


@define
class DeafPump:
    """A pump that hears nothing, and reads or does not as a test says."""

    paused: bool = False

    def is_paused(self, side: Side) -> bool:
        return self.paused

    def is_waiting(self, side: Side) -> bool:
        return False

    def received(self, side: Side) -> int:
        return 0

    sent = stalls = received


def test_who_is_read_again_since_a_moment_has_time_to_be_heard() -> None:
    clock, pump, late = Clock(), DeafPump(paused=True), list[Side]()
    owner: Any = SimpleNamespace(pong_late=late.append)
    heart = Heartbeat(clock, cast(Pump, pump), CLIENT, 10.0, 4.0, lambda payload: None, owner)
    heart.ping()
    clock.advance(3.9)
    pump.paused = False
    clock.advance(0.2)
    assert late == []
    clock.advance(4.0)
    assert late == [CLIENT]
    assert clock.getDelayedCalls() == []


@with_every_pump
class PingTests(GroundTestCase):
    """When the relay pings, and what it makes of the pongs."""

    def set_random(self, share: float) -> None:
        """Make each jitter *share* of its range."""
        self.patch(random, "uniform", lambda low, high: low + share * (high - low))

    def test_both_legs_are_pinged_with_a_jitter_that_never_makes_a_ping_late(self) -> None:
        for share, first, later in ((0.0, 4.0, 8.0), (1.0, 10.0, 10.0), (0.5, 7.0, 9.0)):
            with self.subTest(share=share):
                self.set_random(share)
                pair = self.converse(ALIVE)
                pair.advance(first - 0.01)
                self.assertEqual(pair.heard(CLIENT) + pair.heard(UPSTREAM), [])
                pair.advance(0.01)
                for side in Side:
                    self.assertEqual([each.opcode for each in pair.heard(side)], [PING])
                    answer_all(pair, side)
                pair.advance(later - 0.01)
                self.assertEqual(len(pair.heard(CLIENT)), 1)
                pair.advance(0.02)
                self.assertEqual(len(pings(pair, CLIENT)), 2)
                self.assertEqual(len(pings(pair, UPSTREAM)), 2)

    def test_the_jitter_spreads_over_its_whole_range(self) -> None:
        times = set()
        for seed in range(20):
            random.seed(seed)
            pair = self.converse(ALIVE)
            pair.advance(3.999)
            self.assertEqual(pair.heard(CLIENT), [])
            wait_for_ping(pair, CLIENT)
            times.add(round(pair.clock.seconds()))
        self.assertLessEqual(max(times), 10)
        self.assertGreater(len(times), 4)

    def test_a_pong_of_the_relays_is_not_passed_on(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse(ALIVE)
                payload = wait_for_ping(pair, side)
                pair.say(side, PONG, payload)
                pair.say(side, PONG, payload)  # once more, though nobody asks any longer
                self.assertNotIn(PONG, [each.opcode for each in pair.heard(side.other)])

    def test_the_round_trip_is_measured_on_each_leg(self) -> None:
        self.set_random(1.0)
        pair = self.converse(ALIVE)
        self.assertEqual(pair.session.rtt, {})
        pair.advance(10)
        pair.advance(0.25)
        answer_all(pair, CLIENT)
        pair.advance(0.5)
        answer_all(pair, UPSTREAM)
        self.assertEqual(pair.session.rtt, {CLIENT: 0.25, UPSTREAM: 0.75})
        self.assertEqual(pair.pool_upstream.rtt, 0.75)

    def test_a_pong_at_the_last_moment_keeps_the_session(self) -> None:
        self.set_random(1.0)
        pair = self.converse(ALIVE)
        pair.advance(13.999)
        for side in Side:
            answer_all(pair, side)
        pair.advance(0.002)
        self.assertIsNone(pair.session.cause)

    def test_a_late_pong_closes_the_session_with_1011(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.set_random(1.0)
                pair = self.converse(ALIVE)
                pair.advance(10)
                answer_all(pair, side.other)
                pair.advance(3.999)
                self.assertIsNone(pair.session.cause)
                pair.advance(0.001)
                words = f"no pong from the {side.value}".encode()
                self.assertEqual(pair.close_heard(side.other), (1011, words))
                self.assertEqual((pair.code(), pair.initiator()), (1011, "relay:pong"))
                pair.advance(5)
                pair.assert_over()

    def test_a_pong_with_other_words_is_no_answer(self) -> None:
        self.set_random(1.0)
        pair = self.converse(ALIVE)
        pair.advance(10)
        answer_all(pair, UPSTREAM)
        payload = pings(pair, CLIENT)[0].payload
        pair.say(CLIENT, PONG, payload[:-1])
        pair.advance(0.1)
        self.assertNotIn(CLIENT, pair.session.rtt)

    def test_without_keepalive_nobody_is_pinged(self) -> None:
        pair = self.converse(evolve(ROUTE, keepalive=None))
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_the_end_of_a_session_ends_its_pings(self) -> None:
        pair = self.converse(ALIVE)
        pair.say_close(CLIENT, 1000)
        pair.advance(4.9)
        self.assertEqual([each.opcode for each in pair.heard(UPSTREAM)], [CLOSE])
        pair.advance(0.1)
        pair.assert_over()


@with_every_pump
class LifeTests(GroundTestCase):
    """A peer that has a reason not to answer in time is not dead."""

    def setUp(self) -> None:
        self.patch(random, "uniform", lambda low, high: high)

    def test_a_peer_whose_data_arrives_is_alive(self) -> None:
        pair = self.converse(ALIVE)
        pair.send(CLIENT, frame_from(CLIENT, BINARY, bytes(900))[:8])
        pair.advance(10)
        answer_all(pair, UPSTREAM)
        for _ in range(8):
            pair.send(CLIENT, bytes(100))
            pair.advance(3.9)
            answer_all(pair, UPSTREAM)
        self.assertEqual(len(pings(pair, CLIENT)), 1)
        self.assertIsNone(pair.session.cause)
        for _ in range(8):
            pair.advance(1)
            answer_all(pair, UPSTREAM)
        self.assertEqual(pair.initiator(), "relay:pong")

    def test_a_peer_that_slowly_takes_what_stands_before_the_ping_is_alive(self) -> None:
        pair = self.converse(ALIVE)
        pair.client.stalled = True
        for _ in range(HIGH_WATER // 5000 + 2):
            pair.say(UPSTREAM, BINARY, bytes(5000))
        self.assertFalse(pair.upstream.reading)
        more = frame_from(UPSTREAM, BINARY, bytes(5000))
        for _ in range(40):
            pair.upstream.peer_sends(more)
        for _ in range(12):
            # It takes all that waits, but only every now and then, and then is full again.
            pair.client.peer_takes(10**6)
            pair.settle()
            pair.advance(3)
            answer_all(pair, UPSTREAM)
            pair.upstream.peer_sends(more * 20)
            pair.settle()
        self.assertIsNone(pair.session.cause)

    def test_a_peer_that_takes_nothing_any_more_is_dead(self) -> None:
        pair = self.converse(ALIVE)
        pair.client.stalled = True
        for _ in range(HIGH_WATER // 5000 + 2):
            pair.say(UPSTREAM, BINARY, bytes(5000))
        self.assertFalse(pair.upstream.reading)
        pair.advance(30)
        self.assertEqual(pair.initiator(), "relay:pong")

    def test_a_peer_that_the_relay_does_not_read_is_alive(self) -> None:
        pair = self.converse(ALIVE)
        pair.upstream.stalled = True
        for _ in range(HIGH_WATER // 5000 + 2):
            pair.say(CLIENT, BINARY, bytes(5000))
        self.assertFalse(pair.client.reading)
        pair.advance(10)
        words = pings(pair, CLIENT)
        self.assertEqual(len(words), 1)
        # The upstream takes a little now and then, so that it shows life itself.
        pair.say(UPSTREAM, TEXT, b"busy")
        pair.advance(3.9)
        pair.say(UPSTREAM, TEXT, b"busy")
        pair.advance(3.9)
        self.assertIsNone(pair.session.cause)

    def test_data_that_the_kernel_takes_for_a_dead_peer_is_no_sign_of_life(self) -> None:
        pair = self.converse(ALIVE)
        pair.advance(10)
        for _ in range(5):
            answer_all(pair, UPSTREAM)
            pair.say(UPSTREAM, TEXT, b"news")
            pair.advance(1)
        self.assertEqual(pair.initiator(), "relay:pong")

    def test_a_ping_that_waits_for_the_end_of_a_frame_is_not_late_while_the_frame_moves(
        self,
    ) -> None:
        pair = self.converse(ALIVE)
        pair.send(UPSTREAM, frame_from(UPSTREAM, BINARY, bytes(60_000))[:2000])
        for _ in range(30):
            pair.send(UPSTREAM, bytes(100))
            pair.advance(1)
        self.assertIsNone(pair.session.cause, "the client could not answer: it was not asked yet")


@with_every_pump
class PeersPingTests(GroundTestCase):
    """A peer's own pings and pongs."""

    def test_a_ping_is_relayed_with_its_payload_and_so_is_the_pong(self) -> None:
        for side in Side:
            for payload in (b"", b"are you there?", bytes(125)):
                with self.subTest(side=side, payload=payload):
                    pair = self.converse(ALIVE)
                    pair.say(side, PING, payload)
                    self.assertEqual(pair.heard(side.other), [Frame(PING, payload)])
                    self.assertEqual(pair.heard(side), [])
                    pair.say(side.other, PONG, payload)
                    self.assertEqual(pair.heard(side), [Frame(PONG, payload)])

    def test_a_ping_is_answered_here_where_the_route_says_so(self) -> None:
        for side in Side:
            for payload in (b"", b"are you there?", bytes(125)):
                with self.subTest(side=side, payload=payload):
                    pair = self.converse(evolve(ALIVE, ping="answer"))
                    pair.say(side, PING, payload)
                    self.assertEqual(pair.heard(side), [Frame(PONG, payload)])
                    self.assertEqual(pair.heard(side.other), [])

    def test_a_pong_that_nobody_asked_for_is_relayed(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse(ALIVE)
                pair.say(side, PONG, b"just so")
                pair.say(side, PONG, b"")
                self.assertEqual(pair.heard(side.other), [Frame(PONG, b"just so"), Frame(PONG)])

    def test_an_empty_pong_while_the_relays_ping_is_under_way_is_relayed(self) -> None:
        pair = self.converse(ALIVE)
        wait_for_ping(pair, CLIENT)
        pair.say(CLIENT, PONG, b"")
        self.assertIn(Frame(PONG, b""), pair.heard(UPSTREAM))

    def test_another_relays_ping_and_its_pong_pass_through_this_one(self) -> None:
        pair = self.converse(ALIVE)
        mine = wait_for_ping(pair, UPSTREAM)
        others = bytes(255 - byte for byte in mine)
        pair.say(CLIENT, PING, others)
        self.assertIn(Frame(PING, others), pair.heard(UPSTREAM))
        pair.say(UPSTREAM, PONG, others)
        self.assertIn(Frame(PONG, others), pair.heard(CLIENT))

    def test_pings_keep_their_place_between_data_frames(self) -> None:
        pair = self.converse(ALIVE)
        pair.send(
            CLIENT,
            frame_from(CLIENT, TEXT, b"1")
            + frame_from(CLIENT, PING, b"2")
            + frame_from(CLIENT, TEXT, b"3"),
        )
        self.assertEqual([each.payload for each in pair.heard(UPSTREAM)], [b"1", b"2", b"3"])

    def test_frames_to_an_upstream_are_masked_and_those_to_a_client_are_not(self) -> None:
        pair = self.converse(ALIVE)
        pair.say(CLIENT, PING, b"up")
        pair.say(UPSTREAM, PING, b"down")
        self.assertEqual(pair.upstream.received[1] & 0x80, 0x80)
        self.assertEqual(bytes(pair.client.received), b"\x89\x04down")


@with_every_pump
class IdleTests(GroundTestCase):
    """Only data frames keep a session from being idle."""

    def test_a_session_without_data_is_closed_though_pings_flow(self) -> None:
        pair = self.converse(evolve(ALIVE, idle_timeout=60.0, idle_close_code=4408))
        for _ in range(59):
            pair.advance(1)
            for side in Side:
                answer_all(pair, side)
            pair.say(CLIENT, PING, b"peer")
        self.assertIsNone(pair.session.cause)
        pair.advance(1)
        self.assertEqual((pair.code(), pair.initiator()), (4408, "relay:idle"))
        for side in Side:
            self.assertEqual(pair.close_heard(side), (4408, b"idle"))

    def test_data_either_way_begins_the_time_anew(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse(evolve(ROUTE, idle_timeout=60.0))
                pair.advance(50)
                pair.say(side, TEXT, b"hello")
                pair.advance(59.9)
                self.assertIsNone(pair.session.cause)
                pair.advance(0.1)
                self.assertEqual((pair.code(), pair.initiator()), (1001, "relay:idle"))
                pair.advance(5)
                pair.assert_over()

    def test_the_end_of_a_session_ends_the_idle_timer(self) -> None:
        pair = self.converse(evolve(ROUTE, idle_timeout=60.0))
        pair.say_close(CLIENT, 1000)
        pair.say_close(UPSTREAM, 1000)
        pair.end(UPSTREAM)
        pair.end(CLIENT)
        pair.assert_over()


@with_every_pump
class BlockedTests(GroundTestCase):
    """A leg that takes nothing more and says nothing."""

    def test_a_dead_leg_that_is_full_is_late_after_one_timeout(self) -> None:
        pair = self.converse(ALIVE)
        pair.leg(CLIENT).stalled = True
        pair.send(UPSTREAM, frame_from(UPSTREAM, BINARY, bytes(200_000)))
        limit = ALIVE.keepalive + ALIVE.keepalive_timeout
        waited = 0.0
        while pair.session.cause is None and waited < 3 * limit:
            pair.advance(0.25)
            waited += 0.25
        self.assertLessEqual(waited, limit + 0.25)
        self.assertEqual(pair.initiator(), "relay:pong")
