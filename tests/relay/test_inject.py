"""Messages of the relay's own: whole, in order, and never inside one of a peer's."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.relay.pumps import (
    LIMITS,
    LONG,
    NATIVE,
    TLS,
    WHOLE,
    GroundTestCase,
    Owner,
    PumpTestCase,
    needs_native,
    with_every_pump,
    with_the_native_pump,
)
from tests.relay.support import (
    BINARY,
    HIGH_WATER,
    PING,
    TEXT,
    connect,
    data_of,
    frame_from,
    frames_in,
    settle,
)
from wsrelay.relay.published import MAX_PUBLISHED
from wsrelay.relay.pump import PumpOptions, Side
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import CONTINUATION, DEFLATE_BITS, Scanner, encode_frame

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
OURS = encode_frame(TEXT, b"ours")


class InjectTestCase(PumpTestCase):
    """Has a message of the relay's for the client."""

    def inject(self, payload: bytes = b"ours") -> bool:
        taken = self.pump.inject(CLIENT, payload, False)
        self.settle()
        return taken


@with_every_pump
class PlaceTests(InjectTestCase):
    """Where a message goes."""

    def test_between_messages_it_goes_at_once_unmasked_to_the_client(self) -> None:
        self.start()
        self.assertTrue(self.pump.inject(CLIENT, b"text", False))
        self.assertTrue(self.pump.inject(CLIENT, b"\xff" * 300, True))
        self.settle()
        frames = encode_frame(TEXT, b"text") + encode_frame(BINARY, b"\xff" * 300)
        self.assertEqual(self.got(CLIENT), frames)

    def test_to_the_upstream_it_goes_masked_each_with_a_mask_of_its_own(self) -> None:
        self.start()
        for _ in range(2):
            self.assertTrue(self.pump.inject(UPSTREAM, bytes(20), True))
        self.settle()
        one, other = self.got(UPSTREAM)[:26], self.got(UPSTREAM)[26:]
        for each in (one, other):
            self.assertEqual(each[:2], b"\x82\x94")
            self.assertEqual(data_of(frames_in(each)[0]), [bytes(20)])
        self.assertNotEqual(one[2:6], other[2:6])

    def test_inside_a_streamed_frame_it_waits_for_exactly_the_frames_end(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, LONG)
        self.send(UPSTREAM, frame[:2000])
        self.assertTrue(self.inject())
        self.send(UPSTREAM, frame[2000:-1])
        self.assertEqual(self.got(CLIENT), frame[:-1])
        self.send(UPSTREAM, frame[-1:] + frame)
        self.assertEqual(self.got(CLIENT), frame + OURS + frame)

    def test_between_fragments_it_waits_for_exactly_the_messages_end(self) -> None:
        self.start()
        first, second, third = (
            frame_from(UPSTREAM, TEXT, b"1", final=False),
            frame_from(UPSTREAM, CONTINUATION, LONG, final=False),
            frame_from(UPSTREAM, CONTINUATION, b"3"),
        )
        self.send(UPSTREAM, first)
        self.assertTrue(self.inject())
        self.assertTrue(self.inject())
        self.send(UPSTREAM, second[:2000], second[2000:])
        self.assertEqual(self.got(CLIENT), first + second)
        after = frame_from(UPSTREAM, TEXT, b"after")
        self.send(UPSTREAM, third + after + after)
        self.assertEqual(self.got(CLIENT), first + second + third + OURS * 2 + after * 2)

    def test_it_does_not_wait_for_a_read_that_ends_with_a_message(self) -> None:
        self.start()
        first = frame_from(UPSTREAM, TEXT, b"1", final=False)
        self.send(UPSTREAM, first)
        self.assertTrue(self.inject())
        end = frame_from(UPSTREAM, CONTINUATION, b"2")
        self.send(UPSTREAM, end + first)
        self.assertEqual(self.got(CLIENT), first + end + OURS + first)

    def test_the_beginning_of_a_message_that_is_held_makes_nothing_wait(self) -> None:
        self.start()
        frame = frame_from(UPSTREAM, BINARY, bytes(WHOLE))
        self.send(UPSTREAM, frame[:-1])
        self.assertTrue(self.inject())
        self.assertEqual(self.got(CLIENT), OURS)
        self.send(UPSTREAM, frame[-1:])
        self.assertEqual(self.got(CLIENT), OURS + frame)

    def test_the_other_directions_message_makes_nothing_wait(self) -> None:
        self.start()
        self.send(CLIENT, frame_from(CLIENT, TEXT, b"1", final=False))
        self.assertTrue(self.inject())
        self.assertEqual(self.got(CLIENT), OURS)

    def test_controls_do_not_wait_for_it(self) -> None:
        self.start()
        first = frame_from(UPSTREAM, TEXT, b"1", final=False)
        self.send(UPSTREAM, first)
        self.assertTrue(self.inject())
        self.pump.send(CLIENT, b"\x89\x00")
        self.settle()
        self.assertEqual(self.got(CLIENT), first + b"\x89\x00")

    def test_told_of_a_control_inside_a_message_an_owner_injects_behind_the_message(self) -> None:
        self.start()
        self.owner.on_control = lambda side, frame: [
            self.assertTrue(self.pump.inject(each, b"ours", False)) for each in Side
        ]
        parts = [
            frame_from(UPSTREAM, TEXT, b"1", final=False),
            frame_from(UPSTREAM, PING),
            frame_from(UPSTREAM, CONTINUATION, b"2"),
        ]
        self.send(UPSTREAM, b"".join(parts))
        self.assertEqual(self.got(CLIENT), parts[0] + parts[2] + OURS)
        self.assertEqual(data_of(frames_in(self.got(UPSTREAM))[0]), [b"ours"])

    def test_a_compressed_message_around_it_stays_as_it_is(self) -> None:
        self.start_with(DEFLATE_BITS)
        first = bytes((TEXT | DEFLATE_BITS,)) + b"\x01x"
        self.send(UPSTREAM, first)
        self.assertTrue(self.inject())
        end = frame_from(UPSTREAM, CONTINUATION, b"y")
        self.send(UPSTREAM, end + bytes((0x80 | TEXT | DEFLATE_BITS,)) + b"\x01z")
        self.assertEqual(self.got(CLIENT), first + end + OURS + b"\xc1\x01z")
        self.assertEqual(self.owner.told, [])

    def start_with(self, bits: int) -> None:
        self.pump = self.ground.make_pump(
            self.owner,
            *(self.transports[side] for side in Side),
            PumpOptions(bits, LIMITS, LIMITS),
            self.clock,
        )
        for side, transport in self.transports.items():
            connect(self.pump, side, transport)
        self.start()


