"""Every pump: what it passes on, what it holds back, and when it stops reading."""

from __future__ import annotations

from tests.relay.pumps import LONG, WHOLE, PumpTestCase, with_every_pump, with_the_native_pump
from tests.relay.support import (
    BINARY,
    CLOSE,
    HIGH_WATER,
    PING,
    PONG,
    TEXT,
    frame_from,
    frames_in,
)
from wsrelay.relay.pump import Side
from wsrelay.relay.python_leg import MAX_WAITING, WATCH
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import MAX_CONTROLS, encode_frame

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM


@with_every_pump
class PassingTests(PumpTestCase):
    """Data goes across as it came."""

    def test_data_goes_both_ways_byte_for_byte(self) -> None:
        self.start()
        for side in Side:
            data = frame_from(side, TEXT, b"a", final=False) + frame_from(side, 0, LONG)
            self.send(side, data)
            self.assertEqual(self.got(side.other), data)

    def test_controls_go_to_the_owner_and_nowhere_else_in_the_order_of_the_wire(self) -> None:
        self.start()
        mark = frame_from(CLIENT, PONG, b"here")
        self.owner.on_control = lambda side, frame: self.pump.send(UPSTREAM, mark)
        one, two = frame_from(CLIENT, TEXT, b"1"), frame_from(CLIENT, TEXT, b"2")
        ping, pong = frame_from(CLIENT, PING, b"x"), frame_from(CLIENT, PONG, b"y")
        self.send(CLIENT, one + ping + two + pong)
        self.assertEqual(self.owner.told, [(CLIENT, ping), (CLIENT, pong)])
        self.assertEqual(self.got(UPSTREAM), one + mark + two + mark)

    def test_what_came_early_goes_first(self) -> None:
        early, more = frame_from(CLIENT, TEXT, b"early"), frame_from(CLIENT, TEXT, b"more")
        answer = frame_from(UPSTREAM, TEXT, b"welcome")
        self.transports[CLIENT].peer_sends(more)
        self.start(early, answer)
        self.assertEqual(self.got(UPSTREAM), early + more)
        self.assertEqual(self.got(CLIENT), answer)

    def test_half_of_an_early_frame_is_completed_by_the_next_read(self) -> None:
        frame = frame_from(CLIENT, TEXT, b"early")
        self.transports[CLIENT].peer_sends(frame[4:])
        self.start(frame[:4])
        self.assertEqual(self.got(UPSTREAM), frame)

    def test_nothing_moves_before_the_start(self) -> None:
        for side in Side:
            self.assertEqual(self.got(side), b"")
            self.assertEqual((self.pump.received(side), self.pump.sent(side)), (0, 0))

    def test_a_violation_is_told_behind_the_good_data(self) -> None:
        self.start()
        good = frame_from(UPSTREAM, TEXT, b"good")
        self.send(UPSTREAM, good + encode_frame(3, b"") + good, good)
        self.assertEqual(self.owner.told, [(UPSTREAM, Violation(1002, "reserved opcode 3"))])
        self.assertEqual(self.got(CLIENT), good)

    def test_a_lost_leg_is_told_once(self) -> None:
        self.start()
        self.transports[CLIENT].peer_resets()
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])


