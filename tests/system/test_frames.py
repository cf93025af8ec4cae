"""Frames between two peers: passed on as they are, or refused with the right codes."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LOCAL,
    MASK,
    PING,
    PONG,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    close_payload,
    end_normally,
    frame,
    frame_head,
    handshake,
    masked,
    read_data,
    switching,
    xor,
)

RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    config = f"""
[listener:main]
endpoint = {LOCAL}
[route:main]
pool = main
http = no
keepalive = off
close_timeout = 2s
[route:answer]
path = /answer
pool = main
http = no
keepalive = off
ping = answer
[route:small]
path = /small
pool = main
http = no
keepalive = off
max_frame_size = 1000
max_message_size_up = 2000
max_message_size_down = 3000
[route:big]
path = /big
pool = main
http = no
keepalive = off
max_message_size_up = off
max_message_size_down = off
[route:stream]
path = /stream
pool = main
http = no
keepalive = off
whole_frames = off
[pool:main]
upstreams = {upstream.url}
max_fails = 0
[log]
format = json
"""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


FRAMES = [
    (TEXT, b""),
    (TEXT, b"hello"),
    (BINARY, bytes(range(256))),
    (BINARY, b"x" * 125),
    (BINARY, b"x" * 126),
    (BINARY, b"x" * 65535),
    (BINARY, b"x" * 65536),
    (TEXT, b"\xff\xfe not utf-8 at all"),
    (BINARY, b"y" * 16384),
    (BINARY, b"y" * 16385),
]


def test_frames_from_the_client_keep_every_byte(stage: Stage) -> None:
    client, upstream = stage.begin()
    for opcode, payload in FRAMES:
        sent = masked(opcode, payload)
        client.send(sent)
        assert upstream.read(len(sent)) == sent
    end_normally(client, upstream)


def test_frames_from_the_upstream_keep_every_byte(stage: Stage) -> None:
    client, upstream = stage.begin()
    for opcode, payload in FRAMES:
        sent = frame(opcode, payload)
        upstream.send(sent)
        assert client.read(len(sent)) == sent
    end_normally(client, upstream)


@pytest.mark.parametrize("path", [b"/", b"/stream"])
def test_single_bytes_make_the_same_frames(stage: Stage, path: bytes) -> None:
    client, upstream = stage.begin(path)
    up = masked(TEXT, b"a" * 130, fin=False) + masked(PING, b"p") + masked(0, b"") + masked(2, b"z")
    client.send_slowly(up)
    got = [upstream.read_frame() for _ in range(4)]
    assert [(each.first, each.payload) for each in got] == [
        (TEXT, b"a" * 130),
        (0x80 | PING, b"p"),
        (0x80, b""),
        (0x80 | BINARY, b"z"),
    ]
    upstream.send_slowly(frame(TEXT, b"b" * 200))
    assert client.read_frame().payload == b"b" * 200
    end_normally(client, upstream)


def test_fragmentation_is_kept_with_a_ping_between_the_fragments(stage: Stage) -> None:
    client, upstream = stage.begin()
    parts = [
        masked(TEXT, b"one", fin=False),
        masked(CONTINUATION, b"", fin=False),
        masked(PING, b"between"),
        masked(CONTINUATION, b"two" * 10000, fin=False),
        masked(CONTINUATION, b"end"),
    ]
    client.send(b"".join(parts))
    got = [upstream.read_frame() for _ in parts]
    assert [each.raw for each in got if each.opcode != PING] == [parts[i] for i in (0, 1, 3, 4)]
    assert got[2].opcode == PING
    assert got[2].payload == b"between"
    end_normally(client, upstream)


def test_frames_in_the_segment_of_the_request_arrive_first(stage: Stage) -> None:
    early = masked(TEXT, b"early one") + masked(PING, b"p") + masked(BINARY, b"early two")
    client = stage.connect()
    client.send(handshake() + early[:20])
    upstream = stage.accept()
    upstream.read_head()
    client.send(early[20:])
    upstream.send(switching())
    client.read_head()
    client.send(masked(TEXT, b"late"))
    payloads = [upstream.read_frame().payload for _ in range(4)]
    assert payloads == [b"early one", b"p", b"early two", b"late"]
    end_normally(client, upstream)


@pytest.mark.parametrize("size", [60_000, 1_000_000])
def test_much_that_came_with_the_request_arrives_whole(stage: Stage, size: int) -> None:
    data = random.Random(size).randbytes(size)
    client = stage.connect()
    client.send(handshake())
    sender = threading.Thread(target=client.send, args=(masked(BINARY, data),))
    sender.start()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert read_data(upstream).payload == data
    sender.join()
    client.read_head()
    end_normally(client, upstream)


def test_a_message_of_many_mebibytes_streams_through_both_ways(stage: Stage) -> None:
    client, upstream = stage.begin(b"/big")
    size = 48 * 1024 * 1024
    data = random.Random(1).randbytes(size)
    digest = hashlib.sha256(data).digest()
    for sender, receiver, mask in ((client, upstream, MASK), (upstream, client, b"")):
        head = frame_head(0x80 | BINARY, size, mask)
        payload = xor(data, mask) if mask else data
        thread = threading.Thread(target=sender.send, args=(head + payload,))
        thread.start()
        received = receiver.read(len(head) + size)
        thread.join()
        assert received[: len(head)] == head
        body = received[len(head) :]
        assert hashlib.sha256(xor(body, mask) if mask else body).digest() == digest
    end_normally(client, upstream)


def test_compressed_frames_pass_as_they_are_when_that_was_agreed(stage: Stage) -> None:
    client, upstream = stage.begin(b"/", DEFLATE, answer=(DEFLATE,))
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(b"hello" * 100) + compressor.flush(zlib.Z_SYNC_FLUSH)
    data = data.removesuffix(b"\x00\x00\xff\xff")
    for sent in (
        masked(TEXT | RSV1, data),
        masked(TEXT, b"plain"),
        masked(TEXT | RSV1, data[:5], fin=False) + masked(0, data[5:]),
    ):
        client.send(sent)
        assert upstream.read(len(sent)) == sent
    sent = frame(BINARY | RSV1, data, fin=False) + frame(0, b"", fin=True)
    upstream.send(sent)
    assert client.read(len(sent)) == sent
    end_normally(client, upstream)


# what may not be

LONG = b"\x00" * 4


def raw(*numbers: int) -> bytes:
    return bytes(numbers) + MASK


CLIENT_WRONGS = {
    "rsv1": (masked(TEXT | RSV1, b"x"), 1002),
    "rsv2": (masked(TEXT | RSV2, b"x"), 1002),
    "rsv3": (masked(TEXT | RSV3, b"x"), 1002),
    "rsv1-on-ping": (masked(PING | RSV1, b"x"), 1002),
    "unmasked": (frame(TEXT, b"x"), 1002),
    "unmasked-empty": (frame(TEXT), 1002),
    "unmasked-ping": (frame(PING, b"x"), 1002),
    "unmasked-close": (frame(CLOSE, close_payload(1000)), 1002),
    "ping-of-126": (masked(PING, b"x" * 126), 1002),
    "close-of-126": (masked(CLOSE, close_payload(1000, b"x" * 124)), 1002),
    "ping-of-huge-length": (raw(0x89, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0), 1002),
    "fragmented-ping": (masked(PING, b"x", fin=False), 1002),
    "fragmented-close": (masked(CLOSE, close_payload(1000), fin=False), 1002),
    "stray-continuation": (masked(CONTINUATION, b"x"), 1002),
    "stray-continuation-behind": (masked(TEXT, b"x") + masked(CONTINUATION, b"y"), 1002),
    "data-inside-message": (masked(TEXT, b"x", fin=False) + masked(TEXT, b"y"), 1002),
    "16-bit-length-of-5": (raw(0x81, 0xFE, 0, 5) + b"hello", 1002),
    "64-bit-length-of-5": (raw(0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5) + b"hello", 1002),
    "64-bit-length-of-65535": (raw(0x81, 0xFF, 0, 0, 0, 0, 0, 0, 255, 255), 1002),
    "top-bit": (raw(0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1), 1002),
    "close-of-one-byte": (masked(CLOSE, b"\x03"), 1002),
    "close-not-utf8": (masked(CLOSE, close_payload(1000, b"\xff\xfe")), 1007),
    "close-cut-utf8": (masked(CLOSE, close_payload(1000, b"abc\xc3")), 1007),
} | {
    f"opcode-{opcode:x}": (masked(opcode, b"x"), 1002)
    for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
}
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
CLIENT_WRONGS |= {
    f"close-code-{code}": (masked(CLOSE, close_payload(code)), 1002) for code in BAD_CODES
}


def check_violation(violator: Wire, other: Wire, code: int, other_code: int) -> None:
    """Check the codes of both sides, and that the other one is closed cleanly."""
    assert (found := read_data(violator)).close_code == code, found
    found = read_data(other)
    while found.opcode != CLOSE:
        found = read_data(other)
    assert found.close_code == other_code
    assert bool(found.mask) is (other_code == 1001)
    other.send((masked if other_code == 1011 else frame)(CLOSE, found.payload))
    assert violator.read_to_end() == b""
    violator.close()
    other.shut()
    other.wait_until_gone()


@pytest.mark.parametrize(("wrong", "code"), CLIENT_WRONGS.values(), ids=CLIENT_WRONGS)
def test_a_wrong_of_the_client_ends_both_legs_with_their_codes(
    stage: Stage, wrong: bytes, code: int
) -> None:
    client, upstream = stage.begin()
    client.send(wrong + masked(TEXT, b"never to be seen"))
    check_violation(client, upstream, code, 1001)


def unmask(data: bytes) -> bytes:
    """Return the upstream's form of a frame made by `raw`."""
    return data.replace(MASK, b"").replace(b"\xfe", b"\x7e", 1).replace(b"\xff", b"\x7f", 1)