@with_every_pump
class BoundTests(InjectTestCase):
    """A leg that takes nothing costs no more than so much."""

    def test_of_what_waits_for_a_messages_end_there_is_only_so_much(self) -> None:
        self.start()
        first = frame_from(UPSTREAM, TEXT, b"1", final=False)
        self.send(UPSTREAM, first)
        size = MAX_PUBLISHED // 4 - 20
        for _ in range(4):
            self.assertTrue(self.inject(bytes(size)))
        self.assertFalse(self.inject(bytes(size)))
        self.assertTrue(self.inject(b"small"), "there is a little room")
        self.assertEqual(self.pump.totals().buffered, 4 * (size + 10) + 7)
        self.send(UPSTREAM, frame_from(UPSTREAM, CONTINUATION, b"2"))
        frames = frames_in(self.got(CLIENT))[0]
        self.assertEqual([len(each.payload) for each in frames], [1, 1, *[size] * 4, 5])
        self.assertTrue(self.inject(bytes(size)), "all was taken")
        self.assertEqual(self.pump.totals().buffered, 0)

    def test_of_what_a_full_leg_does_not_take_there_is_only_so_much(self) -> None:
        self.start()
        for _ in range(2):
            before = len(self.got(CLIENT))
            self.transports[CLIENT].stalled = True
            taken = 0
            while self.pump.inject(CLIENT, bytes(10_000), True):
                taken += 1
                self.assertLess(taken, 1000)
            at_most = MAX_PUBLISHED + HIGH_WATER + 10_000
            self.assertLessEqual(self.pump.totals().buffered, at_most)
            self.assertGreater(self.pump.totals().buffered, MAX_PUBLISHED - 20_008)
            self.transports[CLIENT].stalled = False
            self.settle()
            self.assertEqual(len(self.got(CLIENT)) - before, taken * 10_004)

    def test_a_leg_that_is_full_whenever_it_is_asked_is_not_so_for_ever(self) -> None:
        self.start()
        for _ in range(4):
            self.transports[CLIENT].stalled = True
            while self.transports[UPSTREAM].reading:
                self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG))
            self.assertTrue(self.inject(bytes(MAX_PUBLISHED // 2)))
            self.transports[CLIENT].stalled = False
            self.settle()

    def test_a_leg_that_takes_all_may_get_any_number(self) -> None:
        self.start()
        for _ in range(MAX_PUBLISHED // 4000):
            self.assertTrue(self.inject(bytes(5000)))

    def test_one_message_may_be_longer_if_nothing_waits(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        self.flood(UPSTREAM)
        self.assertTrue(self.pump.inject(CLIENT, bytes(MAX_PUBLISHED + 1), True))
        self.assertFalse(self.pump.inject(CLIENT, b"", True))

    def test_a_client_that_takes_no_message_stops_its_upstream_and_not_itself(self) -> None:
        self.start()
        self.transports[CLIENT].stalled = True
        for _ in range(100):
            self.pump.inject(CLIENT, bytes(10_000), True)
        self.assertTrue(self.pump.is_paused(UPSTREAM))
        self.assertFalse(self.pump.is_paused(CLIENT))


@with_every_pump
class EndTests(InjectTestCase):
    """A session that ends gets nothing more."""

    def test_a_leg_that_is_finished_shut_aborted_or_gone_takes_none(self) -> None:
        for end in ("finish", "shut", "abort", "gone"):
            with self.subTest(end=end):
                self.setUp()
                self.start()
                if end == "gone":
                    self.transports[CLIENT].peer_resets()
                    self.settle()
                else:
                    getattr(self.pump, end)(CLIENT)
                self.assertFalse(self.inject())
                self.assertEqual(self.got(CLIENT), b"")
                self.assertEqual(self.pump.totals().buffered, 0)

    def test_a_leg_that_is_to_be_shut_at_a_boundary_takes_none(self) -> None:
        self.start()
        self.send(UPSTREAM, frame_from(UPSTREAM, BINARY, LONG)[:2000])
        self.pump.send(CLIENT, b"\x89\x00")
        self.pump.shut(CLIENT)
        self.assertFalse(self.inject())

    def test_what_waits_for_a_message_is_dropped_by_the_finish(self) -> None:
        for cut in ("frame", "message"):
            with self.subTest(inside=cut):
                self.setUp()
                self.start()
                frame = frame_from(UPSTREAM, BINARY, LONG)
                first = frame_from(UPSTREAM, TEXT, b"1", final=False)
                self.send(UPSTREAM, frame[:2000] if cut == "frame" else first)
                self.assertTrue(self.inject())
                self.pump.send(CLIENT, b"\x88\x00")
                self.pump.finish(CLIENT)
                rest = frame[2000:] if cut == "frame" else frame_from(UPSTREAM, CONTINUATION)
                self.send(UPSTREAM, rest + frame_from(UPSTREAM, TEXT, b"more"))
                whole = frame if cut == "frame" else first
                self.assertEqual(self.got(CLIENT), whole + b"\x88\x00")
                self.assertEqual(self.pump.totals().buffered, 0)

    def test_what_waits_goes_with_the_leg(self) -> None:
        self.start()
        self.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"1", final=False))
        self.assertTrue(self.inject(bytes(5000)))
        self.transports[CLIENT].peer_resets()
        self.settle()
        self.assertEqual(self.pump.totals().buffered, 0)
        self.send(UPSTREAM, frame_from(UPSTREAM, CONTINUATION, b"2"))
        self.assertEqual(self.owner.told, [(CLIENT, "lost")])

    def test_the_end_of_a_cut_message_is_not_waited_for_by_a_goodbye(self) -> None:
        self.start()
        first = frame_from(UPSTREAM, TEXT, b"1", final=False)
        self.send(UPSTREAM, first)
        self.assertTrue(self.inject())
        self.transports[UPSTREAM].peer_ends()
        self.settle()
        self.assertFalse(self.pump.is_cut(CLIENT))
        self.pump.send(CLIENT, b"\x88\x00")
        self.pump.finish(CLIENT)
        self.pump.shut(CLIENT)
        self.settle()
        self.assertEqual(self.got(CLIENT), first + b"\x88\x00")
        self.assertTrue(self.transports[CLIENT].eof)


@with_the_native_pump
class NumbersTests(InjectTestCase):
    """What a message of the relay's counts for."""

    def test_it_is_sent_and_no_message_of_a_peers(self) -> None:
        self.start()
        self.assertTrue(self.inject())
        totals = self.pump.totals()
        self.assertEqual(totals.client_sent, len(OURS))
        self.assertEqual((totals.upstream_messages, totals.upstream_payload), (0, 0))

    def test_it_is_data_when_it_goes_out(self) -> None:
        self.start()
        self.clock.advance(3)
        self.assertTrue(self.inject())
        self.assertEqual(self.pump.last_data(), 3)
        self.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"1", final=False))
        self.clock.advance(1)
        self.assertTrue(self.inject())
        self.assertEqual(self.pump.last_data(), 3)
        self.send(UPSTREAM, frame_from(UPSTREAM, CONTINUATION, b"2"))
        self.assertEqual(self.pump.last_data(), 4)

    def test_one_that_is_not_taken_is_no_data(self) -> None:
        self.start()
        self.pump.finish(CLIENT)
        self.clock.advance(3)
        self.assertFalse(self.inject())
        self.assertEqual(self.pump.last_data(), 0)


# any split, any fragmentation

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SIZES = st.sampled_from([0, 1, 30, WHOLE, WHOLE + 1, 5000, 140_000])
PIECES = st.sampled_from([1, 2, 7, 500, 3000, 65_536, 10**6])


@st.composite
def messages(draw: st.DrawFn, side: Side) -> bytes:
    """Draw what a peer sends: whole messages, in fragments, with control frames between."""
    stream = b""
    for number in range(draw(st.integers(0, 5))):
        fragments = draw(st.lists(SIZES, min_size=1, max_size=4))
        for place, size in enumerate(fragments):
            opcode = CONTINUATION if place else draw(st.sampled_from([TEXT, BINARY]))
            final = place == len(fragments) - 1
            stream += frame_from(side, opcode, b"%d" % number + b"." * size, final=final)
            if draw(st.booleans()):
                stream += frame_from(side, PING, b"peer")
    return stream


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(list(Side)), PIECES),
        st.tuples(st.just("send"), st.just(UPSTREAM), PIECES),
        st.tuples(st.just("inject"), st.sampled_from(list(Side)), SIZES),
        st.tuples(st.just("stall"), st.sampled_from(list(Side)), st.booleans()),
        st.tuples(st.just("ping"), st.sampled_from(list(Side)), st.just(0)),
    ),
    max_size=25,
)


