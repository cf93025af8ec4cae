"""Whole messages: what passes, what is refused, in which order, and what is kept meanwhile."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.messages.ground import (
    CLIENT,
    DEFLATED,
    ROUTE,
    TEXT,
    UPSTREAM,
    Deflater,
    MessageGround,
    compressed_frame,
    converse,
    fragments,
    messages_heard,
)
from tests.relay.pumps import PumpTestCase
from tests.relay.support import CLOSE, PING, Conversation, close_payload, frame_from, frames_in
from wsrelay.messages.compression import Compression
from wsrelay.messages.leg import TURN
from wsrelay.relay.pump import Side
from wsrelay.wire.deflate import Deflate
from wsrelay.wire.frames import BINARY

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SIDES = st.sampled_from(list(Side))
SENTENCE = "żółw ⊕ 漢字 \N{GRINNING FACE}"
CUTS = st.lists(st.integers(0, 400), max_size=6)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut *data* at these places, as far as it has them."""
    places = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just(BINARY), st.binary(max_size=300)),
        st.tuples(st.just(TEXT), st.text(max_size=100).map(str.encode)),
        st.tuples(
            st.just(BINARY), st.sampled_from([125, 126, 999, 1001, 65_535, 65_536]).map(bytes)
        ),
    ),
    max_size=5,
)


@UNHURRIED
@given(side=SIDES, messages=MESSAGES, cuts=CUTS, reads=CUTS)
def test_every_message_arrives_whole_however_it_is_cut(
    side: Side, messages: list[tuple[int, bytes]], cuts: list[int], reads: list[int]
) -> None:
    pair = converse()
    wire = b"".join(fragments(side, opcode, *pieces(payload, cuts)) for opcode, payload in messages)
    for read in pieces(wire, reads):
        pair.send(side, read)
    pair.advance(1)
    assert messages_heard(pair, side.other) == messages
    pump = pair.session.pump
    assert pump.messages(side) == len(messages)
    assert pump.binary_messages(side) == sum(opcode == BINARY for opcode, _ in messages)
    assert pump.payload(side) == sum(len(payload) for _, payload in messages)
    assert pump.received(side) == len(wire)
    assert pump.sent(side.other) == len(pair.leg(side.other).received)
    assert pump.totals().buffered == 0


@UNHURRIED
@given(
    side=SIDES,
    messages=MESSAGES,
    cuts=CUTS,
    reads=CUTS,
    server_resets=st.booleans(),
    client_resets=st.booleans(),
    server_bits=st.integers(9, 15),
    client_bits=st.integers(9, 15),
    legs=st.sampled_from(["client", "upstream", "both"]),
)
def test_each_leg_is_compressed_as_it_agreed(
    side: Side,
    messages: list[tuple[int, bytes]],
    cuts: list[int],
    reads: list[int],
    server_resets: bool,
    client_resets: bool,
    server_bits: int,
    client_bits: int,
    legs: str,
) -> None:
    agreed = Deflate(server_resets, client_resets, server_bits, client_bits)
    compression = Compression(
        agreed if legs != "upstream" else None, agreed if legs != "client" else None
    )
    pair = converse(compression=compression)
    speaks = (compression.client if side is CLIENT else compression.upstream) is not None
    reads_it = (compression.upstream if side is CLIENT else compression.client) is not None
    # To the upstream the relay is the client.
    as_client = Deflater(client_bits, resets=client_resets)
    as_server = Deflater(server_bits, resets=server_resets)
    writer, reader = (as_client, as_client) if side is CLIENT else (as_server, as_server)
    wire = b""
    for opcode, payload in messages:
        if speaks:
            wire += fragments(side, opcode | 0x40, *pieces(writer.deflate(payload), cuts))
        else:
            wire += fragments(side, opcode, *pieces(payload, cuts))
    for read in pieces(wire, reads):
        pair.send(side, read)
    pair.advance(1)
    got = bytes(pair.leg(side.other).received)
    heard, rest = frames_in(got)
    assert rest == b""
    payloads = []
    at = 0
    for frame in heard:
        compressed = bool(got[at] & 0x40)
        at += wire_length(len(frame.payload), masked=side is CLIENT)
        payloads.append(reader.inflate(frame.payload) if compressed else frame.payload)
        assert compressed is (reads_it and bool(payloads[-1]))
    assert payloads == [payload for _, payload in messages]
    assert [frame.opcode for frame in heard] == [opcode for opcode, _ in messages]