UPSTREAM_WRONGS = {
    "rsv1": (frame(TEXT | RSV1, b"x"), 1002),
    "rsv2": (frame(TEXT | RSV2, b"x"), 1002),
    "rsv3": (frame(TEXT | RSV3, b"x"), 1002),
    "masked": (masked(TEXT, b"x"), 1002),
    "masked-ping": (masked(PING, b"x"), 1002),
    "masked-close": (masked(CLOSE, close_payload(1000)), 1002),
    "ping-of-126": (frame(PING, b"x" * 126), 1002),
    "fragmented-pong": (frame(PONG, b"x", fin=False), 1002),
    "stray-continuation": (frame(CONTINUATION, b"x"), 1002),
    "data-inside-message": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
    "16-bit-length-of-5": (unmask(raw(0x81, 0xFE, 0, 5)) + b"hello", 1002),
    "top-bit": (bytes([0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 1]), 1002),
    "close-of-one-byte": (frame(CLOSE, b"\x03"), 1002),
    "close-not-utf8": (frame(CLOSE, close_payload(1000, b"\xff\xfe")), 1007),
    "opcode-3": (frame(3, b"x"), 1002),
    "opcode-b": (frame(0xB, b"x"), 1002),
    "close-code-1006": (frame(CLOSE, close_payload(1006)), 1002),
    "close-code-999": (frame(CLOSE, close_payload(999)), 1002),
}