class Scene:
    """A pump between two peers, and what is to come out of it."""

    def __init__(self, ground: Any, clock: Clock) -> None:
        self.clock = clock
        self.owner = Owner()
        self.injected: dict[Side, list[bytes]] = {side: [] for side in Side}
        self.transports = {side: ground.transport() for side in Side}
        options = PumpOptions(0, LIMITS, LIMITS)
        self.pump = ground.make_pump(self.owner, *self.transports.values(), options, clock)
        for side, transport in self.transports.items():
            connect(self.pump, side, transport)
        self.owner.on_control = self.answer
        self.pump.start(b"", b"", b"")

    def answer(self, side: Side, frame: bytes) -> None:
        """Do what a session could do while it is told of a control frame."""
        self.pump.send(side.other, frame)
        for each in Side:
            self.inject(each, 3)

    def inject(self, side: Side, size: int) -> None:
        payload = b"P%d" % len(self.injected[side]) + b"!" * size
        if self.pump.inject(side, payload, bool(size % 2)):
            self.injected[side].append(payload)

    def settle(self) -> None:
        for _ in range(3):
            settle(*self.transports.values())
            self.clock.advance(0)
        settle(*self.transports.values())

    def live(self, streams: dict[Side, bytes], steps: list[tuple[str, Side, int]]) -> None:
        rest = dict(streams)
        for kind, side, size in steps:
            if kind == "send":
                self.transports[side].peer_sends(rest[side][:size])
                rest[side] = rest[side][size:]
            elif kind == "inject":
                self.inject(side, size)
            elif kind == "ping":
                self.pump.send(side, frame_from(side.other, PING, b"relay"))
            else:
                self.transports[side].stalled = bool(size)
            if kind != "inject":  # several come in one turn
                self.settle()
        for side in Side:
            self.transports[side].stalled = False
            self.transports[side].peer_sends(rest[side])
        self.settle()

    def check(self, side: Side, sent: bytes) -> None:
        """Read what a peer got as the peer itself would."""
        messages = whole_messages(side, bytes(self.transports[side].received))
        ours = [each for _, each in messages if each.startswith(b"P")]
        theirs = [each for each in messages if not each[1].startswith(b"P")]
        assert ours == self.injected[side]
        assert theirs == whole_messages(side, sent)
        assert self.pump.totals().buffered == 0