def wire_length(size: int, *, masked: bool) -> int:
    return 2 + (0 if size < 126 else 2 if size < 65536 else 8) + 4 * masked + size


def test_to_the_upstream_every_frame_has_a_mask_of_its_own() -> None:
    pair = converse()
    for payload in (bytes(100), bytes(100), bytes(50_000)):
        pair.say(CLIENT, BINARY, payload)
    wire = bytes(pair.upstream.received)
    masks = {wire[2:6], wire[108:112], wire[216:220]}
    assert len(masks) == 3
    assert b"\0\0\0\0" not in masks


def test_a_message_in_fragments_waits_for_its_last_and_a_ping_between_them_does_not() -> None:
    for side in Side:
        pair = converse()
        pair.say(side, TEXT, b"once ", final=False)
        pair.say(side, PING, b"there?")
        assert [each.opcode for each in pair.heard(side.other)] == [PING]
        pair.say(side, 0, b"upon a time")
        assert messages_heard(pair, side.other) == [(TEXT, b"once upon a time")]


def test_what_arrived_with_the_handshakes_goes_first() -> None:
    early, welcome = frame_from(CLIENT, TEXT, b"early"), frame_from(UPSTREAM, TEXT, b"welcome")
    pair = converse(from_client=early, from_upstream=welcome)
    pair.say(CLIENT, TEXT, b"more")
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"early"), (TEXT, b"more")]
    assert messages_heard(pair, CLIENT) == [(TEXT, b"welcome")]


# UTF-8


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("side", list(Side))
def test_text_may_be_cut_anywhere(side: Side, deflated: bool) -> None:
    text = SENTENCE.encode()
    wire, bits = (Deflater().deflate(text), 0x40) if deflated else (text, 0)
    for cut in range(len(wire) + 1):
        pair = converse(compression=DEFLATED if deflated else Compression())
        frames = fragments(side, TEXT | bits, wire[:cut], b"", wire[cut:])
        for byte in range(len(frames)):
            pair.leg(side).peer_sends(frames[byte : byte + 1])
        pair.settle()
        (heard,) = pair.heard(side.other)
        assert (Deflater().inflate(heard.payload) if deflated else heard.payload) == text


BAD_UTF8 = [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",  # a surrogate
    b"\xf4\x90\x80\x80",  # over the last character
    "€".encode()[:2],  # half of a character, at the end
    b"fine until here: \x80",
]


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("bad", BAD_UTF8, ids=repr)
def test_text_that_is_not_utf_8_is_1007_for_its_sender_and_reaches_nobody(
    bad: bytes, side: Side, deflated: bool
) -> None:
    payload = Deflater().deflate(bad) if deflated else bad
    for cut in range(len(payload) + 1):
        pair = converse(compression=DEFLATED if deflated else Compression())
        bits = 0x40 if deflated else 0
        pair.send(side, fragments(side, TEXT | bits, payload[:cut], payload[cut:]))
        pair.say(side, BINARY, b"too late")
        code, reason = pair.close_heard(side) or (None, b"")
        assert code == 1007
        assert b"UTF-8" in reason
        assert messages_heard(pair, side.other) == []
        assert pair.close_heard(side.other) == (
            (1011, b"the upstream broke the protocol")
            if side is UPSTREAM
            else (1001, b"the client broke the protocol")
        )
        assert (pair.code(), pair.initiator()) == (1007, f"relay:protocol-{side.value}")


