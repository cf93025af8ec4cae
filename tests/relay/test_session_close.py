"""How the two legs of a session end together, rule by rule."""

from __future__ import annotations

from attrs import evolve

from tests.relay.pumps import GroundTestCase, with_every_pump
from tests.relay.support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    ROUTE,
    TEXT,
    Conversation,
    close_payload,
    frame_from,
)
from wsrelay.relay.pump import Side
from wsrelay.relay.session import Session

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
CODES = (1000, 1001, 1002, 1003, 1007, 1009, 1011, 1012, 1013, 1014, 3000, 4999)
LONG = bytes(5000)
"""A payload over `whole_frames`."""


@with_every_pump
class CloseFrameTests(GroundTestCase):
    """A close frame goes across, and so does its answer."""

    def test_the_clients_close_reaches_the_upstream_and_its_answer_the_client(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 4001, b"enough")
        self.assertEqual(pair.close_heard(UPSTREAM), (4001, b"enough"))
        self.assertIsNone(pair.close_heard(CLIENT))
        pair.say_close(UPSTREAM, 4002, "gut, tschüß".encode())
        self.assertEqual(pair.close_heard(CLIENT), (4002, "gut, tschüß".encode()))
        self.assertTrue(pair.client.eof)
        self.assertFalse(pair.upstream.eof)
        pair.end(UPSTREAM)
        pair.end(CLIENT)
        pair.assert_over()
        self.assertEqual((pair.code(), pair.initiator()), (4001, "client"))
        self.assertEqual(pair.session.cause.reason, "enough")
        self.assertFalse(pair.client.aborted or pair.upstream.aborted)

    def test_the_upstreams_close_reaches_the_client_and_its_answer_the_upstream(self) -> None:
        pair = self.converse()
        pair.say_close(UPSTREAM, 1001, b"restarting")
        self.assertEqual(pair.close_heard(CLIENT), (1001, b"restarting"))
        self.assertIsNone(pair.close_heard(UPSTREAM))
        self.assertFalse(pair.client.eof)
        pair.say_close(CLIENT, 1000)
        self.assertEqual(pair.close_heard(UPSTREAM), (1000, b""))
        self.assertTrue(pair.client.eof)
        self.assertFalse(pair.upstream.eof, "the upstream, a server, ends TCP itself")
        pair.end(UPSTREAM)
        pair.end(CLIENT)
        pair.assert_over()
        self.assertEqual((pair.code(), pair.initiator()), (1001, "upstream"))

    def test_every_code_that_may_be_on_the_wire_goes_across_both_ways(self) -> None:
        for code in CODES:
            for side in Side:
                with self.subTest(code=code, side=side):
                    pair = self.converse()
                    pair.say_close(side, code, b"why")
                    self.assertEqual(pair.close_heard(side.other), (code, b"why"))
                    pair.say_close(side.other, code, b"why")
                    self.assertEqual(pair.close_heard(side), (code, b"why"))

    def test_a_close_without_a_code_goes_across_without_one(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.say_close(side)
                self.assertEqual(pair.close_heard(side.other), (None, b""))
                pair.say_close(side.other)
                self.assertEqual(pair.close_heard(side), (None, b""))
                self.assertEqual(pair.code(), 1005)

    def test_a_reason_of_123_bytes_goes_across(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 1000, b"x" * 123)
        self.assertEqual(pair.close_heard(UPSTREAM), (1000, b"x" * 123))

    def test_when_both_close_at_once_each_gets_the_others_words(self) -> None:
        pair = self.converse()
        pair.client.peer_sends(frame_from(CLIENT, CLOSE, close_payload(4001)))
        pair.upstream.peer_sends(frame_from(UPSTREAM, CLOSE, close_payload(4002)))
        pair.settle()
        self.assertEqual(pair.close_heard(UPSTREAM), (4001, b""))
        self.assertEqual(pair.close_heard(CLIENT), (4002, b""))
        pair.end(UPSTREAM)
        pair.end(CLIENT)
        pair.assert_over()

    def test_what_was_sent_before_a_close_arrives_before_it(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.send(
                    side,
                    frame_from(side, TEXT, b"last words")
                    + frame_from(side, BINARY, LONG)
                    + frame_from(side, CLOSE, close_payload(1000)),
                )
                frames = pair.heard(side.other)
                self.assertEqual([each.opcode for each in frames], [TEXT, BINARY, CLOSE])

    def test_data_for_a_peer_that_has_closed_first_still_reaches_it_before_the_answer(
        self,
    ) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 1000)
        pair.say(UPSTREAM, TEXT, b"on its way already")
        pair.say_close(UPSTREAM, 1000)
        self.assertEqual([each.opcode for each in pair.heard(CLIENT)], [TEXT, CLOSE])

    def test_data_for_a_peer_that_was_sent_a_close_is_discarded(self) -> None:
        pair = self.converse()
        pair.say_close(UPSTREAM, 1000)
        pair.session.close(1012, "too late", "drain")
        pair.say(CLIENT, TEXT, b"still there?")
        pair.say_close(CLIENT, 1000)
        self.assertEqual([each.opcode for each in pair.heard(UPSTREAM)], [TEXT, CLOSE])
        self.assertEqual(pair.close_heard(CLIENT), (1000, b""))

    def test_no_ping_or_pong_follows_a_close_frame(self) -> None:
        for ping in ("relay", "answer"):
            with self.subTest(ping=ping):
                pair = self.converse(evolve(ROUTE, ping=ping))
                pair.say_close(CLIENT, 1000)
                pair.say(UPSTREAM, PING, b"there?")
                pair.say(UPSTREAM, PONG, b"by the way")
                pair.say_close(UPSTREAM, 1000)
                pair.say(UPSTREAM, PING, b"hello?")
                self.assertEqual(pair.close_heard(CLIENT), (1000, b""))
                self.assertEqual(pair.close_heard(UPSTREAM), (1000, b""))


@with_every_pump
class BadCloseFrameTests(GroundTestCase):
    """A close frame that breaks the rules is the sender's violation."""

    def check(self, side: Side, payload: bytes, code: int) -> None:
        pair = self.converse()
        pair.say(side, CLOSE, payload)
        heard, told = pair.close_heard(side), pair.close_heard(side.other)
        assert heard is not None
        assert told is not None
        self.assertEqual(heard[0], code)
        self.assertEqual(told[0], 1001 if side is CLIENT else 1011)
        self.assertEqual((pair.code(), pair.initiator()), (code, f"relay:protocol-{side.value}"))
        self.assertTrue(pair.leg(side).eof, "a violator is not waited for")
        self.assertFalse(pair.leg(side.other).eof)
        pair.say_close(side.other, told[0])
        pair.end(side)
        pair.end(side.other)
        pair.assert_over()

    def test_a_code_that_may_not_be_on_the_wire_is_answered_with_1002(self) -> None:
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535):
            for side in Side:
                with self.subTest(code=code, side=side):
                    self.check(side, close_payload(code, b"reason"), 1002)

    def test_a_reason_that_is_no_utf8_is_answered_with_1007(self) -> None:
        for reason in (b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"cut \xe2\x82"):
            for side in Side:
                with self.subTest(reason=reason, side=side):
                    self.check(side, close_payload(1000, reason), 1007)

    def test_half_a_code_is_answered_with_1002(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.check(side, b"\x03", 1002)


@with_every_pump
class LostLegTests(GroundTestCase):
    """A leg that ends without a close frame."""

    def test_a_client_that_vanishes_is_told_to_the_upstream_as_1001(self) -> None:
        for vanish in (Conversation.end, Conversation.reset):
            with self.subTest(how=vanish.__name__):
                pair = self.converse()
                vanish(pair, CLIENT)
                self.assertEqual(pair.close_heard(UPSTREAM), (1001, b"the client is gone"))
                self.assertEqual((pair.code(), pair.initiator()), (1006, "client"))
                self.assertEqual(pair.ended, [])
                pair.say_close(UPSTREAM, 1001)
                pair.end(UPSTREAM)
                pair.assert_over()

    def test_an_upstream_that_vanishes_is_told_to_the_client_as_1011(self) -> None:
        for vanish in (Conversation.end, Conversation.reset):
            with self.subTest(how=vanish.__name__):
                pair = self.converse()
                vanish(pair, UPSTREAM)
                self.assertEqual(pair.close_heard(CLIENT), (1011, b"the upstream is gone"))
                self.assertEqual((pair.code(), pair.initiator()), (1006, "upstream"))
                self.assertFalse(pair.client.eof, "the client may answer first")
                pair.say_close(CLIENT, 1011)
                self.assertTrue(pair.client.eof)
                pair.end(CLIENT)
                pair.assert_over()
                self.assertFalse(pair.client.aborted)

    def test_whole_frames_before_the_loss_arrive(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.leg(side).peer_sends(frame_from(side, BINARY, LONG))
                pair.end(side)
                self.assertEqual([each.opcode for each in pair.heard(side.other)], [BINARY, CLOSE])

    def test_a_leg_that_is_lost_in_a_held_frame_leaves_the_other_at_a_boundary(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.send(side, frame_from(side, BINARY, bytes(900))[:-1])
                pair.end(side)
                self.assertEqual([each.opcode for each in pair.heard(side.other)], [CLOSE])
                self.assertFalse(pair.leg(side.other).aborted)

    def test_a_leg_that_is_lost_in_a_streamed_frame_takes_the_other_with_it(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                piece = frame_from(side, BINARY, LONG)[:-1]
                pair.send(side, piece)
                pair.end(side)
                self.assertTrue(pair.leg(side.other).aborted)
                self.assertEqual(bytes(pair.leg(side.other).received), piece)
                pair.assert_over()

    def test_a_leg_lost_at_the_very_end_of_a_streamed_frame_does_not(self) -> None:
        pair = self.converse()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        pair.send(UPSTREAM, frame[:3000])
        pair.send(UPSTREAM, frame[3000:])
        pair.end(UPSTREAM)
        self.assertEqual([each.opcode for each in pair.heard(CLIENT)], [BINARY, CLOSE])
        self.assertFalse(pair.client.aborted)

    def test_a_leg_lost_between_fragments_leaves_the_other_at_a_boundary(self) -> None:
        pair = self.converse()
        pair.say(UPSTREAM, TEXT, b"never finished", final=False)
        pair.end(UPSTREAM)
        self.assertEqual([each.opcode for each in pair.heard(CLIENT)], [TEXT, CLOSE])

    def test_a_peer_that_closed_gets_its_words_back_when_the_other_vanishes(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.say_close(side, 4000, b"bye")
                pair.end(side.other)
                self.assertEqual(pair.close_heard(side), (4000, b"bye"))
                pair.end(side)
                pair.assert_over()
                self.assertEqual((pair.code(), pair.initiator()), (4000, side.value))

    def test_a_peer_that_closes_when_the_other_is_gone_needs_no_second_close(self) -> None:
        pair = self.converse()
        pair.end(UPSTREAM)
        pair.say_close(CLIENT, 1000, b"bye")
        self.assertEqual(pair.close_heard(CLIENT), (1011, b"the upstream is gone"))
        self.assertEqual(pair.initiator(), "upstream")

    def test_when_both_vanish_nothing_is_left(self) -> None:
        pair = self.converse()
        pair.client.peer_resets()
        pair.reset(UPSTREAM)
        pair.assert_over()

    def test_a_leg_that_stalls_with_a_full_buffer_and_is_reset_is_noticed(self) -> None:
        pair = self.converse()
        pair.client.stalled = True
        for _ in range(20):
            pair.say(UPSTREAM, BINARY, LONG)
        pair.reset(CLIENT)
        self.assertTrue(pair.client.lost)
        self.assertEqual(pair.close_heard(UPSTREAM), (1001, b"the client is gone"))


@with_every_pump
class ViolationTests(GroundTestCase):
    """A peer that breaks the protocol, or a limit."""

    def test_a_violator_gets_its_code_and_the_other_that_of_a_loss(self) -> None:
        for side, code in ((CLIENT, 1001), (UPSTREAM, 1011)):
            with self.subTest(side=side):
                pair = self.converse()
                pair.send(side, frame_from(side, TEXT, b"good") + frame_from(side, 3))
                self.assertEqual(pair.close_heard(side), (1002, b"reserved opcode 3"))
                other = pair.heard(side.other)
                self.assertEqual([each.opcode for each in other], [TEXT, CLOSE])
                words = f"the {side.value} broke the protocol".encode()
                self.assertEqual(pair.close_heard(side.other), (code, words))
                self.assertTrue(pair.leg(side).eof)
                self.assertEqual(pair.initiator(), f"relay:protocol-{side.value}")
                pair.advance(5)
                pair.assert_over()

    def test_a_message_over_the_limit_is_answered_with_1009(self) -> None:
        pair = self.converse(evolve(ROUTE, max_message_size_up=10, max_message_size_down=20))
        pair.say(UPSTREAM, TEXT, bytes(20))
        pair.say(CLIENT, TEXT, bytes(11))
        self.assertEqual(pair.close_heard(CLIENT), (1009, b"message over the limit of 10 bytes"))
        self.assertEqual(pair.initiator(), "relay:too-big-client")

    def test_a_violator_that_goes_on_is_not_heard(self) -> None:
        pair = self.converse()
        pair.say(CLIENT, 3)
        pair.say(CLIENT, TEXT, b"and another thing")
        pair.say_close(CLIENT, 1000)
        self.assertEqual([each.opcode for each in pair.heard(UPSTREAM)], [CLOSE])
        self.assertEqual(pair.code(), 1002)

    def test_data_behind_a_close_frame_does_not_change_what_the_other_was_told(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 4000)
        pair.say(CLIENT, TEXT, b"one more thing")
        self.assertEqual(pair.close_heard(UPSTREAM), (4000, b""))
        self.assertFalse([each for each in pair.heard(CLIENT) if each.opcode == CLOSE])
        pair.say_close(UPSTREAM, 4001)
        self.assertEqual(pair.close_heard(CLIENT), (4001, b""))
        self.assertEqual((pair.code(), pair.initiator()), (4000, "client"))

    def test_a_violator_in_the_middle_of_a_frame_for_it_is_told_at_the_frames_end(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                frame = frame_from(side.other, BINARY, LONG)
                pair.send(side.other, frame[:2000])
                pair.say(side, 3)
                self.assertFalse(pair.leg(side).eof, "the frame for it is not complete yet")
                pair.send(side.other, frame[2000:])
                self.assertEqual([each.opcode for each in pair.heard(side)], [BINARY, CLOSE])
                self.assertEqual(pair.close_heard(side), (1002, b"reserved opcode 3"))
                self.assertTrue(pair.leg(side).eof)

    def test_a_violator_inside_a_frame_that_never_ends_is_gone_with_the_timeout(self) -> None:
        pair = self.converse()
        pair.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        pair.say(CLIENT, 3)
        pair.advance(5)
        pair.assert_over()
        self.assertIsNone(pair.close_heard(CLIENT))


@with_every_pump
class RelayCloseTests(GroundTestCase):
    """The relay itself ends a session: a drain, for example."""

    def test_both_legs_are_told_the_same(self) -> None:
        pair = self.converse()
        pair.session.close(1012, "the relay is stopping", "drain")
        pair.settle()
        for side in Side:
            self.assertEqual(pair.close_heard(side), (1012, b"the relay is stopping"))
            self.assertFalse(pair.leg(side).eof)
        pair.say_close(CLIENT, 1012)
        self.assertTrue(pair.client.eof)
        pair.say_close(UPSTREAM, 1012)
        pair.end(CLIENT)
        pair.end(UPSTREAM)
        pair.assert_over()
        self.assertEqual((pair.code(), pair.initiator()), (1012, "relay:drain"))

    def test_the_first_cause_stays_whatever_the_legs_say_then(self) -> None:
        pair = self.converse()
        pair.session.close(1012, "first", "drain")
        pair.session.close(1001, "second", "idle")
        pair.say_close(CLIENT, 4000, b"third")
        pair.say(UPSTREAM, 3)
        self.assertEqual(pair.close_heard(CLIENT), (1012, b"first"))
        self.assertEqual(pair.close_heard(UPSTREAM), (1012, b"first"))
        self.assertEqual((pair.code(), pair.initiator()), (1012, "relay:drain"))

    def test_a_close_waits_for_the_end_of_a_streamed_frame_on_that_leg_only(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                frame = frame_from(side, BINARY, LONG)
                pair.send(side, frame[:2000])
                pair.session.close(1012, "stopping", "drain")
                pair.settle()
                self.assertEqual(pair.close_heard(side), (1012, b"stopping"))
                self.assertIsNone(pair.close_heard(side.other))
                pair.send(side, frame[2000:] + frame_from(side, TEXT, b"too late"))
                frames = pair.heard(side.other)
                self.assertEqual([each.opcode for each in frames], [BINARY, CLOSE])
                self.assertEqual(frames[0].payload, LONG)

    def test_a_close_of_the_clients_own_does_not_overtake_the_one_that_waits(self) -> None:
        pair = self.converse()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        pair.send(UPSTREAM, frame[:2000])
        pair.session.close(1012, "stopping", "drain")
        pair.say_close(CLIENT, 4000)
        pair.send(UPSTREAM, frame[2000:])
        self.assertEqual([each.opcode for each in pair.heard(CLIENT)], [BINARY, CLOSE])
        self.assertEqual(pair.close_heard(CLIENT), (1012, b"stopping"))

    def test_a_held_frame_does_not_delay_a_close(self) -> None:
        pair = self.converse()
        frame = frame_from(UPSTREAM, BINARY, bytes(900))
        pair.send(UPSTREAM, frame[:-1])
        pair.session.close(1012, "stopping", "drain")
        pair.send(UPSTREAM, frame[-1:])
        self.assertEqual([each.opcode for each in pair.heard(CLIENT)], [CLOSE])

    def test_a_close_during_the_peers_own_close_changes_nothing(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 4000)
        pair.session.close(1012, "stopping", "drain")
        pair.settle()
        self.assertIsNone(pair.close_heard(CLIENT))
        self.assertEqual((pair.code(), pair.initiator()), (4000, "client"))

    def test_a_reason_that_is_too_long_is_cut(self) -> None:
        pair = self.converse()
        pair.session.close(1011, "ä" * 100, "error")
        pair.settle()
        self.assertEqual(pair.close_heard(CLIENT), (1011, ("ä" * 61).encode()))

    def test_abort_ends_both_legs_at_once(self) -> None:
        pair = self.converse()
        pair.session.abort()
        pair.settle()
        pair.assert_over()
        self.assertTrue(pair.client.aborted and pair.upstream.aborted)
        self.assertEqual(pair.initiator(), "relay:abort")

    def test_abort_hurries_a_close_that_is_under_way(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 4000)
        pair.session.abort()
        pair.settle()
        pair.assert_over()
        self.assertEqual((pair.code(), pair.initiator()), (4000, "client"))


@with_every_pump
class CloseTimeoutTests(GroundTestCase):
    """Everything is over ``close_timeout`` seconds after the first cause."""

    def test_a_close_that_is_never_answered_comes_back_after_four_fifths(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.advance(100)
                pair.say_close(side, 4000, b"bye")
                pair.advance(3.999)
                self.assertIsNone(pair.close_heard(side))
                pair.advance(0.001)
                self.assertEqual(pair.close_heard(side), (4000, b"bye"))
                self.assertFalse(pair.is_over)
                pair.advance(1)
                pair.assert_over()
                self.assertTrue(pair.leg(side.other).aborted)

    def test_a_late_answer_still_ends_the_session_early(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 4000)
        pair.advance(4.5)
        pair.end(CLIENT)
        pair.say_close(UPSTREAM, 4000)
        pair.end(UPSTREAM)
        pair.assert_over()
        self.assertEqual(pair.clock.seconds(), 4.5)

    def test_peers_that_do_nothing_are_gone_at_the_timeout_and_not_before(self) -> None:
        pair = self.converse()
        pair.session.close(1012, "stopping", "drain")
        pair.advance(4.999)
        self.assertFalse(pair.client.lost or pair.upstream.lost)
        pair.advance(0.001)
        pair.assert_over()

    def test_a_peer_that_reads_nothing_is_gone_at_the_timeout(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                pair.leg(side).stalled = True
                for _ in range(20):
                    pair.say(side.other, BINARY, LONG)
                self.assertFalse(pair.leg(side.other).reading)
                pair.session.close(1012, "stopping", "drain")
                pair.settle()
                self.assertEqual(pair.close_heard(side.other), (1012, b"stopping"))
                pair.advance(5)
                pair.assert_over()

    def test_a_peer_that_answers_while_the_other_reads_nothing_is_heard(self) -> None:
        pair = self.converse()
        pair.client.stalled = True
        for _ in range(20):
            pair.say(UPSTREAM, BINARY, LONG)
        pair.session.close(1012, "stopping", "drain")
        pair.say_close(UPSTREAM, 1012)
        pair.end(UPSTREAM)
        self.assertTrue(pair.upstream.lost)

    def test_a_client_that_keeps_its_connection_open_after_all_is_said_is_aborted(self) -> None:
        pair = self.converse()
        pair.say_close(CLIENT, 1000)
        pair.say_close(UPSTREAM, 1000)
        pair.end(UPSTREAM)
        pair.advance(4.999)
        self.assertFalse(pair.client.lost)
        pair.advance(0.001)
        pair.assert_over()

    def test_the_timeout_counts_from_the_first_cause(self) -> None:
        pair = self.converse(evolve(ROUTE, close_timeout=2.0))
        pair.say_close(CLIENT, 1000)
        pair.advance(1.5)
        pair.say_close(UPSTREAM, 1000)
        pair.advance(0.4999)
        self.assertFalse(pair.is_over)
        pair.advance(0.0001)
        pair.assert_over()


@with_every_pump
class FailureTests(GroundTestCase):
    """A fault of the relay's own ends one session only."""

    def test_a_control_frame_that_cannot_be_handled_closes_the_session_with_1011(self) -> None:
        pair = self.converse()

        def fail(*_: object) -> None:
            raise RuntimeError("broken on purpose")

        self.patch(Session, "ping_received", fail)
        pair.say(CLIENT, PING, b"x")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        for side in Side:
            self.assertEqual(pair.close_heard(side), (1011, b"internal error"))
        self.assertEqual(pair.initiator(), "relay:error")
