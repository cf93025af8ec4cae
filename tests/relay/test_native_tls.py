"""Legs that speak TLS and were taken over from Twisted in whatever state they were."""

from __future__ import annotations

import contextlib
from typing import Any

from OpenSSL import SSL

from tests.relay.pumps import LIMITS, LONG, TLS, Owner, PumpTestCase, needs_native
from tests.relay.support import BINARY, PING, TEXT, connect, frame_from, settle
from wsrelay.relay.pump import PumpOptions, Side
from wsrelay.relay.python_pump import PythonPump
from wsrelay.wire.frames import MAX_CONTROLS

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
RECORD_HEADER = 5


class TLSTestCase(PumpTestCase):
    """Gives each test a native pump between two TLS connections."""

    lay_ground = TLS

    def put_between(self, client: Any, upstream: Any) -> None:
        """Make the pump anew, between other transports."""
        self.transports = {CLIENT: client, UPSTREAM: upstream}
        self.join()


@needs_native
class TakingOverTests(TLSTestCase):
    """Nothing is lost or left behind when the pump takes a connection from Twisted."""

    def pump_of(self, client: Any, upstream: Any) -> Any:
        options = PumpOptions(0, LIMITS, LIMITS)
        return self.ground.make_pump(Owner(), client, upstream, options, self.clock)

    def test_two_idle_connections_get_a_native_pump(self) -> None:
        self.assertIsNot(type(self.pump), PythonPump)

    def test_one_leg_may_be_plain(self) -> None:
        for tls_side in Side:
            with self.subTest(tls=tls_side):
                secret, plain = self.ground.transport(), self.ground.plain_transport()
                pair = (secret, plain) if tls_side is CLIENT else (plain, secret)
                self.put_between(*pair)
                self.assertIsNot(type(self.pump), PythonPump)
                self.start()
                for side in Side:
                    frame = frame_from(side, BINARY, LONG * 30)
                    self.send(side, frame[:100], frame[100:])
                    self.assertEqual(self.got(side.other), frame)

    def test_a_connection_that_twisted_still_writes_to_gets_a_python_pump(self) -> None:
        one, other = self.ground.transport(), self.ground.transport()
        one.tls._appSendBuffer = [b"x"]
        self.assertIs(type(self.pump_of(one, other)), PythonPump)
        self.assertIs(type(self.pump_of(other, one)), PythonPump)

    def test_what_twisted_keeps_of_a_connection_counts_as_buffered(self) -> None:
        one, other = self.ground.transport(), self.ground.transport()
        one.tls._appSendBuffer = [b"before", b"it"]
        one.tls._aggregator._buffer.append(b"behind")
        one.socket.dataBuffer = b"sealed"
        self.assertEqual(self.pump_of(one, other).totals().buffered, 20)

    def test_a_connection_in_its_handshake_gets_a_python_pump(self) -> None:
        one, other = self.ground.transport(), self.ground.transport()
        one.tls._handshakeDone = False
        self.assertIs(type(self.pump_of(one, other)), PythonPump)

    def test_a_record_that_had_come_in_part_is_completed(self) -> None:
        frame = frame_from(CLIENT, TEXT, b"in two parts")
        client = self.transports[CLIENT]
        client.peer.send(frame)
        record = client.encrypted()
        for size in (1, RECORD_HEADER, RECORD_HEADER + 3, len(record) - 1):
            with self.subTest(size=size):
                self.setUp()
                client = self.transports[CLIENT]
                client.peer.send(frame)
                record = client.encrypted()
                client.tls.dataReceived(record[:size])
                self.start()
                client.socket.peer_sends(record[size:])
                self.settle()
                self.assertEqual(self.got(UPSTREAM), frame)

    def read_at_once(self, rest: bytes, *records: bytes) -> None:
        """Let Twisted read a 101 with *rest* behind it, and then more records at once."""
        upstream = self.transports[UPSTREAM]

        def start(data: bytes) -> None:
            """Do what a handshake does with a 101."""
            upstream.protocol.receive = self.pump.received_from(UPSTREAM)
            self.pump.start(b"", b"", rest)

        upstream.protocol.receive = start
        for record in (b"HTTP/1.1 101 etc", *records):
            upstream.peer.send(record)

    def test_records_behind_the_one_that_began_the_session_are_not_lost(self) -> None:
        upstream = self.transports[UPSTREAM]
        frames = [frame_from(UPSTREAM, TEXT, b"%d" % each) for each in range(5)]
        ping, more = frame_from(UPSTREAM, PING, b"p"), frame_from(UPSTREAM, TEXT, b"more")
        self.read_at_once(
            frames[0] + frames[1][:1], frames[1][1:] + frames[2], ping + frames[3], frames[4][:2]
        )
        upstream.tls.dataReceived(upstream.encrypted())
        self.assertEqual(self.pump.received(UPSTREAM), len(b"".join(frames)) + len(ping) - 1)
        self.send(UPSTREAM, frames[4][2:] + more)
        self.assertEqual(self.got(CLIENT), b"".join(frames) + more)
        self.assertEqual(self.owner.told, [(UPSTREAM, ping)])

    def test_a_flood_that_began_before_the_pump_is_all_told(self) -> None:
        upstream = self.transports[UPSTREAM]
        pings = [frame_from(UPSTREAM, PING, b"%d" % each) for each in range(1500)]
        self.read_at_once(b"".join(pings[:500]), *pings[500:1000])
        upstream.tls.dataReceived(upstream.encrypted())
        self.assertEqual(len(self.owner.told), MAX_CONTROLS, "in portions, like any other")
        self.send(UPSTREAM, *pings[1000:])
        self.assertEqual(self.owner.told, [(UPSTREAM, each) for each in pings])

    def test_an_end_in_the_read_that_began_the_session_is_an_end(self) -> None:
        upstream = self.transports[UPSTREAM]
        first, second = frame_from(UPSTREAM, TEXT, b"first"), frame_from(UPSTREAM, TEXT, b"second")
        self.read_at_once(first, second)
        upstream.peer.shutdown()
        upstream.tls.dataReceived(upstream.encrypted())
        self.settle()
        self.assertEqual(self.got(CLIENT), first + second)
        self.assertEqual(self.owner.told, [(UPSTREAM, "lost")])

    def test_what_comes_for_a_leg_that_was_aborted_meanwhile_is_discarded(self) -> None:
        upstream = self.transports[UPSTREAM]
        ping = frame_from(UPSTREAM, PING, b"p")
        self.owner.on_control = lambda side, frame: self.pump.abort(side)
        self.read_at_once(b"", ping, ping, ping)
        upstream.tls.dataReceived(upstream.encrypted())
        self.settle()
        self.assertEqual(self.owner.told, [(UPSTREAM, ping), (UPSTREAM, "lost")])