@UNHURRIED
@given(data=st.binary(max_size=40), cut=st.integers(0, 40))
def test_utf_8_is_what_python_says_it_is(data: bytes, cut: int) -> None:
    pair = converse()
    pair.send(CLIENT, fragments(CLIENT, TEXT, data[:cut], data[cut:]))
    try:
        data.decode()
    except UnicodeDecodeError:
        assert pair.close_heard(CLIENT) is not None
    else:
        assert messages_heard(pair, UPSTREAM) == [(TEXT, data)]


def test_bad_text_is_noticed_before_its_message_ends() -> None:
    pair = converse()
    pair.say(CLIENT, TEXT, b"\xff", final=False)
    assert (pair.close_heard(CLIENT) or (0,))[0] == 1007
    pair = converse()
    long = frame_from(CLIENT, TEXT, b"\xff" + bytes(5000))  # longer than whole_frames
    pair.send(CLIENT, long[:100])
    assert (pair.close_heard(CLIENT) or (0,))[0] == 1007


def test_sessions_read_their_texts_each_for_itself() -> None:
    half, other_half = "€".encode()[:1], "€".encode()[1:]
    pairs = [converse(), converse()]
    for pair in pairs:
        pair.say(CLIENT, TEXT, half, final=False)
        pair.say(UPSTREAM, TEXT, b"plain")
    for pair in pairs:
        pair.say(CLIENT, 0, other_half)
        assert messages_heard(pair, UPSTREAM) == [(TEXT, "€".encode())]


def test_binary_messages_need_not_be_utf_8() -> None:
    pair = converse()
    pair.say(CLIENT, BINARY, b"\xff")
    assert messages_heard(pair, UPSTREAM) == [(BINARY, b"\xff")]


# limits and damage


@pytest.mark.parametrize("side", list(Side))
def test_the_limit_of_its_direction_holds_on_the_wire_and_when_inflated(side: Side) -> None:
    small = evolve(
        ROUTE,
        max_message_size_up=1000 if side is CLIENT else 5000,
        max_message_size_down=1000 if side is UPSTREAM else 5000,
    )
    limit = (1009, b"message over the limit of 1000 bytes")
    noise = random.Random(1).randbytes(1001)
    for compression in (Compression(), DEFLATED):
        for payload in (noise, noise[:-1]):
            pair = converse(small, compression)
            pair.say(side, BINARY, payload)
            assert pair.close_heard(side) == (limit if len(payload) > 1000 else None)
            assert pair.session.cause is None or pair.initiator() == f"relay:too-big-{side.value}"
    for size in (1000, 1001, 4000):
        pair = converse(small, DEFLATED)
        pair.send(side, compressed_frame(side, Deflater().deflate(bytes(size))))
        assert pair.close_heard(side) == (limit if size > 1000 else None)
        assert len(messages_heard(pair, side.other)) == (size <= 1000)
        pair = converse(small, DEFLATED)
        pair.say(side.other, BINARY, bytes(size))
        assert pair.session.cause is None, "the other direction has a limit of its own"


def test_a_limit_is_for_what_is_received_and_not_for_what_is_sent() -> None:
    """Autobahn's own ``maxMessagePayloadSize`` would refuse to send, too."""
    pair = converse(evolve(ROUTE, max_message_size_up=10, max_message_size_down=10_000))
    pair.say(UPSTREAM, BINARY, bytes(9000))
    assert messages_heard(pair, CLIENT) == [(BINARY, bytes(9000))]


@pytest.mark.parametrize("side", list(Side))
def test_damaged_compressed_data_is_1007(side: Side) -> None:
    pair = converse(compression=DEFLATED)
    pair.send(side, compressed_frame(side, b"\xff\xff\xff\xff"))
    assert pair.close_heard(side) == (1007, b"compressed data is damaged")


@pytest.mark.parametrize("side", list(Side))
def test_a_compressed_message_where_nothing_was_agreed_is_a_violation(side: Side) -> None:
    other = Compression(None, Deflate()) if side is CLIENT else Compression(Deflate(), None)
    pair = converse(compression=other)
    pair.send(side, compressed_frame(side, Deflater().deflate(b"x")))
    assert pair.close_heard(side) == (1002, b"reserved bits set without an extension")


