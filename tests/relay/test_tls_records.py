"""What only legs with TLS do, natively: records, keys, goodbyes, and OpenSSL that fails."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.relay.pumps import (
    LONG,
    WHOLE,
    GroundTestCase,
    PumpTestCase,
    needs_native,
)
from tests.relay.records import BAD_RECORD, CLOSE_NOTIFY, HANDSHAKE, MAX_PLAIN, key_update
from tests.relay.secure import (
    WRAPPING,
    ClientSecureGround,
    SecureGround,
    UpstreamSecureGround,
)
from tests.relay.support import (
    BINARY,
    CLOSE,
    PING,
    READ_SIZE,
    ROUTE,
    TEXT,
    Conversation,
    close_payload,
    frame_from,
)
from wsrelay.relay import native_tls
from wsrelay.relay.pump import PumpOptions, Side
from wsrelay.relay.python_leg import MAX_WAITING
from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import MAX_CONTROLS

with contextlib.suppress(ImportError):  # test_native_pump.py says so
    from wsrelay.relay._native import ffi, lib

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
SECURE = {
    "Secure": SecureGround,
    "ClientSecure": ClientSecureGround,
    "UpstreamSecure": UpstreamSecureGround,
}
OPTIONS = PumpOptions(0, Limits(WHOLE), Limits(WHOLE))


class SecureTestCase(PumpTestCase):
    """Gives each test a native pump between two sockets that speak TLS."""

    lay_ground = SECURE["Secure"]

    def raw(self, side: Side, *pieces: bytes) -> None:
        """Let a peer send records, or pieces of them, as they are."""
        for piece in pieces:
            self.transports[side].peer_sends_raw(piece)
        self.settle()

    def peer(self, side: Side) -> Any:
        return self.transports[side].peer

    def begin_inside_a_read(self, side: Side, *records: bytes) -> None:
        """Start the pump as Twisted delivers the first of the records in one read."""
        connection = self.transports[side].protocol

        def start(data: bytes) -> None:
            connection.receive = self.pump.received_from(side)
            self.pump.start(b"", b"", data)

        connection.receive = start
        self.raw(side, b"".join(records))


@needs_native
class RecordTests(SecureTestCase):
    """Data arrives whole, whatever records it comes in."""

    def test_a_record_may_be_cut_anywhere(self) -> None:
        self.start()
        for side in Side:
            frame = frame_from(side, TEXT, b"cut")
            for at in range(len(frame) + WRAPPING):
                record = self.peer(side).seal(frame)
                self.raw(side, record[:at], record[at:])
            self.assertEqual(self.got(side.other), frame * (at + 1))

    def test_records_may_come_byte_for_byte(self) -> None:
        self.start()
        frames = frame_from(CLIENT, TEXT, b"drip") + frame_from(CLIENT, BINARY, bytes(300))
        self.raw(CLIENT, *(bytes([each]) for each in self.peer(CLIENT).seal(frames, 50)))
        self.assertEqual(self.got(UPSTREAM), frames)

    def test_records_may_be_of_any_size(self) -> None:
        self.start()
        for side in Side:
            data = frame_from(side, BINARY, LONG) + frame_from(side, TEXT, b"x" * WHOLE)
            for size in (1, 2, 1000, MAX_PLAIN):
                self.raw(side, self.peer(side).seal(data, size))
            self.assertEqual(self.got(side.other), data * 4)

    def test_a_read_full_of_records_behind_half_of_one_is_taken_whole(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, bytes(MAX_PLAIN - 4))
        cipher = self.peer(UPSTREAM).seal(frame * 12)
        self.transports[UPSTREAM].peer_sends_raw(cipher[: MAX_PLAIN - 10])
        self.settle()
        self.transports[UPSTREAM].transport.sends_at_once(cipher[MAX_PLAIN - 10 :])
        self.settle()
        self.assertEqual(self.got(CLIENT), frame * 12)

    def test_empty_records_say_nothing(self) -> None:
        self.start()
        peer, text = self.peer(CLIENT), frame_from(CLIENT, TEXT, b"x")
        for _ in range(50):
            self.raw(CLIENT, peer.sending.seal(23, b"") + peer.seal(text))
        self.assertEqual(self.got(UPSTREAM), text * 50)

    def test_more_controls_than_a_portion_in_one_record_are_all_told(self) -> None:
        self.start()
        for side in Side:
            ping = frame_from(side, PING)
            self.send(side, ping * (3 * MAX_CONTROLS + 5))
            self.assertEqual(self.owner.told, [(side, ping)] * (3 * MAX_CONTROLS + 5))
            self.owner.told.clear()

    def test_both_ways_at_once_with_readers_that_stop_by_turns(self) -> None:
        self.start()
        sent = {side: b"" for side in Side}
        for turn in range(60):
            for number, side in enumerate(Side):
                self.transports[side].stalled = bool((turn >> number) & 1)
                data = frame_from(side, BINARY, bytes([turn]) * 20_000)
                sent[side] += data
                self.transports[side].peer_sends(data)
            self.settle()
            for side in Side:
                self.assertLessEqual(self.kept(side), READ_SIZE + MAX_PLAIN + WHOLE)
        for transport in self.transports.values():
            transport.stalled = False
        self.settle()
        for side in Side:
            self.assertEqual(self.got(side.other), sent[side])


@needs_native
class KeyTests(SecureTestCase):
    """New keys (RFC 8446 section 4.6.3), and messages that come in pieces."""

    def half_of_an_update(self, side: Side, wants_ours: bool = False) -> bytes:
        """Let a peer send half of a KeyUpdate; return the record with the rest."""
        peer, message = self.peer(side), key_update(wants_ours)
        self.raw(side, peer.sending.seal(HANDSHAKE, message[:4]))
        rest: bytes = peer.sending.seal(HANDSHAKE, message[4:])
        peer.sending = peer.sending.next()
        return rest

    def test_keys_may_change_in_the_middle_of_traffic_both_ways(self) -> None:
        self.start()
        expected = {side: b"" for side in Side}
        for turn in range(40):
            for side in Side:
                peer, frame = self.peer(side), frame_from(side, BINARY, bytes([turn]) * 3000)
                pieces = (
                    peer.seal(frame[:1500]),
                    peer.update(turn % 2 == 0),
                    peer.seal(frame[1500:]),
                )
                expected[side.other] += frame
                self.raw(side, b"".join(pieces))
        for side in Side:
            self.assertEqual(self.got(side), expected[side])
            self.assertEqual(self.peer(side).key_updates(), 20)
        self.assertEqual(self.owner.told, [])

    def test_a_peer_that_asks_for_new_keys_and_takes_none_is_no_longer_read(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].stalled = True
                for _ in range(20):
                    if self.pump.is_paused(side):
                        break
                    self.raw(side, b"".join(self.peer(side).update(True) for _ in range(200)))
                self.assertTrue(self.pump.is_paused(side))
                text = frame_from(side, TEXT, b"still there")
                self.send(side, text)
                self.assertEqual(self.got(side.other), b"")
                self.transports[side].stalled = False
                self.settle()
                self.assertEqual(self.got(side.other), text)
                self.got(side)
                self.assertGreater(self.peer(side).key_updates() * 27, MAX_WAITING)

    def test_what_is_said_to_a_peer_inside_a_message_of_its_own_waits_for_its_end(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                rest = self.half_of_an_update(side, wants_ours=True)
                frames = [frame_from(side.other, BINARY, LONG), frame_from(side.other, PING)]
                self.send(side.other, frames[0])
                self.pump.send(side, frames[1])
                self.assertEqual(self.got(side), b"")
                self.assertTrue(self.pump.is_waiting(side))
                self.assertTrue(self.pump.is_paused(side.other))
                self.assertFalse(self.pump.is_paused(side))
                self.assertEqual(self.pump.totals().buffered, len(b"".join(frames)))
                self.raw(side, rest)
                self.assertEqual(self.got(side), b"".join(frames))
                self.assertEqual(self.peer(side).key_updates(), 1)
                self.assertFalse(self.pump.is_waiting(side) or self.pump.is_paused(side.other))
                self.send(side, frame_from(side, TEXT, b"back"))
                self.assertEqual(self.got(side.other), frame_from(side, TEXT, b"back"))

    def test_both_peers_may_be_inside_a_message_of_their_own(self) -> None:
        self.start()
        rests = {side: self.half_of_an_update(side) for side in Side}
        for side in Side:
            self.pump.send(side, frame_from(side.other, PING, b"?"))
        for side in Side:
            text = frame_from(side, TEXT, b"behind")
            self.raw(side, rests[side] + self.peer(side).seal(text))
            self.assertTrue(self.got(side).startswith(frame_from(side.other, PING, b"?")))
            self.assertTrue(self.got(side.other).endswith(text) or side is CLIENT)
        for side in Side:
            ping, text = frame_from(side.other, PING, b"?"), frame_from(side.other, TEXT, b"behind")
            self.assertEqual(self.got(side), ping + text)

    def test_a_leg_is_shut_when_what_waits_for_the_end_of_a_message_is_said(self) -> None:
        self.start()
        rest = self.half_of_an_update(CLIENT)
        goodbye = frame_from(UPSTREAM, CLOSE, close_payload(1012))
        self.pump.send(CLIENT, goodbye)
        self.pump.shut(CLIENT)
        self.settle()
        self.assertFalse(self.transports[CLIENT].eof)
        self.raw(CLIENT, rest)
        self.assertEqual(self.got(CLIENT), goodbye)
        self.assertTrue(self.transports[CLIENT].eof)

    def test_data_inside_a_message_ends_the_leg(self) -> None:
        self.start()
        self.half_of_an_update(CLIENT)
        self.pump.send(CLIENT, b"\x89\x00")
        self.send(CLIENT, frame_from(CLIENT, TEXT, b"x"))
        self.assertEqual(self.got(UPSTREAM), b"")
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])


@needs_native
class EndTests(SecureTestCase):
    """A close_notify ends a leg, and so does whatever else ends a connection."""

    def test_a_goodbye_is_answered_and_ends_the_leg_before_tcp_does(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].peer_says_goodbye()
                self.settle()
                self.assertEqual(self.owner.told, [(side, "lost")])
                self.got(side)
                self.assertEqual(self.peer(side).alerts(), [CLOSE_NOTIFY])

    def test_what_stands_before_a_goodbye_in_the_same_read_is_passed_on(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                frame, ping = frame_from(side, BINARY, LONG), frame_from(side, PING, b"!")
                self.send(side, frame[:2000])
                peer = self.peer(side)
                self.raw(side, peer.seal(frame[2000:] + ping) + peer.goodbye())
                self.assertEqual(self.got(side.other), frame)
                self.assertEqual(self.owner.told, [(side, ping), (side, "lost")])

    def test_a_backlog_before_a_goodbye_is_told_whole(self) -> None:
        self.start()
        ping = frame_from(UPSTREAM, PING)
        peer = self.peer(UPSTREAM)
        self.raw(UPSTREAM, peer.seal(ping * 3 * MAX_CONTROLS) + peer.goodbye())
        told = [(UPSTREAM, ping)] * (3 * MAX_CONTROLS)
        self.assertEqual(self.owner.told, [*told, (UPSTREAM, "lost")])

    def test_nothing_counts_behind_a_goodbye(self) -> None:
        self.start()
        peer, text = self.peer(CLIENT), frame_from(CLIENT, TEXT, b"x")
        self.raw(CLIENT, peer.seal(text) + peer.goodbye() + peer.seal(text))
        self.assertEqual(self.got(UPSTREAM), text)

    def test_an_end_of_tcp_ends_the_leg_inside_a_record_too(self) -> None:
        for side in Side:
            for cut in (None, 1, 5, 20):
                with self.subTest(side=side, cut=cut):
                    self.setUp()
                    self.start()
                    text = frame_from(side, TEXT, b"whole")
                    self.send(side, text)
                    if cut:
                        self.raw(side, self.peer(side).seal(text)[:cut])
                    self.transports[side].peer_ends_rudely()
                    self.settle()
                    self.assertEqual(self.got(side.other), text)
                    self.assertEqual(self.owner.told, [(side, "lost")])

    def test_a_reset_ends_the_leg(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].peer_resets()
                self.settle()
                self.assertEqual(self.owner.told, [(side, "lost")])

    def test_a_record_that_was_tampered_with_is_answered_with_an_alert(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                text = frame_from(side, TEXT, b"good")
                bad = bytearray(self.peer(side).seal(text) + self.peer(side).seal(text))
                bad[-1] ^= 1
                self.raw(side, bytes(bad))
                self.assertEqual(self.got(side.other), text)
                self.assertEqual(self.owner.told, [(side, "lost")])
                self.got(side)
                self.assertEqual(self.peer(side).alerts(), [BAD_RECORD])

    def test_what_is_no_record_at_all_ends_the_leg(self) -> None:
        for nonsense in (
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(100),
            b"\x17\x03\x03\xff\xff" + bytes(99),
        ):
            with self.subTest(nonsense=nonsense[:5]):
                self.setUp()
                self.start()
                self.raw(CLIENT, nonsense)
                self.assertEqual(self.owner.told, [(CLIENT, "lost")])
                self.send(UPSTREAM, frame_from(UPSTREAM, PING, b"still heard"))
                self.assertEqual(len(self.owner.told), 2)

    def test_a_leg_that_is_shut_gets_what_was_written_then_a_goodbye_then_the_end(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].stalled = True
                frame = frame_from(side.other, BINARY, bytes(50_000))
                self.send(side.other, frame)
                self.pump.shut(side)
                self.transports[side].stalled = False
                self.settle()
                self.assertEqual(self.got(side), frame)
                self.assertTrue(self.transports[side].eof)
                self.assertEqual(self.owner.told, [])
                self.transports[side].peer_says_goodbye()
                self.settle()
                self.assertEqual(self.owner.told, [(side, "lost")])

    def test_a_leg_that_is_aborted_gets_nothing_more(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.pump.abort(side)
                self.settle()
                self.assertEqual(self.got(side), b"")
                self.assertFalse(self.transports[side].eof)
                self.assertEqual(self.owner.told, [(side, "lost")])


@needs_native
class SessionTests(GroundTestCase):
    """What the other peer is told of a leg that TLS ended."""

    lay_ground = SECURE["Secure"]

    def test_the_other_peer_is_told_as_of_any_loss(self) -> None:
        ends = {
            "goodbye": lambda leg: leg.peer_says_goodbye(),
            "end": lambda leg: leg.peer_ends_rudely(),
            "reset": lambda leg: leg.peer_resets(),
            "garbage": lambda leg: leg.peer_sends_raw(bytes(50)),
            "half a record": lambda leg: [leg.peer_sends_raw(b"\x17\x03"), leg.peer_ends_rudely()],
        }
        for side, code in ((CLIENT, 1001), (UPSTREAM, 1011)):
            for name, end in ends.items():
                with self.subTest(side=side, end=name):
                    pair = self.converse()
                    end(pair.leg(side))
                    pair.settle()
                    told = pair.close_heard(side.other)
                    assert told is not None
                    self.assertEqual(told[0], code)

    def test_a_close_frame_counts_with_a_goodbye_right_behind_it(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                pair = self.converse()
                leg = pair.leg(side)
                close = frame_from(side, CLOSE, close_payload(4000, b"bye"))
                leg.peer_sends_raw(leg.peer.seal(close) + leg.peer.goodbye())
                pair.settle()
                self.assertEqual(pair.close_heard(side.other), (4000, b"bye"))
                pair.say_close(side.other, 4000)
                pair.end(side.other)
                pair.assert_over()

    def test_a_drain_says_goodbye_twice_and_then_ends(self) -> None:
        pair = self.converse(ROUTE)
        pair.session.close(1012, "stopping", "drain")
        pair.settle()
        for side in Side:
            self.assertEqual(pair.close_heard(side), (1012, b"stopping"))
            pair.say_close(side, 1012)
        self.assertTrue(pair.client.eof)  # which looks for the close_notify
        for side in Side:
            pair.end(side)
        pair.assert_over()


@needs_native
class FailingTests(SecureTestCase):
    """OpenSSL's functions fail for one session; another one beside it goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.other = Conversation(self.ground, self.clock)
        self.kept_alive: list[Any] = []
        self.known = ffi.new("struct tls_functions *")
        addresses = [ffi.cast("void *", each) for each in native_tls.functions()]
        ffi.cast("void **", self.known)[0 : len(addresses)] = addresses

    def break_function(self, name: str, result: int) -> None:
        """Let one of OpenSSL's functions fail for this session's client leg."""
        known = self.known
        real = getattr(known, name)
        objects = native_tls.tls_objects(self.transports[CLIENT])
        spoiled = [ffi.cast("void *", each) for each in (objects.ssl, objects.into, objects.out)]

        def call(first: Any, *rest: Any) -> int:
            return result if first in spoiled else real(first, *rest)

        broken = ffi.callback(ffi.typeof(real), call)
        self.kept_alive.append(broken)
        setattr(known, name, broken)
        lib.hub_set_tls(self.ground.hub.open(), known)

    def check_that_only_this_session_ended(self) -> None:
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.other.say(CLIENT, TEXT, b"unharmed")
        self.assertEqual([each.payload for each in self.other.heard(UPSTREAM)], [b"unharmed"])
        self.other.say(UPSTREAM, TEXT, b"unharmed too")
        self.assertEqual([each.payload for each in self.other.heard(CLIENT)], [b"unharmed too"])
        self.other.session.abort()
        self.other.settle()

    def test_a_write_that_fails_ends_the_leg(self) -> None:
        for result in (0, -1):
            with self.subTest(result=result):
                self.setUp()
                self.break_function("ssl_write", result)
                self.break_function("ssl_get_error", 1)
                self.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"x"))
                self.check_that_only_this_session_ended()

    def test_a_read_that_fails_ends_the_leg(self) -> None:
        self.break_function("ssl_read", -1)
        self.break_function("ssl_get_error", 1)
        self.send(CLIENT, frame_from(CLIENT, TEXT, b"x"))
        self.check_that_only_this_session_ended()

    def test_memory_that_takes_nothing_ends_the_leg(self) -> None:
        for result in (0, -1, 7):
            with self.subTest(result=result):
                self.setUp()
                self.break_function("bio_write", result)
                self.send(CLIENT, frame_from(CLIENT, TEXT, b"x"))
                self.check_that_only_this_session_ended()

    def test_a_goodbye_that_cannot_be_said_does_not_keep_the_leg(self) -> None:
        self.break_function("ssl_shutdown", -1)
        self.transports[CLIENT].peer_says_goodbye()
        self.check_that_only_this_session_ended()