@pytest.mark.parametrize(("wrong", "code"), UPSTREAM_WRONGS.values(), ids=UPSTREAM_WRONGS)
def test_a_wrong_of_the_upstream_ends_both_legs_with_their_codes(
    stage: Stage, wrong: bytes, code: int
) -> None:
    client, upstream = stage.begin()
    upstream.send(wrong + frame(TEXT, b"never to be seen"))
    check_violation(upstream, client, code, 1011)


def test_a_wrong_in_single_bytes_is_the_same_wrong(stage: Stage) -> None:
    client, upstream = stage.begin()
    wrong = CLIENT_WRONGS["64-bit-length-of-65535"][0]
    client.send_slowly(wrong)
    check_violation(client, upstream, 1002, 1001)


@pytest.mark.parametrize(
    "wrong",
    [
        masked(PING | RSV1, b"x"),
        masked(TEXT | RSV2, b"x"),
        masked(TEXT | RSV1, b"x", fin=False) + masked(CONTINUATION | RSV1, b"y"),
    ],
)
def test_deflate_allows_only_rsv1_on_the_first_data_frame(stage: Stage, wrong: bytes) -> None:
    client, upstream = stage.begin(b"/", DEFLATE, answer=(DEFLATE,))
    client.send(wrong)
    check_violation(client, upstream, 1002, 1001)


def test_what_stood_before_a_wrong_still_arrives(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(TEXT, b"good") + masked(3, b"bad"))
    assert upstream.read_frame().payload == b"good"
    check_violation(client, upstream, 1002, 1001)


@pytest.mark.parametrize(
    "data",
    [
        masked(BINARY, b"x" * 1001),
        masked(BINARY, b"x" * 1000, fin=False) * 1
        + masked(0, b"x" * 1000, fin=False)
        + masked(0, b"x"),
        frame_head(0x80 | BINARY, 1 << 40, MASK),
    ],
    ids=["frame", "message", "announced"],
)
def test_too_much_from_the_client_is_1009_for_it(stage: Stage, data: bytes) -> None:
    client, upstream = stage.begin(b"/small")
    client.send(data)
    check_violation(client, upstream, 1009, 1001)


