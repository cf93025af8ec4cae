"""What only the native pump does: one hub for many, what it holds, and sockets that break."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import struct
import threading
import weakref
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from tests.relay.pumps import LONG, NATIVE, WHOLE, WHY_NOT, Owner, PumpTestCase, needs_native
from tests.relay.support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    READ_SIZE,
    TEXT,
    FakeTransport,
    connect,
    frame_from,
    frames_in,
    settle,
)
from tests.support import require
from wsrelay.relay.pump import PumpOptions, Side, Totals
from wsrelay.relay.pumps import choose_pumps
from wsrelay.relay.python_leg import MAX_WAITING
from wsrelay.relay.python_pump import PythonPump
from wsrelay.wire.faults import Limits, Violation
from wsrelay.wire.frames import MAX_CONTROLS

with contextlib.suppress(ImportError):  # the first test says so
    from wsrelay.relay._native import ffi
    from wsrelay.relay.native_pump import PATIENCE, NativePump

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
HEADER = 14
NOBODY = PumpOptions(0, Limits(), Limits())


def test_the_native_pump_is_there() -> None:
    require(NATIVE, f"no native pump: {WHY_NOT}")


@needs_native
def test_the_totals_have_the_same_order_in_c_as_in_python() -> None:
    in_c = ffi.typeof("struct ws_totals").fields
    assert tuple(name for name, _ in in_c) == Totals._fields
    assert {each.type.cname for _, each in in_c} == {"uint64_t"}


class Line:
    """A session's pump with both its peers, beside others on the same ground."""

    def __init__(self, ground: Any, clock: Clock) -> None:
        self.owner = Owner()
        self.transports = {side: ground.transport() for side in Side}
        limits = Limits(whole_frames=WHOLE)
        options = PumpOptions(0, limits, limits)
        self.pump = ground.make_pump(self.owner, *self.transports.values(), options, clock)
        for side, transport in self.transports.items():
            connect(self.pump, side, transport)
        self.pump.start(b"", b"", b"")

    def got(self, side: Side) -> bytes:
        return bytes(self.transports[side].received)

    def leave(self) -> None:
        for transport in self.transports.values():
            transport.peer_ends()


def forget(line: Line) -> None:
    """Let go of a pump as if both its legs were lost: nobody knows it any more."""
    pump, line.pump = line.pump, None
    line.owner.on_control = lambda *_: None
    for side, transport in line.transports.items():
        pump.lost(side)
        transport.protocol.let_go()


def epoll_sets() -> int:
    """Count the epoll sets of this process, one of which each hub has."""
    descriptors = Path("/proc/self/fd").iterdir()
    return sum("eventpoll" in os.readlink(each) for each in descriptors if each.is_symlink())


class NativeTestCase(PumpTestCase):
    """Gives each test a native pump between two sockets."""

    lay_ground = NATIVE

    def another(self) -> Line:
        line = Line(self.ground, self.clock)
        self.more.append(line)
        return line

    def setUp(self) -> None:
        self.more: list[Line] = []
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        for line in self.more:
            self.assertEqual(line.owner.failures, [])

    def settle(self) -> None:
        others = [each for line in self.more for each in line.transports.values()]
        settle(*self.transports.values(), *others)

    @property
    def readers(self) -> set[Any]:
        return set(self.ground.reactor.readers)

    def hub_turn(self) -> int:
        return int(self.ground.hub.turn())


@needs_native
class JoiningTests(NativeTestCase):
    """Two sockets are taken from the reactor; anything else is the Python pump's."""

    def pump_of(self, client: Any, upstream: Any) -> Any:
        return self.ground.make_pump(Owner(), client, upstream, NOBODY, self.clock)

    def test_two_sockets_get_a_native_pump(self) -> None:
        self.assertIs(type(self.pump), NativePump)

    def test_a_transport_that_is_no_socket_gets_a_python_pump(self) -> None:
        one = self.ground.transport()
        self.assertIs(type(self.pump_of(FakeTransport(), one)), PythonPump)
        self.assertIs(type(self.pump_of(one, FakeTransport())), PythonPump)

    def test_a_socket_that_speaks_tls_gets_a_python_pump(self) -> None:
        one, other = self.ground.transport(), self.ground.transport()
        one.TLS = True
        self.assertIs(type(self.pump_of(one, other)), PythonPump)
        self.assertIs(type(self.pump_of(other, one)), PythonPump)

    def test_a_socket_with_bytes_that_twisted_has_not_sent_yet_gets_a_python_pump(self) -> None:
        for attribute, unsent in (("dataBuffer", b"x"), ("_tempDataBuffer", [b"x"])):
            with self.subTest(where=attribute):
                one, other = self.ground.transport(), self.ground.transport()
                setattr(one, attribute, unsent)
                self.assertIs(type(self.pump_of(one, other)), PythonPump)
                self.assertIs(type(self.pump_of(other, one)), PythonPump)

    def test_the_reactor_reads_the_sockets_before_the_start_and_the_hub_after_it(self) -> None:
        self.assertEqual(self.readers, set(self.transports.values()))
        self.start()
        self.assertEqual(self.readers, {self.ground.hub})

    def test_the_hub_is_the_reactors_as_long_as_there_is_a_session(self) -> None:
        self.start()
        second = self.another()
        for transport in self.transports.values():
            transport.peer_ends()
        self.settle()
        self.assertEqual(self.readers, {self.ground.hub})
        second.transports[CLIENT].peer_ends()
        self.settle()
        self.assertEqual(self.readers, {self.ground.hub})
        second.transports[UPSTREAM].peer_ends()
        self.settle()
        self.assertEqual(self.readers, set())
        third = self.another()
        self.assertEqual(self.readers, {self.ground.hub})
        third.leave()
        self.settle()
        self.assertEqual(self.readers, set())

    def test_a_session_that_never_started_does_not_take_the_hub_from_the_others(self) -> None:
        for side in Side:
            self.pump.abort(side)
        self.settle()
        self.assertEqual(self.owner.told, [(side, "lost") for side in Side])
        line = self.another()
        self.assertEqual(self.readers, {self.ground.hub})
        line.leave()
        self.settle()
        self.assertEqual(self.readers, set())

    def test_the_101_is_sent_and_counts_for_nothing(self) -> None:
        self.transports[CLIENT].stalled = True
        head = bytes(range(250)) * 200
        early = frame_from(UPSTREAM, TEXT, b"early")
        self.pump.start(head, b"", early)
        self.settle()
        self.assertEqual(self.pump.sent(CLIENT), 0)
        self.assertTrue(self.pump.is_paused(UPSTREAM))
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(self.got(CLIENT), head + early)
        self.assertEqual(self.pump.sent(CLIENT), len(early))
        self.assertFalse(self.pump.is_paused(UPSTREAM))

    def test_a_limit_may_be_larger_than_any_frame(self) -> None:
        vast = Limits(whole_frames=2**70, max_frame=2**70, max_message=2**64)
        one, other = self.ground.transport(), self.ground.transport()
        pump = self.ground.make_pump(Owner(), one, other, PumpOptions(0, vast, vast), self.clock)
        for side, transport in ((CLIENT, one), (UPSTREAM, other)):
            connect(pump, side, transport)
        pump.start(b"", b"", b"")
        frame = frame_from(CLIENT, BINARY, LONG)
        one.peer_sends(frame)
        settle(one, other)
        self.assertEqual(bytes(other.received), frame)