@needs_native
class EndTests(TLSTestCase):
    """How a TLS connection ends, and how it fails."""

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_what_stood_before_a_close_notify_is_passed_on(self) -> None:
        frame = frame_from(CLIENT, BINARY, LONG * 20)
        self.transports[CLIENT].peer_sends(frame)
        self.transports[CLIENT].peer_ends()
        self.settle()
        self.assertEqual(self.got(UPSTREAM), frame)
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertTrue(self.transports[CLIENT].was_told_goodbye)

    def test_what_stands_before_an_end_or_a_fault_in_one_read_is_passed_on(self) -> None:
        frame = frame_from(CLIENT, TEXT, b"last words")
        for fault in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            with self.subTest(fault=fault):
                self.setUp()
                client = self.transports[CLIENT]
                client.peer.send(frame)
                if not fault:
                    client.peer.shutdown()
                client.socket.peer_sends(client.encrypted() + fault)
                self.settle()
                self.assertEqual(self.got(UPSTREAM), frame)
                self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_an_end_without_a_close_notify_is_an_end(self) -> None:
        self.transports[CLIENT].socket.peer_ends()
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_a_leg_that_is_shut_is_told_so_behind_its_last_frame(self) -> None:
        client = self.transports[CLIENT]
        client.stalled = True
        frame = frame_from(UPSTREAM, BINARY, LONG * 8)
        self.send(UPSTREAM, frame)
        self.pump.finish(CLIENT)
        self.pump.shut(CLIENT)
        client.stalled = False
        self.settle()
        self.assertEqual(self.got(CLIENT), frame)
        self.assertTrue(client.was_told_goodbye)
        self.assertTrue(client.eof)
        client.peer_ends()
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_bytes_that_are_no_tls_end_their_leg_and_nothing_else(self) -> None:
        one, other = self.ground.transport(), self.ground.transport()
        owner = Owner()
        options = PumpOptions(0, LIMITS, LIMITS)
        second = self.ground.make_pump(owner, one, other, options, self.clock)
        for side, transport in ((CLIENT, one), (UPSTREAM, other)):
            connect(second, side, transport)
        second.start(b"", b"", b"")
        frame = frame_from(CLIENT, TEXT, b"good")
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\x00\x20" + bytes(32)):
            with self.subTest(garbage=garbage):
                self.setUp()
                self.transports[CLIENT].peer_sends(frame)
                self.transports[CLIENT].socket.peer_sends(garbage)
                self.settle()
                self.assertEqual(self.got(UPSTREAM), frame)
                self.assertEqual(self.owner.told, [(CLIENT, "lost")])
                self.assertTrue(self.transports[CLIENT].alerts)
                one.peer_sends(frame)
                settle(one, other)
                self.assertTrue(bytes(other.received).endswith(frame))
                self.assertEqual(owner.told, [])

    def test_a_renegotiation_is_refused(self) -> None:
        old = self.ground.transport(SSL.TLS1_2_VERSION)
        self.put_between(old, self.ground.transport())
        self.start()
        frame = frame_from(CLIENT, TEXT, b"before")
        self.send(CLIENT, frame)
        self.assertEqual(self.got(UPSTREAM), frame)
        handshakes = old.tls._tlsConnection.total_renegotiations()
        old.peer.renegotiate()
        with contextlib.suppress(SSL.WantReadError):
            old.peer.do_handshake()
        old.socket.peer_sends(old.encrypted())
        self.settle()
        self.assertEqual(old.tls._tlsConnection.total_renegotiations(), handshakes)
        self.assertTrue(old.peer.renegotiate_pending())
        self.assertTrue(old.alerts, "the peer is told so")

    def test_controls_and_their_replies_go_through_tls(self) -> None:
        ping = frame_from(CLIENT, PING, b"x")
        self.owner.on_control = lambda side, frame: self.pump.send(side, b"\x8a\x01x")
        self.send(CLIENT, ping * 300)
        self.assertEqual(self.got(CLIENT), b"\x8a\x01x" * 300)