@with_every_pump
class BoundaryTests(PumpTestCase):
    """The relay's own frames go between two data frames."""

    def test_between_frames_a_frame_of_the_relays_goes_at_once(self) -> None:
        self.start()
        self.pump.send(CLIENT, b"\x89\x00")
        self.settle()
        self.assertEqual(self.got(CLIENT), b"\x89\x00")

    def test_inside_a_streamed_frame_it_waits_for_exactly_the_frames_end(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                frame = frame_from(side.other, BINARY, LONG)
                after = frame_from(side.other, TEXT, b"after")
                ping = frame_from(side.other, PING, b"relay")
                self.send(side.other, frame[:2000])
                self.pump.send(side, ping)
                self.pump.send(side, ping)
                self.send(side.other, frame[2000:-1])
                self.assertEqual(self.got(side), frame[:-1])
                self.send(side.other, frame[-1:] + after)
                self.assertEqual(self.got(side), frame + ping + ping + after)

    def test_a_held_frame_makes_nothing_wait(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, bytes(WHOLE))
        self.send(UPSTREAM, frame[:-1])
        self.pump.send(CLIENT, b"\x89\x00")
        self.settle()
        self.assertEqual(self.got(CLIENT), b"\x89\x00")
        self.send(UPSTREAM, frame[-1:])
        self.assertEqual(self.got(CLIENT), b"\x89\x00" + frame)

    def test_between_fragments_it_need_not_wait_for_the_message(self) -> None:
        self.start()
        first = frame_from(UPSTREAM, TEXT, LONG, final=False)
        self.send(UPSTREAM, first)
        self.pump.send(CLIENT, b"\x89\x00")
        self.settle()
        self.assertEqual(self.got(CLIENT), first + b"\x89\x00")

    def test_the_other_direction_makes_nothing_wait(self) -> None:
        self.start()
        self.send(CLIENT, frame_from(CLIENT, BINARY, LONG)[:2000])
        self.pump.send(CLIENT, b"\x89\x00")
        self.settle()
        self.assertEqual(self.got(CLIENT), b"\x89\x00")

    def test_an_answer_to_a_ping_right_before_a_streamed_frame_keeps_out_of_it(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side.other, frame)
        ping, frame = frame_from(UPSTREAM, PING, b"p"), frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, ping + frame[:2000], frame[2000:])
        frames, rest = frames_in(self.got(CLIENT))
        self.assertEqual(rest, b"")
        self.assertEqual(sorted(each.opcode for each in frames), [BINARY, PING])

    def test_a_control_behind_one_streamed_frame_and_before_another_keeps_out_of_both(
        self,
    ) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side.other, frame)
        ping, frame = frame_from(UPSTREAM, PING, b"p"), frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame[:2000], frame[2000:] + ping + frame[:2000], frame[2000:])
        frames, rest = frames_in(self.got(CLIENT))
        self.assertEqual(rest, b"")
        self.assertEqual([each.payload for each in frames if each.opcode == BINARY], [LONG] * 2)
        self.assertEqual(len(frames), 3)