def test_a_bomb_costs_no_more_than_the_limit_in_a_session() -> None:
    """100 MiB of zeros in 100 KiB, to a limit of 1 MiB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(100))
    bomb += compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    frame = compressed_frame(CLIENT, bomb)
    pair = converse(evolve(ROUTE, max_message_size_up=1 << 20), DEFLATED)
    tracemalloc.start()
    try:
        for read in pieces(frame, list(range(0, len(frame), 10_000))):
            pair.send(CLIENT, read)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pair.close_heard(CLIENT) == (1009, b"message over the limit of 1048576 bytes")
    assert peak < 4 << 20


def test_an_endless_message_of_empty_fragments_takes_no_memory() -> None:
    pair = converse()
    pair.say(CLIENT, BINARY, b"x", final=False)
    empty = frame_from(CLIENT, 0, final=False) * 10_000
    pair.send(CLIENT, empty)
    assert not pair.client.reading, "and no more than some of them are read in a turn"
    pair.advance(1)
    assert pair.client.reading
    tracemalloc.start()
    try:
        for _ in range(3):
            pair.send(CLIENT, empty)
            pair.advance(1)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000
    assert pair.session.pump.totals().buffered == 1


# order, and turns of the reactor


def test_controls_stay_in_their_place_between_messages() -> None:
    for side in Side:
        pair = converse()
        pair.send(
            side,
            b"".join(
                frame_from(side, PING, b"%d" % number) + frame_from(side, TEXT, b"%d" % number)
                for number in range(200)
            ),
        )
        pair.advance(1)
        heard = [(each.opcode, each.payload) for each in pair.heard(side.other)]
        assert heard == [(op, b"%d" % number) for number in range(200) for op in (PING, TEXT)]


def test_a_read_full_of_messages_is_handled_in_several_turns_of_the_reactor() -> None:
    pair = converse()
    frame = frame_from(CLIENT, TEXT, b"x")
    pair.client.peer_sends(frame * 1000 + frame_from(CLIENT, CLOSE, close_payload(1000)))
    pair.settle()
    assert len(messages_heard(pair, UPSTREAM)) == TURN
    assert not pair.client.reading
    assert pair.close_heard(UPSTREAM) is None
    pair.advance(1)
    assert len(messages_heard(pair, UPSTREAM)) == 1000
    assert pair.close_heard(UPSTREAM) == (1000, b"")
    assert pair.client.reading


def test_long_messages_count_for_more_in_a_turn() -> None:
    pair = converse(compression=DEFLATED)
    deflater = Deflater()
    wire = b"".join(compressed_frame(CLIENT, deflater.deflate(bytes(100_000))) for _ in range(50))
    assert len(wire) < 64 * 1024
    pair.send(CLIENT, wire)
    assert 5 <= len(messages_heard(pair, UPSTREAM)) <= 15
    pair.advance(1)
    assert len(messages_heard(pair, UPSTREAM)) == 50


# backpressure


@pytest.mark.parametrize("side", list(Side))
def test_a_leg_that_takes_nothing_keeps_the_other_from_being_read(side: Side) -> None:
    pair = converse(compression=DEFLATED)
    taker, sender = pair.leg(side), pair.leg(side.other)
    taker.stalled = True
    noise = random.Random(1)
    sent = []
    deflater = Deflater()
    for _ in range(100):
        sent.append(noise.randbytes(90_000))
        pair.send(side.other, compressed_frame(side.other, deflater.deflate(sent[-1])))
    pump = pair.session.pump
    assert not sender.reading
    assert pump.is_paused(side.other)
    assert pump.is_waiting(side)
    assert pump.stalls(side) == 1
    # One message that goes out, and one read in which another has begun.
    assert pump.totals().buffered < 400_000
    assert pump.sent(side) < 200_000, "no more was given to the transport than it takes"
    taker.stalled = False
    for _ in range(100):
        pair.settle()
        pair.advance(0)
    assert len(messages_heard(pair, side)) == 100
    assert not pump.is_waiting(side)
    assert sender.reading


def test_many_small_compressed_messages_do_not_inflate_into_a_leg_that_takes_nothing() -> None:
    pair = converse(compression=Compression(Deflate(), None))
    deflater = Deflater()
    wire = b"".join(compressed_frame(CLIENT, deflater.deflate(bytes(90_000))) for _ in range(400))
    assert len(wire) < 64 * 1024, "all of them come in one read"
    pair.upstream.stalled = True
    pair.send(CLIENT, wire)
    pair.advance(10)
    assert pair.session.pump.totals().buffered < 400_000
    pair.upstream.stalled = False
    for _ in range(400):
        pair.settle()
        pair.advance(0)
    assert len(messages_heard(pair, UPSTREAM)) == 400


def test_a_long_message_goes_out_as_it_is_taken_and_the_pong_behind_it() -> None:
    pair = converse(evolve(ROUTE, max_message_size_down=None, ping="answer"))
    pair.client.stalled = True
    payload = random.Random(1).randbytes(1_000_000)
    pair.say(UPSTREAM, BINARY, payload)
    pump = pair.session.pump
    before = pump.sent(CLIENT)
    assert before < 200_000
    pair.say(CLIENT, PING, b"hello")
    pair.client.peer_takes(200_000)
    pair.settle()
    assert before < pump.sent(CLIENT) < 400_000, "that it is taken is seen"
    pair.client.stalled = False
    pair.settle()
    heard = [(each.opcode, each.payload) for each in pair.heard(CLIENT)]
    assert heard == [(BINARY, payload), (10, b"hello")]


def test_to_the_upstream_a_long_message_is_masked_in_all_its_pieces() -> None:
    pair = converse(evolve(ROUTE, max_message_size_up=None))
    payload = random.Random(1).randbytes(300_001)
    pair.say(CLIENT, BINARY, payload)
    assert messages_heard(pair, UPSTREAM) == [(BINARY, payload)]
    assert payload not in bytes(pair.upstream.received)


def test_a_close_waits_for_a_long_message_that_goes_out() -> None:
    pair = converse()
    pair.client.stalled = True
    pair.say(UPSTREAM, BINARY, bytes(100_000))
    pair.say(UPSTREAM, BINARY, bytes(90_000))
    pair.session.close(1012, "stopping", "drain")
    pair.client.stalled = False
    pair.settle()
    assert [each.opcode for each in pair.heard(CLIENT)] == [BINARY, CLOSE]
    assert pair.close_heard(CLIENT) == (1012, b"stopping")


# ends


@pytest.mark.parametrize("side", list(Side))
def test_what_a_lost_leg_has_said_arrives_before_the_other_is_told(side: Side) -> None:
    pair = converse()
    pair.leg(side.other).stalled = True
    for _ in range(3):
        pair.leg(side).peer_sends(frame_from(side, BINARY, bytes(60_000)))
    pair.settle()
    pair.end(side)
    pair.leg(side.other).stalled = False
    pair.advance(0.1)
    frames = pair.heard(side.other)
    assert [each.opcode for each in frames] == [BINARY, BINARY, BINARY, CLOSE]
    pair.say_close(side.other, 1000)
    pair.advance(5)
    pair.end(side.other)
    pair.assert_over()


def say_and_leave(pair: Conversation, side: Side) -> None:
    """Let a peer send ten messages and its end in one go, as TLS may hand them over."""
    transport = pair.leg(side)
    wire = b"".join(frame_from(side, BINARY, bytes(60_000)) for _ in range(10))
    transport.protocol.dataReceived(wire)
    transport.lost = True
    transport.protocol.connectionLost(Failure(ConnectionDone()))
    pair.settle()


@pytest.mark.parametrize("side", list(Side))
def test_a_lost_legs_last_words_wait_only_so_long_for_a_leg_that_takes_nothing(side: Side) -> None:
    pair = converse()
    pair.leg(side.other).stalled = True
    say_and_leave(pair, side)
    assert pair.session.cause is None
    pair.advance(4.9)
    assert pair.session.cause is None
    pair.advance(0.2)
    assert (pair.code(), pair.initiator()) == (1006, side.value)
    pair.advance(5)
    pair.assert_over()


def test_half_of_a_message_is_not_passed_on() -> None:
    for side in Side:
        pair = converse()
        pair.say(side, TEXT, b"never finished", final=False)
        pair.end(side)
        assert [each.opcode for each in pair.heard(side.other)] == [CLOSE]


def test_both_legs_may_be_lost_at_once() -> None:
    pair = converse()
    pair.upstream.stalled = True
    say_and_leave(pair, CLIENT)
    pair.reset(UPSTREAM)
    pair.advance(0.1)
    pair.assert_over()


def test_an_abort_leaves_nothing_behind() -> None:
    pair = converse()
    pair.upstream.stalled = True
    say_and_leave(pair, CLIENT)
    pair.session.abort()
    pair.advance(0.1)
    pair.assert_over()


def test_after_a_violation_nothing_of_its_sender_passes() -> None:
    pair = converse()
    good = frame_from(CLIENT, TEXT, b"good")
    pair.send(CLIENT, good + frame_from(CLIENT, TEXT, b"\xff") + good)
    pair.send(CLIENT, good)
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"good")]
    assert (pair.close_heard(CLIENT) or (0,))[0] == 1007


class ViolatorTests(PumpTestCase):
    """Nobody hears of a violator any more."""

    lay_ground = MessageGround

    def test_control_frames_behind_bad_text_are_not_told(self) -> None:
        self.start()
        ping = frame_from(CLIENT, PING)
        self.send(CLIENT, ping + frame_from(CLIENT, TEXT, b"\xff") + ping, ping)
        (_, first), (side, violation) = self.owner.told
        self.assertEqual((first, side, violation.code), (ping, CLIENT, 1007))


# messages of the relay's own


def test_a_message_of_the_relays_own_goes_out_at_once_and_never_inside_another() -> None:
    for side in Side:
        pair = converse()
        pump = pair.session.pump
        pair.say(side.other, TEXT, b"once ", final=False)
        assert pump.inject(side, b"news", False)
        assert pump.inject(side, b"\xff", True)
        pair.settle()
        pair.say(side.other, 0, b"upon a time")
        assert messages_heard(pair, side) == [
            (TEXT, b"news"),
            (BINARY, b"\xff"),
            (TEXT, b"once upon a time"),
        ]
        assert (pump.messages(side), pump.messages(side.other)) == (0, 1)


def test_it_is_compressed_like_any_other() -> None:
    pair = converse(compression=DEFLATED)
    assert pair.session.pump.inject(CLIENT, b"news" * 100, False)
    pair.settle()
    assert len(pair.client.received) < 40


def test_it_is_refused_when_too_much_waits() -> None:
    pair = converse()
    pump = pair.session.pump
    pair.client.stalled = True
    taken = 0
    while pump.inject(CLIENT, bytes(10_000), True):
        taken += 10_000
        assert taken < 10**7
    assert 10**6 < taken < 1.2 * 10**6
    assert pump.inject(UPSTREAM, b"x", True), "the other leg is another"
    pair.client.stalled = False
    pair.settle()
    assert pump.inject(CLIENT, b"x", True)
    pair.settle()
    assert len(messages_heard(pair, CLIENT)) == taken // 10_000 + 1


def test_it_is_refused_when_the_session_ends() -> None:
    pair = converse()
    pump = pair.session.pump
    pair.session.close(1012, "stopping", "drain")
    assert not pump.inject(CLIENT, b"x", True)
    pair = converse()
    pair.reset(CLIENT)
    assert not pair.session.pump.inject(CLIENT, b"x", True)
    pair = converse()
    pair.session.abort()
    assert not pair.session.pump.inject(CLIENT, b"x", True)