@needs_native
class HoldingTests(NativeTestCase):
    """What waits in the relay's memory, and what does not."""

    def test_a_leg_is_not_read_as_soon_as_the_kernel_takes_no_more_for_the_other(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        frame = frame_from(UPSTREAM, BINARY, bytes(900))
        sent = 0
        while not self.pump.is_paused(UPSTREAM) and sent < 10**6:
            self.send(UPSTREAM, frame)
            sent += len(frame)
        self.assertTrue(self.pump.is_waiting(CLIENT))
        self.assertGreater(self.kept(CLIENT), 0)
        self.assertLessEqual(self.kept(CLIENT), len(frame))

    def test_no_more_is_kept_than_one_read_and_the_beginning_of_a_frame(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].stalled = True
                # The kernel would take one of them; what stands before the last read is held.
                frame = frame_from(side.other, BINARY, bytes(WHOLE))
                reads = [frame[:-1], frame[-1:] + frame * 200, frame * 200]
                self.send(side.other, *reads)
                self.assertFalse(self.transports[side.other].reading)
                self.assertLessEqual(self.kept(side), READ_SIZE + WHOLE + HEADER)
                self.transports[side].stalled = False
                self.settle()
                self.assertEqual(self.got(side), b"".join(reads))

    def test_a_frame_longer_than_a_read_is_held_as_well(self) -> None:
        limits = Limits(whole_frames=10 * READ_SIZE)
        one, other = self.ground.transport(), self.ground.transport()
        pump = self.ground.make_pump(
            Owner(), one, other, PumpOptions(0, limits, limits), self.clock
        )
        for side, transport in ((CLIENT, one), (UPSTREAM, other)):
            connect(pump, side, transport)
        pump.start(b"", b"", b"")
        frame = frame_from(CLIENT, BINARY, LONG * 100)
        for piece in (frame[:10], frame[10:200_000], frame[200_000:-1]):
            one.peer_sends(piece)
        settle(one, other)
        self.assertEqual(bytes(other.received), b"")
        self.assertEqual(pump.received(CLIENT), len(frame) - 1)
        self.assertFalse(pump.is_cut(UPSTREAM))
        one.peer_sends(frame[-1:] + frame)
        settle(one, other)
        self.assertEqual(bytes(other.received), frame * 2)

    def test_a_frame_is_held_whole_however_its_pieces_fit_into_blocks_of_memory(self) -> None:
        self.join(Limits(whole_frames=10_000))
        self.start()
        frame = frame_from(CLIENT, BINARY, LONG * 2)
        for size in (1, 4095, 4096, 4097, 8191, 8192, 8193):
            pieces = [frame[:size], *(frame[at : at + 1] for at in range(size, size + 3))]
            self.send(CLIENT, *pieces)
            self.assertEqual(self.got(UPSTREAM), b"")
            self.send(CLIENT, frame[size + 3 :])
            self.assertEqual(self.got(UPSTREAM), frame)
            self.transports[UPSTREAM].received.clear()

    def test_what_waits_is_sent_whole_however_it_fits_into_blocks_of_memory(self) -> None:
        self.start()
        pings = [frame_from(UPSTREAM, PING, bytes([size % 251]) * size) for size in range(126)]
        frame = frame_from(UPSTREAM, BINARY, LONG)
        for count in range(61, 66):
            self.send(UPSTREAM, frame[:2000])
            for ping in pings[:count] + pings[-1:]:
                self.pump.send(CLIENT, ping)
            self.send(UPSTREAM, frame[2000:])
            expected = frame + b"".join(pings[:count] + pings[-1:])
            self.assertEqual(self.got(CLIENT), expected)
            self.transports[CLIENT].received.clear()

    def test_not_a_byte_of_what_waits_is_lost_however_much_is_taken_at_a_time(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, bytes(60_000)))
        taken = self.pump.sent(CLIENT)  # by the kernel, while nobody reads
        self.assertGreater(taken, 0)
        for size in range(2 * taken - 3, 2 * taken + 4):
            with self.subTest(size=size):
                self.setUp()
                self.start()
                client = self.transports[CLIENT]
                client.stalled = True
                frame = frame_from(UPSTREAM, BINARY, bytes(size - 4))
                self.send(UPSTREAM, frame)
                client.stalled = False
                self.settle()
                self.assertEqual(self.got(CLIENT), frame)

    def test_what_comes_to_wait_behind_what_was_sent_in_part_keeps_its_place(self) -> None:
        for size in (3_000, 12_000, 40_000, 65_000):
            with self.subTest(size=size):
                self.setUp()
                self.start()
                client = self.transports[CLIENT]
                client.stalled = True
                frame = frame_from(UPSTREAM, BINARY, (LONG * 20)[:size])
                self.send(UPSTREAM, *[frame] * 4)
                client.peer_takes(10**6)
                self.settle()
                pings = [frame_from(UPSTREAM, PING, b"%d" % each * 20) for each in range(500)]
                for ping in pings:
                    self.pump.send(CLIENT, ping)
                client.peer_takes(10**6)
                self.settle()
                client.stalled = False
                self.settle()
                frames, rest = frames_in(self.got(CLIENT))
                self.assertEqual(rest, b"")
                told = [each.payload for each in frames if each.opcode == PING]
                self.assertEqual(told, [b"%d" % each * 20 for each in range(500)])
                passed = [each.payload for each in frames if each.opcode == BINARY]
                self.assertEqual(passed, [(LONG * 20)[:size]] * 4)

    def test_a_leg_that_is_shut_while_it_is_full_no_longer_stops_the_other(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        sent = self.flood(UPSTREAM)
        self.pump.shut(CLIENT)
        self.assertTrue(self.transports[UPSTREAM].reading)
        self.settle()
        self.assertEqual(self.pump.received(UPSTREAM), sent)
        self.send(UPSTREAM, frame_from(UPSTREAM, PING))
        self.assertEqual(self.owner.told, [(UPSTREAM, frame_from(UPSTREAM, PING))])
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertTrue(self.transports[CLIENT].eof)

    def test_replies_of_the_relays_that_nobody_takes_are_bounded(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.send(side, b"\x8a" + frame[1:])
        self.transports[CLIENT].stalled = True
        ping = frame_from(CLIENT, PING, bytes(125))
        for _ in range(1000):
            self.send(CLIENT, ping)
        self.assertFalse(self.transports[CLIENT].reading)
        waiting = self.pump.received(CLIENT) - self.pump.sent(CLIENT)
        self.assertLessEqual(waiting, MAX_WAITING + 2 * len(ping))
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(len(self.got(CLIENT)), 1000 * len(ping))

    def test_a_leg_that_is_not_read_and_ends_makes_no_busy_loop(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.transports[UPSTREAM].peer_closes()
        self.settle()  # fails if the hub never comes to rest
        self.assertEqual(self.hub_turn(), 0)
        self.assertEqual(self.owner.told, [])
        self.transports[CLIENT].peer_takes(100)
        self.settle()
        self.assertEqual(self.owner.told, [])
        self.transports[CLIENT].stalled = False
        self.settle()
        frames, rest = frames_in(self.got(CLIENT))
        self.assertEqual((rest, {each.payload for each in frames}), (b"", {LONG}))
        self.assertEqual(len(self.got(CLIENT)), self.pump.received(UPSTREAM))
        self.assertEqual(self.owner.told, [(UPSTREAM, "lost")])

    def test_a_leg_that_is_not_read_and_breaks_is_lost_at_once(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.transports[UPSTREAM].peer_resets()
        self.settle()
        self.assertEqual(self.owner.told, [(UPSTREAM, "lost")])

    def test_a_leg_that_was_drained_is_not_told_again_and_again(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(self.hub_turn(), 0)

    def test_both_legs_may_be_full_at_once_and_both_are_drained(self) -> None:
        self.start()
        for transport in self.transports.values():
            transport.stalled = True
        frames = {side: frame_from(side, BINARY, LONG) for side in Side}
        for _ in range(30):
            for side in Side:
                self.send(side, frames[side])
        self.assertTrue(self.pump.is_paused(CLIENT) and self.pump.is_paused(UPSTREAM))
        for transport in self.transports.values():
            transport.stalled = False
        self.settle()
        for side in Side:
            self.assertEqual(self.got(side.other), frames[side] * 30)


@needs_native
class BreakingTests(NativeTestCase):
    """A socket that takes nothing any more, while there is still something to read from it."""

    def test_what_a_broken_leg_had_sent_is_passed_on_before_it_is_lost(self) -> None:
        self.start()
        frames = frame_from(CLIENT, TEXT, b"1") + frame_from(CLIENT, BINARY, LONG)
        ping = frame_from(CLIENT, PING, b"here")
        self.transports[CLIENT].sends_at_once(frames + ping)
        self.transports[CLIENT].peer_takes_no_more()
        self.pump.send(CLIENT, b"\x89\x00")
        self.assertEqual(self.owner.told, [], "nobody is told inside a call of his own")
        self.settle()
        self.assertEqual(self.got(UPSTREAM), frames)
        self.assertEqual(self.owner.told, [(CLIENT, ping), (CLIENT, "lost")])

    def test_a_leg_that_breaks_inside_a_read_of_the_other_is_lost_too(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.transports[side].peer_takes_no_more()
                self.send(side.other, frame_from(side.other, BINARY, LONG))
                self.assertEqual(self.owner.told, [(side, "lost")])
                self.send(side.other, frame_from(side.other, PING, b"x"))
                self.assertEqual(len(self.owner.told), 2, "the other one is still heard")

    def test_a_broken_leg_whose_data_cannot_go_anywhere_is_lost_without_it(self) -> None:
        self.start()
        self.transports[UPSTREAM].stalled = True
        self.flood(CLIENT)
        read = self.pump.received(CLIENT)
        self.transports[CLIENT].peer_takes_no_more()
        self.pump.send(CLIENT, b"\x89\x00")
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertEqual(self.pump.received(CLIENT), read)

    def test_calls_for_a_broken_leg_do_nothing(self) -> None:
        self.start()
        self.transports[CLIENT].peer_takes_no_more()
        self.pump.send(CLIENT, b"\x89\x00")
        sent = self.pump.sent(CLIENT)
        self.pump.send(CLIENT, b"\x89\x00")
        self.pump.finish(CLIENT)
        self.pump.shut(CLIENT)
        self.assertFalse(self.pump.is_waiting(CLIENT))
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])
        self.assertEqual(self.pump.sent(CLIENT), sent)

    def test_a_shut_leg_that_cannot_be_shut_is_lost(self) -> None:
        self.start()
        self.transports[CLIENT].peer_closes()
        self.pump.shut(CLIENT)
        self.settle()
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_a_reset_of_a_tcp_connection_that_is_not_read_is_seen(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            peer = server.accept()[0]
        self.transports[UPSTREAM] = self.ground.transport((near, peer))
        self.join()
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        poller = select.poll()
        poller.register(near, 0)
        self.assertTrue(poller.poll(20_000))
        self.settle()
        self.assertEqual(self.owner.told, [(UPSTREAM, "lost")])


@needs_native
class LongFrameTests(NativeTestCase):
    """A payload that the kernel moves, from the second read on."""

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def frame(self, side: Side) -> bytes:
        return frame_from(side, BINARY, LONG * 60)

    def test_a_long_frame_is_passed_on_and_counted_like_any_other(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                frame, text = self.frame(side), frame_from(side, TEXT, b"behind")
                self.send(side, frame[:100])
                self.clock.advance(7)
                self.send(side, frame[100:-1])
                self.assertEqual(self.got(side.other), frame[:-1])
                self.assertEqual(self.pump.messages(side), 0)
                self.assertEqual(self.pump.payload(side), len(LONG) * 60 - 1)
                self.assertEqual(self.pump.last_data(), 7)
                self.send(side, frame[-1:] + text + frame[:100], frame[100:] + text)
                sent = (frame + text) * 2
                self.assertEqual(self.got(side.other), sent)
                self.assertEqual(self.pump.messages(side), 4)
                self.assertEqual(self.pump.payload(side), 2 * (len(LONG) * 60 + len(b"behind")))
                self.assertEqual(self.pump.received(side), len(sent))
                self.assertEqual(self.pump.sent(side.other), len(sent))

    def test_fragments_of_a_long_message_are_counted_together(self) -> None:
        first = frame_from(UPSTREAM, BINARY, LONG * 60, final=False)
        last = frame_from(UPSTREAM, 0, LONG * 60)
        self.send(UPSTREAM, first[:100], first[100:])
        self.assertEqual(self.pump.messages(UPSTREAM), 0)
        self.send(UPSTREAM, last[:100], last[100:], frame_from(UPSTREAM, 0))
        self.assertEqual(self.pump.messages(UPSTREAM), 1)
        self.assertEqual(self.pump.binary_messages(UPSTREAM), 1)
        self.assertEqual(self.got(CLIENT), first + last)
        violation = Violation(1002, "continuation frame without a message")
        self.assertEqual(self.owner.told, [(UPSTREAM, violation)])

    def test_the_relays_own_frame_waits_for_exactly_its_end(self) -> None:
        frame, ping = self.frame(UPSTREAM), frame_from(UPSTREAM, PING, b"relay")
        text = frame_from(UPSTREAM, TEXT, b"behind")
        self.send(UPSTREAM, frame[:100], frame[100:200_000])
        self.pump.send(CLIENT, ping)
        self.send(UPSTREAM, frame[200_000:] + text)
        self.assertEqual(self.got(CLIENT), frame + ping + text)

    def test_a_reader_that_stops_gets_everything_in_order_later(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.transports[side].stalled = True
                frame, ping = self.frame(side.other), frame_from(side.other, PING, b"relay")
                text = frame_from(side.other, TEXT, b"behind")
                self.send(side.other, frame[:100], frame[100:] + text)
                self.pump.send(side, ping)
                self.assertTrue(self.pump.is_paused(side.other))
                self.assertTrue(self.pump.is_waiting(side))
                self.assertEqual(self.pump.stalls(side), 1)
                self.transports[side].peer_takes(1000)
                self.settle()
                self.transports[side].stalled = False
                self.send(side.other, text)
                got = self.got(side)
                self.assertEqual(got[: len(frame)], frame)
                frames, rest = frames_in(got[len(frame) :])
                self.assertEqual(rest, b"")
                self.assertEqual(sorted(each.opcode for each in frames), [TEXT, TEXT, PING])
                self.assertEqual(self.pump.sent(side), len(got))

    def test_no_more_is_kept_than_a_pipe_holds(self) -> None:
        self.transports[CLIENT].stalled = True
        frame = frame_from(UPSTREAM, BINARY, bytes(8 * 2**20))
        self.send(UPSTREAM, frame[:100], frame[100:])
        self.assertGreater(self.kept(CLIENT), 0)
        self.assertLessEqual(self.kept(CLIENT), 2**20)
        self.assertEqual(self.pump.totals().buffered, self.kept(CLIENT))
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(self.got(CLIENT), frame)
        self.assertEqual(self.pump.totals().buffered, 0)

    def test_a_leg_that_is_shut_gets_what_is_still_under_way(self) -> None:
        self.transports[CLIENT].stalled = True
        frame = frame_from(UPSTREAM, BINARY, LONG * 20)
        self.send(UPSTREAM, frame[:100], frame[100:])
        self.assertEqual(self.pump.received(UPSTREAM), len(frame))
        self.pump.shut(CLIENT)
        self.settle()
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(self.got(CLIENT), frame)
        self.assertTrue(self.transports[CLIENT].eof)

    def test_more_readers_that_stop_than_there_are_pipes_are_served(self) -> None:
        lines = [self.another() for _ in range(40)]
        frame = frame_from(UPSTREAM, BINARY, LONG * 30)
        for line in lines:
            line.transports[CLIENT].stalled = True
            for piece in (frame[:100], frame[100:]):
                line.transports[UPSTREAM].peer_sends(piece)
        self.settle()
        for line in lines:
            line.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual({line.got(CLIENT) for line in lines}, {frame})

    def test_an_end_inside_it_is_a_cut(self) -> None:
        for leave in ("peer_ends", "peer_closes", "peer_resets"):
            with self.subTest(how=leave):
                self.setUp()
                frame = self.frame(UPSTREAM)
                self.send(UPSTREAM, frame[:100], frame[100:100_000])
                getattr(self.transports[UPSTREAM], leave)()
                self.settle()
                self.assertEqual(self.owner.told, [(UPSTREAM, "lost")])
                self.assertEqual(self.got(CLIENT), frame[:100_000])
                self.assertTrue(self.pump.is_cut(CLIENT))

    def test_a_reader_that_leaves_inside_it_is_lost_and_the_rest_discarded(self) -> None:
        frame = self.frame(UPSTREAM)
        self.send(UPSTREAM, frame[:100])
        self.transports[CLIENT].peer_takes_no_more()
        self.send(UPSTREAM, frame[100:] + frame_from(UPSTREAM, PING, b"x"))
        self.assertEqual(
            self.owner.told, [(CLIENT, "lost"), (UPSTREAM, frame_from(UPSTREAM, PING, b"x"))]
        )

    def test_a_finished_reader_gets_nothing_of_it(self) -> None:
        frame = self.frame(UPSTREAM)
        self.pump.finish(CLIENT)
        self.send(UPSTREAM, frame[:100], frame[100:] + frame_from(UPSTREAM, PING, b"x"))
        self.assertEqual(self.got(CLIENT), b"")
        self.assertEqual(self.owner.told, [(UPSTREAM, frame_from(UPSTREAM, PING, b"x"))])

    def test_pipes_are_used_again_and_closed_with_their_leg_or_the_hub(self) -> None:
        frame = self.frame(UPSTREAM)
        self.send(UPSTREAM, frame[:100], frame[100:])
        before = len(os.listdir("/proc/self/fd"))
        self.send(UPSTREAM, frame[:100], frame[100:])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before, "it is used again")
        self.transports[CLIENT].stalled = True
        self.send(UPSTREAM, frame[:100], frame[100:])
        self.pump.abort(CLIENT)
        self.settle()
        # Two ends of the pipe, and both ends of the client's connection but the peer's.
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 3)


@needs_native
class BacklogTests(NativeTestCase):
    """A flood of control frames is handled in portions."""

    def controls(self, count: int) -> list[bytes]:
        return [frame_from(UPSTREAM, PING, b"%d" % number) for number in range(count)]

    def check(self, tail: bytes, count: int) -> None:
        self.setUp()
        self.start()
        pings = self.controls(count)
        self.send(UPSTREAM, b"".join(pings) + tail)
        self.assertEqual(self.owner.told, [(UPSTREAM, each) for each in pings])
        self.assertEqual(self.got(CLIENT), tail)
        more = frame_from(UPSTREAM, TEXT, b"more")
        self.send(UPSTREAM, more)
        self.assertEqual(self.got(CLIENT), tail + more, "the leg is still read")

    def test_whatever_the_number_all_are_told_in_order_and_the_leg_is_read_again(self) -> None:
        data = frame_from(UPSTREAM, TEXT, b"data")
        for count in (255, 256, 257, 511, 512, 513, 3 * MAX_CONTROLS + 5):
            for tail in (b"", data, frame_from(UPSTREAM, BINARY, LONG)):
                with self.subTest(count=count, tail=len(tail)):
                    self.check(tail, count)

    def test_a_part_of_a_frame_behind_a_portion_is_completed_by_the_next_read(self) -> None:
        self.start()
        pings = self.controls(MAX_CONTROLS)
        frame = frame_from(UPSTREAM, TEXT, b"data")
        self.send(UPSTREAM, b"".join(pings) + frame[:3], frame[3:])
        self.assertEqual(len(self.owner.told), MAX_CONTROLS)
        self.assertEqual(self.got(CLIENT), frame)

    def test_a_turn_of_the_hub_handles_one_portion_of_a_flood(self) -> None:
        self.start()
        self.transports[UPSTREAM].sends_at_once(b"\x89\x00" * (10 * MAX_CONTROLS))
        turns, told = 0, 0
        while len(self.owner.told) < 10 * MAX_CONTROLS:
            self.hub_turn()
            now = len(self.owner.told)
            self.assertLessEqual(now - told, 2 * MAX_CONTROLS)
            self.assertGreater(now, told)
            turns, told = turns + 1, now
        self.assertGreaterEqual(turns, 5)

    def test_exactly_one_portion_leaves_no_backlog(self) -> None:
        self.start()
        self.transports[UPSTREAM].sends_at_once(b"\x89\x00" * MAX_CONTROLS)
        self.hub_turn()
        self.assertEqual(len(self.owner.told), MAX_CONTROLS)
        self.assertFalse(self.pump.is_paused(UPSTREAM))

    def test_the_leg_is_not_read_while_it_has_a_backlog(self) -> None:
        self.start()
        self.transports[UPSTREAM].sends_at_once(b"\x89\x00" * (10 * MAX_CONTROLS))
        self.hub_turn()
        self.assertTrue(self.pump.is_paused(UPSTREAM))
        self.assertFalse(self.transports[UPSTREAM].reading)
        self.settle()
        self.assertFalse(self.pump.is_paused(UPSTREAM))
        self.assertTrue(self.transports[UPSTREAM].reading)

    def test_a_backlog_waits_while_the_other_leg_is_full(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        ping, frame = frame_from(UPSTREAM, PING), frame_from(UPSTREAM, BINARY, LONG)
        portion = ping * MAX_CONTROLS
        self.send(UPSTREAM, portion + frame * 5 + portion * 2 + frame + ping)
        told = len(self.owner.told)
        self.assertLessEqual(told, 2 * MAX_CONTROLS)
        self.assertTrue(self.pump.is_paused(UPSTREAM))
        self.transports[CLIENT].stalled = False
        self.settle()
        self.assertEqual(len(self.owner.told), 3 * MAX_CONTROLS + 1)
        self.assertEqual(self.got(CLIENT), frame * 6)

    def test_a_backlog_is_told_before_the_end_behind_it(self) -> None:
        for leave in ("peer_ends", "peer_closes", "peer_resets"):
            with self.subTest(how=leave):
                self.setUp()
                self.start()
                pings = self.controls(5 * MAX_CONTROLS)
                upstream = self.transports[UPSTREAM]
                upstream.sends_at_once(b"".join(pings))
                getattr(upstream, leave)()
                self.settle()
                told = [(UPSTREAM, each) for each in pings]
                self.assertEqual(self.owner.told, [*told, (UPSTREAM, "lost")])

    def test_a_backlog_that_waits_is_told_before_a_reset_behind_it(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        ping, frame = frame_from(UPSTREAM, PING), frame_from(UPSTREAM, BINARY, LONG)
        portion = ping * MAX_CONTROLS
        self.send(UPSTREAM, portion + frame * 5 + portion * 3)
        self.assertLess(len(self.owner.told), 4 * MAX_CONTROLS)
        self.assertTrue(self.pump.is_paused(UPSTREAM))
        self.transports[UPSTREAM].peer_resets()
        self.settle()
        told = [(UPSTREAM, ping)] * (4 * MAX_CONTROLS)
        self.assertEqual(self.owner.told, [*told, (UPSTREAM, "lost")])

    def test_a_backlog_of_a_leg_that_breaks_is_told_too(self) -> None:
        self.start()
        upstream = self.transports[UPSTREAM]
        pings = self.controls(3 * MAX_CONTROLS)
        upstream.sends_at_once(b"".join(pings))
        self.hub_turn()
        self.assertLess(len(self.owner.told), len(pings))
        upstream.peer_takes_no_more()
        self.pump.send(UPSTREAM, b"\x89\x00")
        self.settle()
        told = [(UPSTREAM, each) for each in pings]
        self.assertEqual(self.owner.told, [*told, (UPSTREAM, "lost")])

    def test_a_close_frame_in_a_backlog_is_told_and_nothing_behind_it(self) -> None:
        self.start()
        close = frame_from(UPSTREAM, CLOSE)
        flood = frame_from(UPSTREAM, PONG) * (MAX_CONTROLS + 5)
        self.send(UPSTREAM, flood + close + flood * 3 + frame_from(UPSTREAM, TEXT))
        self.assertEqual(len(self.owner.told), MAX_CONTROLS + 5 + 1)
        self.assertEqual(self.owner.told[-1], (UPSTREAM, close))


@needs_native
class InsideTests(NativeTestCase):
    """Who is told something may do anything at once."""

    def read_of(self, side: Side) -> bytes:
        """Return a read with more control frames than one portion, and data between them."""
        ping, text = frame_from(side, PING, b"p"), frame_from(side, TEXT, b"t")
        return (text + ping) * (MAX_CONTROLS + 10) + text

    def told_of(self, side: Side) -> list[Any]:
        return [what for where, what in self.owner.told if where is side]

    def test_aborting_the_leg_that_is_being_read_ends_it_there(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.owner.on_control = lambda side, frame: self.pump.abort(side)
                self.send(side, self.read_of(side))
                self.assertEqual(self.got(side.other), frame_from(side, TEXT, b"t"))
                self.assertEqual(self.told_of(side), [frame_from(side, PING, b"p"), "lost"])
                self.assertEqual(self.told_of(side.other), [])

    def test_aborting_the_other_leg_leaves_this_one_heard(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.owner.on_control = lambda side, frame: self.pump.abort(side.other)
                self.send(side, self.read_of(side))
                self.assertEqual(self.got(side.other), frame_from(side, TEXT, b"t"))
                self.assertEqual(len(self.told_of(side)), MAX_CONTROLS + 10)
                self.assertEqual(self.told_of(side.other), ["lost"])
                self.assertFalse(self.pump.is_paused(side))

    def test_aborting_both_legs_ends_all(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.owner.on_control = lambda *_: [self.pump.abort(each) for each in Side]
                self.send(side, self.read_of(side))
                self.assertEqual(self.told_of(side), [frame_from(side, PING, b"p"), "lost"])
                self.assertEqual(self.told_of(side.other), ["lost"])
                self.assertEqual(self.readers, set())

    def test_shutting_the_leg_that_is_being_read_discards_the_rest_of_its_data(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.owner.on_control = lambda side, frame: self.pump.shut(side)
                self.send(side, self.read_of(side), frame_from(side, TEXT, b"more"))
                self.assertEqual(self.got(side.other), frame_from(side, TEXT, b"t"))
                self.assertTrue(self.transports[side].eof)
                self.assertTrue(self.transports[side].reading)

    def test_shutting_the_other_leg_sends_it_what_stood_before(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.owner.on_control = lambda side, frame: self.pump.shut(side.other)
                self.send(side, self.read_of(side), frame_from(side, TEXT, b"more"))
                self.assertEqual(self.got(side.other), frame_from(side, TEXT, b"t"))
                self.assertTrue(self.transports[side.other].eof)
                self.assertEqual(self.told_of(side.other), [])

    def test_finishing_the_other_leg_sends_it_what_stood_before(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                goodbye = frame_from(side, CLOSE)

                def say_goodbye(side: Side, frame: bytes, goodbye: bytes = goodbye) -> None:
                    self.owner.on_control = lambda *_: None
                    self.pump.send(side.other, goodbye)
                    self.pump.finish(side.other)

                self.owner.on_control = say_goodbye
                self.send(side, self.read_of(side), frame_from(side, TEXT, b"more"))
                self.assertEqual(self.got(side.other), frame_from(side, TEXT, b"t") + goodbye)

    def test_what_is_sent_inside_goes_behind_what_stood_before_on_both_legs(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                there, back = frame_from(side, PONG, b"there"), frame_from(side.other, PONG, b"b")

                def send(side: Side, frame: bytes, frames: Any = (there, back)) -> None:
                    self.pump.send(side.other, frames[0])
                    self.pump.send(side, frames[1])

                self.owner.on_control = send
                text, ping = frame_from(side, TEXT, b"t"), frame_from(side, PING, b"p")
                self.send(side, (text + ping) * 3 + text)
                self.assertEqual(self.got(side.other), (text + there) * 3 + text)
                self.assertEqual(self.got(side), back * 3)

    def test_a_violation_may_end_both_legs_at_once(self) -> None:
        self.start()
        self.owner.on_violation = lambda side: [self.pump.abort(each) for each in Side]
        good = frame_from(CLIENT, TEXT, b"good")
        self.send(CLIENT, good + frame_from(CLIENT, 3) + good)
        self.assertEqual([what for _, what in self.owner.told[1:]], ["lost", "lost"])
        self.assertEqual(self.readers, set())

    def test_a_lost_leg_may_take_the_other_with_it(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                self.setUp()
                self.start()
                self.owner.on_lost = lambda side: self.pump.abort(side.other)
                for transport in self.transports.values():
                    transport.sends_at_once(frame_from(side, 3))
                self.transports[side].peer_ends()
                self.settle()
                self.assertEqual(self.readers, set())

    def test_a_leg_may_be_lost_for_the_owner_while_the_pump_reads_it(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: self.pump.lost(side)
        self.send(CLIENT, self.read_of(CLIENT))
        self.assertEqual(self.told_of(CLIENT), [frame_from(CLIENT, PING, b"p"), "lost"])

    def test_a_pump_that_nobody_knows_any_more_is_freed_inside_a_call_of_its_own(self) -> None:
        line = self.another()
        known = weakref.ref(line.pump)

        line.owner.on_control = lambda *_: forget(line)
        second = self.another()
        second.transports[UPSTREAM].sends_at_once(self.read_of(UPSTREAM))
        line.transports[UPSTREAM].sends_at_once(self.read_of(UPSTREAM))
        self.settle()
        self.assertIsNone(known())
        self.assertEqual(len(line.owner.told), 3)
        self.assertEqual(len(second.owner.told), MAX_CONTROLS + 10)

    def test_pumps_may_be_collected_inside_a_call_of_another(self) -> None:
        self.start()
        lines = [self.another() for _ in range(10)]
        del self.more[:]
        known = [weakref.ref(line.pump) for line in lines]
        for line in lines:
            line.transports[CLIENT].sends_at_once(frame_from(CLIENT, PING))
        self.transports[CLIENT].sends_at_once(frame_from(CLIENT, PING))

        def collect(side: Side, frame: bytes) -> None:
            for line in lines:
                for transport in line.transports.values():
                    transport.protocol.let_go()
            lines.clear()
            gc.collect()

        self.owner.on_control = collect
        line = lines[0]
        del line
        self.settle()
        gc.collect()
        self.assertEqual([each() for each in known], [None] * 10)

    def test_the_hub_goes_with_pumps_that_were_freed_inside_a_call(self) -> None:
        gc.collect()
        before = epoll_sets()
        ground = type(self).lay_ground(self.clock)
        line = Line(ground, self.clock)
        line.owner.on_control = lambda *_, line=line: forget(line)
        line.transports[CLIENT].sends_at_once(self.read_of(CLIENT))
        settle(*line.transports.values())
        self.assertEqual(epoll_sets(), before + 1)
        ground.close()
        del ground, line
        gc.collect()
        self.assertEqual(epoll_sets(), before)

    def test_a_leg_that_was_aborted_at_the_start_is_not_heard(self) -> None:
        self.owner.on_control = lambda side, frame: self.pump.abort(CLIENT)
        ping = frame_from(UPSTREAM, PING)
        self.start(frame_from(CLIENT, PING) + frame_from(CLIENT, TEXT, b"early"), ping)
        self.assertEqual(self.owner.told, [(UPSTREAM, ping), (CLIENT, "lost")])
        self.assertEqual(self.got(UPSTREAM), b"")

    def test_an_owner_that_fails_is_told_so_while_the_exception_is_handled(self) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("broken on purpose")

        self.start()
        self.owner.on_control = self.owner.on_violation = self.owner.on_lost = fail
        self.send(CLIENT, frame_from(CLIENT, PING))
        self.assertEqual([type(each) for each in self.owner.failures], [RuntimeError])
        self.send(CLIENT, frame_from(CLIENT, 3))
        self.assertEqual([type(each) for each in self.owner.failures], [RuntimeError] * 2)
        self.owner.failures.clear()


@needs_native
class ManyTests(NativeTestCase):
    """One hub for all sessions."""

    def test_every_socket_of_many_is_served_within_a_few_turns(self) -> None:
        lines = [self.another() for _ in range(100)]
        for number, line in enumerate(lines):
            for side, transport in line.transports.items():
                transport.sends_at_once(frame_from(side, TEXT, b"%d" % number))
        served = sum(self.hub_turn() for _ in range(4))
        self.assertEqual(served, 200)
        self.assertEqual(self.hub_turn(), 0)
        self.settle()
        for number, line in enumerate(lines):
            for side in Side:
                self.assertEqual(line.got(side), frame_from(side.other, TEXT, b"%d" % number))

    def test_one_that_floods_does_not_starve_the_others(self) -> None:
        lines = [self.another() for _ in range(80)]
        flooder, quiet = lines[0], lines[1:]
        frame = frame_from(UPSTREAM, BINARY, LONG)
        for turn in range(10):
            flooder.transports[UPSTREAM].sends_at_once(frame * 3)
            for line in quiet:
                line.transports[UPSTREAM].sends_at_once(frame_from(UPSTREAM, TEXT, b"%d" % turn))
            for _ in range(2):  # one handles up to 64
                self.hub_turn()
            for transport in (line.transports[CLIENT] for line in lines):
                transport.peer_takes(10**6)
            expected = b"".join(
                frame_from(UPSTREAM, TEXT, b"%d" % each) for each in range(turn + 1)
            )
            self.assertEqual({line.got(CLIENT) for line in quiet}, {expected})
            self.assertGreaterEqual(flooder.pump.received(UPSTREAM), (turn + 1) * READ_SIZE // 8)

    def test_a_flood_of_controls_does_not_starve_the_others(self) -> None:
        flooder, quiet = self.another(), self.another()
        flooder.transports[UPSTREAM].sends_at_once(b"\x89\x00" * (20 * MAX_CONTROLS))
        frame = frame_from(UPSTREAM, TEXT, b"x")
        for turn in range(1, 6):
            quiet.transports[UPSTREAM].sends_at_once(frame)
            for _ in range(3):  # the flooder may be first twice: by its event, and by its backlog
                self.hub_turn()
            quiet.transports[CLIENT].peer_takes(100)
            self.assertEqual(quiet.got(CLIENT), frame * turn)
            self.assertLess(len(flooder.owner.told), 20 * MAX_CONTROLS)

    def test_what_python_has_to_hear_of_many_is_spread_over_turns(self) -> None:
        lines = [self.another() for _ in range(4)]
        self.settle()
        for line in lines:
            line.transports[UPSTREAM].sends_at_once(b"\x89\x00" * MAX_CONTROLS)
        for turn in range(1, 5):
            self.hub_turn()  # whose time is over as soon as it begins
            self.assertEqual(sum(len(line.owner.told) for line in lines), turn * MAX_CONTROLS)

    def test_one_of_many_with_a_backlog_may_leave_and_the_others_go_on(self) -> None:
        for place in range(5):
            with self.subTest(place=place):
                lines = [self.another() for _ in range(5)]
                ping = frame_from(UPSTREAM, PING)
                for line in lines:
                    line.transports[UPSTREAM].sends_at_once(ping * (5 * MAX_CONTROLS))
                self.hub_turn()
                for side in Side:
                    lines[place].pump.abort(side)
                del lines[place]
                self.settle()
                for line in lines:
                    self.assertEqual(line.owner.told, [(UPSTREAM, ping)] * (5 * MAX_CONTROLS))

    def test_a_pump_is_freed_as_soon_as_both_its_legs_are_gone(self) -> None:
        line = self.another()
        known = weakref.ref(line.pump)
        line.leave()
        self.settle()
        line.pump = None
        self.assertIsNone(known())

    def test_the_hubs_descriptors_go_with_the_last_who_needs_them(self) -> None:
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        kept = [type(self).lay_ground(self.clock)]
        kept.append(Line(kept[0], self.clock))
        kept[0].close()
        del kept[0]
        gc.collect()
        self.assertGreater(len(os.listdir("/proc/self/fd")), before)
        kept.clear()
        gc.collect()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


@needs_native
class PatienceTests(NativeTestCase):
    """The hub may stay a while for what becomes ready soon."""

    def setUp(self) -> None:
        super().setUp()
        # As in a real reactor, whose epoll set has the hub's descriptor among others.
        self.poller = select.epoll()
        self.addCleanup(self.poller.close)
        self.ground = type(self).lay_ground(self.clock, self.poller)
        self.addCleanup(self.ground.close)
        self.poller.register(self.ground.hub.fileno(), select.EPOLLIN)
        self.line = self.another()

    def test_what_comes_while_it_stays_is_handled_in_the_same_turn(self) -> None:
        client = self.line.transports[CLIENT]
        text, ping = frame_from(CLIENT, TEXT, b"now"), frame_from(CLIENT, PING, b"soon")
        client.sends_at_once(text)
        timers = [threading.Timer(0.05, client.sends_at_once, [ping]) for _ in range(2)]
        for timer in timers:
            self.addCleanup(timer.join)
        self.line.owner.on_control = lambda *_: timers[1].start()
        timers[0].start()
        self.ground.hub.turn(10.0)
        # It ends when Python was told something: the second one is for another turn.
        self.assertEqual(self.line.owner.told, [(CLIENT, ping)])

    def test_it_does_not_sleep_while_there_is_more_to_read(self) -> None:
        client, upstream = (self.line.transports[side] for side in Side)
        upstream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        frames, ping = frame_from(CLIENT, TEXT, bytes(900)) * 120, frame_from(CLIENT, PING)
        client.sends_at_once(frames + ping)
        self.ground.hub.turn(10.0)
        self.assertEqual(self.line.owner.told, [(CLIENT, ping)])
        self.assertEqual(self.line.pump.received(CLIENT), len(frames + ping))

    def test_it_goes_back_when_the_reactor_has_something_else_to_do(self) -> None:
        mine, other = os.pipe()
        self.addCleanup(os.close, mine)
        self.addCleanup(os.close, other)
        self.poller.register(mine, select.EPOLLIN)
        os.write(other, b"x")
        self.ground.hub.turn()
        self.line.transports[CLIENT].sends_at_once(frame_from(CLIENT, TEXT, b"x"))
        self.assertEqual(self.ground.hub.turn(20.0), 1)

    def test_it_does_not_stay_longer_than_until_the_reactors_next_timer(self) -> None:
        hub, reactor = self.ground.hub, self.ground.reactor
        stays: list[float] = []
        self.patch(hub, "turn", stays.append)
        for until_timer in (None, 0.0, PATIENCE / 2, 5.0):
            self.patch(reactor, "timeout", lambda until_timer=until_timer: until_timer)
            hub.doRead()
        self.assertEqual(stays, [PATIENCE, 0.0, PATIENCE / 2, PATIENCE])


class PollReactor:
    """As Twisted's poll reactor: its poller is no descriptor."""

    _poller = select.poll()


@needs_native
def test_with_another_reactor_than_epoll_it_begins_as_well() -> None:
    assert choose_pumps("native", PollReactor()).words.startswith("the native pump")