@with_every_pump
class FinishTests(PumpTestCase):
    """After a close frame no more data follows."""

    def test_data_behind_a_finish_is_read_and_discarded(self) -> None:
        self.start()
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"x"), frame_from(UPSTREAM, PING))
        self.assertEqual(self.got(CLIENT), b"\x88\x00")
        self.assertEqual(self.owner.told, [(UPSTREAM, frame_from(UPSTREAM, PING))])

    def test_a_streamed_frame_is_completed_before_the_finish(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame[:2000])
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.send(UPSTREAM, frame[2000:3000], frame[3000:] + frame_from(UPSTREAM, TEXT, b"x"))
        self.assertEqual(self.got(CLIENT), frame + b"\x88\x00")

    def test_a_finished_leg_that_takes_nothing_no_longer_stops_the_other(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        sent = self.flood(UPSTREAM)
        self.pump.finish(CLIENT)
        self.settle()
        self.assertTrue(self.transports[UPSTREAM].reading)
        self.assertEqual(self.pump.received(UPSTREAM), sent)
        read, sent = self.pump.received(UPSTREAM), self.pump.sent(CLIENT)
        more = frame_from(UPSTREAM, BINARY, LONG)
        for _ in range(50):
            self.send(UPSTREAM, more)
        self.assertEqual(self.pump.received(UPSTREAM), read + 50 * len(more))
        self.assertEqual(self.pump.sent(CLIENT), sent)

    def test_a_finish_that_waits_for_a_boundary_still_stops_the_other(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.send(UPSTREAM, encode_frame(BINARY, bytes(2**20))[: 2 * HIGH_WATER])
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.assertFalse(self.transports[UPSTREAM].reading)

    def test_cut_is_what_has_got_a_part_of_a_frame_whose_sender_is_gone(self) -> None:
        self.start()
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        self.assertFalse(self.pump.is_cut(CLIENT))
        self.transports[UPSTREAM].peer_ends()
        self.settle()
        self.assertTrue(self.pump.is_cut(CLIENT))
        self.assertFalse(self.pump.is_cut(UPSTREAM))

    def test_a_leg_that_was_finished_before_a_frame_began_is_not_cut_by_it(self) -> None:
        self.start()
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        self.transports[UPSTREAM].peer_ends()
        self.settle()
        self.assertFalse(self.pump.is_cut(CLIENT))


@with_every_pump
class FlowTests(PumpTestCase):
    """What one side does not take is not read from the other."""

    def test_a_full_leg_pauses_the_other_until_it_is_drained(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].stalled = True
                self.flood(side.other)
                self.assertTrue(self.pump.is_paused(side.other))
                self.assertFalse(self.pump.is_paused(side))
                self.assertTrue(self.transports[side].reading)
                self.transports[side].stalled = False
                self.settle()
                self.assertTrue(self.transports[side.other].reading)
                self.assertFalse(self.pump.is_paused(side.other))
                frames, rest = frames_in(self.got(side))
                self.assertEqual(rest, b"")
                self.assertEqual({each.payload for each in frames}, {LONG})
                self.assertGreaterEqual(self.pump.stalls(side), 1)
                self.assertEqual(self.pump.stalls(side.other), 0)

    def test_a_full_leg_holds_no_more_than_a_read_over_the_high_water_mark(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        read = encode_frame(BINARY, bytes(2**16 - 10))
        for _ in range(100):
            self.send(UPSTREAM, read)
        self.assertLessEqual(self.kept(CLIENT), self.ground.most_kept)
        self.assertGreater(self.kept(CLIENT), 0)

    def test_a_flood_of_the_relays_replies_pauses_the_one_that_causes_it(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side, b"\x8a" + frame[1:])
        client = self.transports[CLIENT]
        # It is in the middle of a frame that its upstream does not finish, so nothing can go.
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        ping = frame_from(CLIENT, PING, bytes(125))
        sent = 0
        while client.reading and sent < 10 * MAX_WAITING:
            self.send(CLIENT, ping)
            sent += len(ping)
        self.assertFalse(client.reading)
        self.assertLessEqual(sent, MAX_WAITING + len(ping))
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[2000:])
        self.assertTrue(client.reading)
        self.assertEqual(len(self.got(CLIENT)), len(LONG) + 4 + sent)

    def test_replies_for_a_leg_that_takes_nothing_pause_it_too(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side, b"\x8a" + frame[1:])
        client = self.transports[CLIENT]
        client.stalled = True
        ping = frame_from(CLIENT, PING, bytes(125))
        sent = 0
        while client.reading and sent < 10 * HIGH_WATER:
            self.send(CLIENT, ping)
            sent += len(ping)
        self.assertFalse(client.reading)
        self.assertLessEqual(sent, HIGH_WATER + MAX_WAITING + 2 * len(ping))
        self.assertTrue(self.pump.is_paused(CLIENT))
        client.stalled = False
        self.settle()
        self.assertTrue(client.reading)

    def test_replies_that_waited_for_a_boundary_count_no_more_behind_it(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side, b"\x8a" + frame[1:])
        frame, ping = frame_from(UPSTREAM, BINARY, LONG), frame_from(CLIENT, PING, bytes(125))
        for _ in range(2 * MAX_WAITING // len(ping)):
            self.send(UPSTREAM, frame[:2000])
            self.send(CLIENT, ping)
            self.send(UPSTREAM, frame[2000:])
        self.assertFalse(self.pump.is_paused(CLIENT))

    def test_replies_wait_for_a_slow_leg_again_after_it_was_drained_once(self) -> None:
        self.test_replies_for_a_leg_that_takes_nothing_pause_it_too()
        client = self.transports[CLIENT]
        client.stalled = True
        ping = frame_from(CLIENT, PING, bytes(125))
        for _ in range(10 * HIGH_WATER // len(ping)):
            self.send(CLIENT, ping)
        waiting = self.pump.received(CLIENT) - len(self.got(CLIENT))
        self.assertLessEqual(waiting, HIGH_WATER + MAX_WAITING + 2 * len(ping))

    def test_a_leg_that_ends_while_it_is_full_stops_nobody(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        sent = self.flood(UPSTREAM)
        self.transports[CLIENT].peer_resets()
        self.settle()
        self.assertTrue(self.transports[UPSTREAM].reading)
        self.assertEqual(self.pump.received(UPSTREAM), sent)
        self.assertFalse(self.pump.is_paused(CLIENT))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_a_leg_that_is_aborted_while_it_is_full_stops_nobody(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        sent = self.flood(UPSTREAM)
        self.pump.abort(CLIENT)
        self.assertTrue(self.transports[UPSTREAM].reading)
        self.settle()
        self.assertEqual(self.pump.received(UPSTREAM), sent)
        self.assertTrue(self.transports[CLIENT].lost)
        self.assertTrue(self.transports[CLIENT].aborted)


@with_every_pump
class EndTests(PumpTestCase):
    """Ending a leg's transport."""

    def test_shut_writes_all_first_and_reads_on(self) -> None:
        self.start()
        client = self.transports[CLIENT]
        client.stalled = True
        frame = frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame)
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.pump.shut(CLIENT)
        self.settle()
        self.assertFalse(client.eof)
        client.stalled = False
        self.settle()
        self.assertTrue(client.eof)
        self.assertEqual(self.got(CLIENT), frame + b"\x88\x00")
        self.assertTrue(client.reading)
        client.peer_ends()
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_shut_waits_for_what_waits_for_a_boundary(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame[:2000])
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.pump.shut(CLIENT)
        self.settle()
        self.send(UPSTREAM, frame[2000:])
        self.assertEqual(self.got(CLIENT), frame + b"\x88\x00")
        self.assertTrue(self.transports[CLIENT].eof)

    def test_a_leg_that_is_not_read_and_was_reset_is_aborted(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.assertFalse(self.transports[UPSTREAM].reading)
        self.clock.advance(WATCH)
        self.settle()
        self.assertFalse(self.transports[UPSTREAM].lost, "nothing is wrong with it yet")
        self.transports[UPSTREAM].peer_resets()
        self.clock.advance(WATCH)
        self.settle()
        self.assertTrue(self.transports[UPSTREAM].lost)
        self.assertIn((UPSTREAM, "lost"), self.owner.told)

    def test_a_leg_that_was_paused_is_read_when_it_is_shut(self) -> None:
        self.start()
        self.transports[UPSTREAM].stalled = True
        sent = self.flood(CLIENT)
        self.pump.shut(CLIENT)
        self.assertTrue(self.transports[CLIENT].reading)
        self.settle()
        self.assertEqual(self.pump.received(CLIENT), sent)

    def test_calls_for_a_leg_that_is_gone_do_nothing(self) -> None:
        self.start()
        for side in Side:
            self.transports[side].peer_ends()
        self.settle()
        for side in Side:
            self.pump.send(side, b"\x89\x00")
            self.pump.finish(side)
            self.pump.shut(side)
            self.pump.abort(side)
        self.settle()
        self.assertFalse(self.transports[CLIENT].aborted or self.transports[UPSTREAM].aborted)
        self.assertFalse(self.transports[CLIENT].reading or self.transports[UPSTREAM].reading)
        self.assertEqual(len(self.owner.told), 2)


@with_every_pump
class TotalsTests(PumpTestCase):
    """What a pump counts, all at once."""

    def start(self, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        super().start(from_client, from_upstream)
        self.assertEqual(self.pump.totals().buffered, 0)

    def pauses(self, side: Side) -> int:
        totals = self.pump.totals()
        return totals.client_pauses if side is CLIENT else totals.upstream_pauses

    def test_a_message_is_text_or_binary_by_the_type_that_it_begins_with(self) -> None:
        self.start()
        for side in Side:
            parts = [
                *(frame_from(side, BINARY, b"a", final=False), frame_from(side, 0, final=False)),
                *(frame_from(side, PING, b"between"), frame_from(side, 0, LONG)),
                *(frame_from(side, TEXT, b"b", final=False), frame_from(side, 0, b"c")),
                *(frame_from(side, BINARY, LONG), frame_from(side, TEXT, LONG)),
                *(frame_from(side, BINARY), frame_from(side, TEXT, b"unfinished", final=False)),
            ]
            for count, part in zip([0, 0, 0, 1, 1, 1, 2, 2, 3, 3], parts, strict=True):
                self.send(side, part[:7], part[7:])
                self.assertEqual(self.pump.binary_messages(side), count)
            self.assertEqual(self.pump.messages(side), 5)

    def test_the_totals_are_the_numbers_of_both_legs(self) -> None:
        self.start()
        self.send(CLIENT, frame_from(CLIENT, TEXT, b"one"), frame_from(CLIENT, BINARY, b"two"))
        self.send(UPSTREAM, *[frame_from(UPSTREAM, BINARY, LONG)] * 3)
        self.transports[UPSTREAM].stalled = True
        self.flood(CLIENT)
        totals, pump = self.pump.totals(), self.pump
        for side in Side:
            for name in ("messages", "binary_messages", "payload", "received", "sent"):
                number = getattr(totals, f"{side.value}_{name}")
                self.assertEqual(number, getattr(pump, name)(side))
                self.assertGreater(number, 0)
        self.assertEqual((totals.client_pauses, totals.upstream_pauses), (1, 0))
        self.assertGreater(totals.buffered, 0)

    def test_a_leg_is_paused_whenever_the_other_takes_no_more(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                before = 0
                for _ in range(2):
                    self.transports[side].stalled = True
                    while self.transports[side.other].reading:
                        self.send(side.other, frame_from(side.other, BINARY, LONG))
                    self.assertEqual(self.pauses(side.other), before + 1)
                    self.transports[side].stalled = False
                    self.settle()
                    before = self.pauses(side.other)
                self.assertEqual(self.pauses(side), 0)

    def test_a_leg_that_does_not_take_the_relays_replies_is_paused(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side, b"\x8a" + frame[1:])
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        ping = frame_from(CLIENT, PING, bytes(125))
        for _ in range(2 * MAX_WAITING // len(ping)):
            self.send(CLIENT, ping)
        self.assertFalse(self.transports[CLIENT].reading)
        self.assertEqual((self.pauses(CLIENT), self.pauses(UPSTREAM)), (1, 0))

    def test_a_backlog_is_no_pause(self) -> None:
        self.start()
        paused: list[bool] = []
        self.owner.on_control = lambda side, frame: paused.append(self.pump.is_paused(side))
        self.send(CLIENT, frame_from(CLIENT, PING) * (3 * MAX_CONTROLS))
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual(len(paused), 3 * MAX_CONTROLS)
        self.assertFalse(self.pump.is_paused(CLIENT))
        self.assertEqual((self.pauses(CLIENT), self.pauses(UPSTREAM)), (0, 0))

    def test_the_beginning_of_a_frame_is_buffered_until_its_end(self) -> None:
        self.start()
        frame = frame_from(CLIENT, TEXT, b"hello")
        self.send(CLIENT, frame[:-1])
        self.assertEqual(self.pump.totals().buffered, len(frame) - 1)
        self.send(CLIENT, frame[-1:])
        self.assertEqual(self.pump.totals().buffered, 0)

    def test_what_waits_for_a_boundary_is_buffered(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame[:2000])
        self.assertEqual(self.pump.totals().buffered, 0)
        self.pump.send(CLIENT, b"\x89\x00")
        self.pump.send(CLIENT, b"\x89\x00")
        self.assertEqual(self.pump.totals().buffered, 4)
        self.send(UPSTREAM, frame[2000:])
        self.assertEqual(self.pump.totals().buffered, 0)

    def test_what_a_full_leg_does_not_take_is_buffered_until_it_does(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.assertGreater(self.pump.totals().buffered, 0)
        at_most = self.ground.most_kept + len(LONG)
        self.assertLessEqual(self.pump.totals().buffered, at_most)
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(self.pump.totals().buffered, 0)

    def test_after_the_end_the_totals_stand_and_nothing_is_buffered(self) -> None:
        self.start()
        self.send(CLIENT, frame_from(CLIENT, BINARY, b"two"))
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.send(CLIENT, frame_from(CLIENT, TEXT, b"half")[:5])
        for side in Side:
            self.transports[side].peer_resets()
            self.settle()
        self.assertTrue(self.transports[CLIENT].lost and self.transports[UPSTREAM].lost)
        totals = self.pump.totals()
        self.assertEqual((totals.client_messages, totals.client_binary_messages), (1, 1))
        self.assertEqual(totals.upstream_received, self.pump.received(UPSTREAM))
        self.assertEqual(totals.upstream_pauses, 1)
        self.assertEqual(totals.buffered, 0)


@with_the_native_pump
class NumbersTests(PumpTestCase):
    """What a pump counts."""

    def test_messages_payload_and_bytes_are_counted_each_way(self) -> None:
        self.start(frame_from(CLIENT, TEXT, b"early"))
        fragments = frame_from(CLIENT, TEXT, b"abc", final=False) + frame_from(CLIENT, 0, b"de")
        ping = frame_from(CLIENT, PING, b"not counted")
        self.send(CLIENT, fragments + ping)
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        self.assertEqual((self.pump.messages(CLIENT), self.pump.payload(CLIENT)), (2, 10))
        self.assertEqual((self.pump.messages(UPSTREAM), self.pump.payload(UPSTREAM)), (0, 1996))
        early = len(frame_from(CLIENT, TEXT, b"early"))
        self.assertEqual(self.pump.received(CLIENT), early + len(fragments + ping))
        self.assertEqual(self.pump.received(UPSTREAM), 2000)
        self.assertEqual(self.pump.sent(UPSTREAM), early + len(fragments))
        self.assertEqual(self.pump.sent(CLIENT), 2000)

    def test_the_relays_own_frames_count_as_sent_when_they_go(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame[:2000])
        for _ in range(2):
            self.pump.send(CLIENT, b"\x89\x00")
            self.assertEqual(self.pump.sent(CLIENT), 2000)
            self.assertEqual(self.pump.stalls(CLIENT), 1)
        self.send(UPSTREAM, frame[2000:])
        self.assertEqual(self.pump.sent(CLIENT), len(frame) + 4)

    def test_what_is_buffered_is_what_was_read_and_not_given_away(self) -> None:
        self.start()
        for side in Side:
            self.transports[side].stalled = True
            self.flood(side.other)
        self.send(CLIENT, b"")
        self.assertEqual(self.pump.totals().buffered, self.kept(CLIENT) + self.kept(UPSTREAM))
        self.assertGreater(self.kept(CLIENT), 0)
        self.assertGreater(self.kept(UPSTREAM), 0)

    def test_only_data_frames_move_the_time_of_the_last_data(self) -> None:
        self.start()
        self.clock.advance(3)
        self.send(CLIENT, frame_from(CLIENT, PING), frame_from(CLIENT, CLOSE))
        self.assertEqual(self.pump.last_data(), 0)
        self.send(UPSTREAM, frame_from(UPSTREAM, TEXT))
        self.assertEqual(self.pump.last_data(), 3)
        self.clock.advance(1)
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        self.assertEqual(self.pump.last_data(), 4)