def test_too_much_from_the_upstream_is_1009_for_it(stage: Stage) -> None:
    client, upstream = stage.begin(b"/small")
    upstream.send(frame(BINARY, b"x" * 1000, fin=False) * 1)
    upstream.send(frame(0, b"x" * 1000, fin=False) * 2 + frame(0, b"x"))
    check_violation(upstream, client, 1009, 1011)


def test_sizes_at_the_limit_pass(stage: Stage) -> None:
    client, upstream = stage.begin(b"/small")
    up = masked(BINARY, b"x" * 1000, fin=False) + masked(0, b"x" * 1000)
    client.send(up * 3)
    assert upstream.read(len(up) * 3) == up * 3
    down = frame(BINARY, b"x" * 1000, fin=False) + frame(0, b"x" * 1000, fin=False)
    down += frame(0, b"x" * 1000)
    upstream.send(down * 3)
    assert client.read(len(down) * 3) == down * 3
    end_normally(client, upstream)


def test_by_default_a_message_of_16_mebibytes_passes_and_one_byte_more_does_not(
    stage: Stage,
) -> None:
    client, upstream = stage.begin()
    limit = 16 * 1024 * 1024
    client.send(frame_head(0x80 | BINARY, limit + 1, MASK))
    check_violation(client, upstream, 1009, 1001)
    client, upstream = stage.begin()
    client.send(frame_head(0x80 | BINARY, limit, MASK))
    assert upstream.read(14) == frame_head(0x80 | BINARY, limit, MASK)
    client.reset()
    upstream.wait_until_gone()


# pings

PINGS = [b"", b"p", b"x" * 125, b"\x00\xff"]


@pytest.mark.parametrize("payload", PINGS)
def test_pings_and_their_pongs_are_relayed_with_their_payload(stage: Stage, payload: bytes) -> None:
    client, upstream = stage.begin()
    client.send(masked(PING, payload))
    found = upstream.read_frame()
    assert (found.opcode, found.payload, bool(found.mask)) == (PING, payload, True)
    upstream.send(frame(PONG, payload))
    found = client.read_frame()
    assert (found.opcode, found.payload, bool(found.mask)) == (PONG, payload, False)
    upstream.send(frame(PING, payload))
    assert client.read_frame().payload == payload
    client.send(masked(PONG, payload))
    assert upstream.read_frame().payload == payload
    end_normally(client, upstream)


def test_a_pong_that_nobody_asked_for_is_relayed(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(PONG, b"alive"))
    found = upstream.read_frame()
    assert (found.opcode, found.payload) == (PONG, b"alive")
    end_normally(client, upstream)


@pytest.mark.parametrize("payload", PINGS)
def test_pings_are_answered_here_where_the_route_says_so(stage: Stage, payload: bytes) -> None:
    client, upstream = stage.begin(b"/answer")
    client.send(masked(PING, payload))
    found = client.read_frame()
    assert (found.opcode, found.payload, bool(found.mask)) == (PONG, payload, False)
    upstream.send(frame(PING, payload))
    found = upstream.read_frame()
    assert (found.opcode, found.payload, bool(found.mask)) == (PONG, payload, True)
    end_normally(client, upstream)


def test_a_ping_from_the_far_side_waits_for_the_end_of_a_streamed_frame(stage: Stage) -> None:
    client, upstream = stage.begin(b"/answer")
    data = b"z" * 100_000
    upstream.send(frame_head(0x80 | BINARY, len(data)) + data[:50_000])
    got = client.read(10 + 50_000)
    client.send(masked(PING, b"now") + masked(TEXT, b"behind"))
    assert upstream.read_frame().payload == b"behind"  # so the ping was handled before
    upstream.send(data[50_000:] + frame(TEXT, b"next"))
    got += client.read(50_000)
    assert got[10:] == data
    assert [client.read_frame().opcode for _ in range(2)] == [PONG, TEXT]
    end_normally(client, upstream)


def test_masks_of_the_relays_own_frames_differ(stage: Stage) -> None:
    client, upstream = stage.begin()
    client.send(masked(PING, b"x") * 8)
    masks = {upstream.read_frame().mask for _ in range(8)}
    assert len(masks) > 6
    end_normally(client, upstream)


def test_after_all_that_the_relay_serves_others(stage: Stage) -> None:
    stage.works()