def whole_messages(side: Side, data: bytes) -> list[tuple[int, bytes]]:
    """Return the messages in a stream, each with its type; there is nothing wrong with it."""
    events = Scanner(side is UPSTREAM).feed(data)
    assert not [each for each in events if isinstance(each, Violation)]
    frames, rest = frames_in(data)
    assert rest == b""
    found: list[tuple[int, bytes]] = []
    in_message = False
    for frame in frames:
        if frame.is_control:
            continue
        if not in_message:
            found.append((frame.opcode, b""))
        found[-1] = (found[-1][0], found[-1][1] + frame.payload)
        in_message = not frame.final
    assert not in_message
    return found


FRAGMENTS = b"".join(
    frame_from(UPSTREAM, opcode, b"f", final=opcode == CONTINUATION)
    for opcode in (TEXT, CONTINUATION) * 3
)


def anything(test: Any) -> Any:
    """Call *test* with any streams, pieces and messages."""
    unaligned = [("send", UPSTREAM, 3), ("inject", CLIENT, 1), ("send", UPSTREAM, 6)] * 2
    shown = example(b"", FRAGMENTS, unaligned)(test)
    return UNHURRIED(given(messages(CLIENT), messages(UPSTREAM), STEPS)(shown))


class FuzzTestCase(GroundTestCase):
    """Lets a pump work."""

    def relays(self, up: bytes, down: bytes, steps: list[tuple[str, Side, int]]) -> None:
        clock = Clock()
        ground = self.new_ground(clock)
        scene = Scene(ground, clock)
        scene.live({CLIENT: up, UPSTREAM: down}, steps)
        scene.check(CLIENT, down)
        scene.check(UPSTREAM, up)
        self.assertEqual(scene.owner.failures, [])
        ground.close()


class FuzzTests(FuzzTestCase):
    """Whatever comes, in whatever pieces."""

    @anything
    def test_a_peer_gets_every_message_whole_and_in_order(
        self, up: bytes, down: bytes, steps: list[tuple[str, Side, int]]
    ) -> None:
        self.relays(up, down, steps)


@needs_native
class NativeFuzzTests(FuzzTestCase):
    """The same of the native pump."""

    lay_ground = NATIVE

    @anything
    def test_a_peer_gets_every_message_whole_and_in_order(
        self, up: bytes, down: bytes, steps: list[tuple[str, Side, int]]
    ) -> None:
        self.relays(up, down, steps)


@needs_native
class TLSFuzzTests(FuzzTestCase):
    """And between TLS connections."""

    lay_ground = TLS

    @anything
    def test_a_peer_gets_every_message_whole_and_in_order(
        self, up: bytes, down: bytes, steps: list[tuple[str, Side, int]]
    ) -> None:
        self.relays(up, down, steps)
