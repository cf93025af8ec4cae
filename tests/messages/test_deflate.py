"""Compression of one leg, against zlib by hand."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.messages.deflate import LegDeflate
from wsrelay.messages.fault import Broken
from wsrelay.wire.deflate import Deflate

TAIL = b"\x00\x00\xff\xff"
HELLO_AND_LAST = bytes.fromhex("f348cdc9c9070000")
"""RFC 7692 section 7.2.3.4: a block with BFINAL, and a byte of padding."""
PAYLOADS = st.lists(
    st.one_of(st.binary(max_size=200), st.builds(bytes, st.integers(0, 70_000))), max_size=6
)
AGREED = [
    Deflate(*flags, server, client)
    for flags in itertools.product((False, True), repeat=2)
    for server, client in ((8, 15), (9, 12), (12, 9), (15, 8), (15, 15))
]


def compressed(payload: bytes, bits: int = 15) -> bytes:
    """Compress one message for itself."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def inflate(deflate: LegDeflate, *pieces: bytes) -> bytes:
    """Do what Autobahn does with a message."""
    deflate.start_decompress_message()
    inflated = b"".join([deflate.decompress_message_data(piece) for piece in pieces])
    deflate.end_decompress_message()
    return inflated


def compress(deflate: LegDeflate, payload: bytes) -> bytes:
    deflate.start_compress_message()
    return bytes(deflate.compress_message_data(payload)) + deflate.end_compress_message()


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("agreed", AGREED, ids=str)
@settings(max_examples=20, deadline=None)
@given(payloads=PAYLOADS)
def test_zlib_reads_what_it_writes_and_it_reads_what_zlib_writes(
    is_server: bool, agreed: Deflate, payloads: list[bytes]
) -> None:
    deflate = LegDeflate(is_server, agreed, 70_000)
    ours, theirs = agreed.server_bits, agreed.client_bits
    reset, peer_resets = agreed.server_no_context_takeover, agreed.client_no_context_takeover
    if not is_server:
        ours, theirs, reset, peer_resets = theirs, ours, peer_resets, reset
    assert deflate.can_compress is (ours > 8)
    reader = zlib.decompressobj(-ours)
    writer = zlib.compressobj(9, zlib.DEFLATED, -max(theirs, 9))
    for payload in payloads:
        if reset:
            reader = zlib.decompressobj(-ours)
        if peer_resets:
            writer = zlib.compressobj(9, zlib.DEFLATED, -max(theirs, 9))
        data = writer.compress(payload) + writer.flush(zlib.Z_SYNC_FLUSH)
        data = data.removesuffix(TAIL)
        assert inflate(deflate, data[:3], b"", data[3:]) == payload
        if deflate.can_compress:
            assert reader.decompress(compress(deflate, payload) + TAIL) == payload


def test_a_window_that_was_agreed_on_is_not_exceeded() -> None:
    """What repeats itself at a distance of 1 KiB is no shorter with a window of 512 bytes."""
    block = bytes(zlib.crc32(b"%d" % number) & 0xFF for number in range(1024))
    small, large = (
        compress(LegDeflate(True, Deflate(server_bits=bits), None), block * 2) for bits in (9, 12)
    )
    assert len(large) < 1200 < 2000 < len(small)


@given(limit=st.integers(0, 3000), over=st.integers(-3000, 3000), cut=st.integers(0, 40))
def test_a_message_of_the_limit_passes_and_one_byte_more_does_not(
    limit: int, over: int, cut: int
) -> None:
    size = max(limit + over, 0)
    data = compressed(bytes(size))
    deflate = LegDeflate(True, Deflate(), limit)
    if size <= limit:
        assert inflate(deflate, data[:cut], data[cut:]) == bytes(size)
        assert inflate(deflate, data) == bytes(size), "each message has a limit of its own"
        return
    with pytest.raises(Broken) as caught:
        inflate(deflate, data[:cut], data[cut:])
    assert caught.value.violation.code == 1009
    assert caught.value.violation.reason == f"message over the limit of {limit} bytes"


@pytest.mark.parametrize("over", range(0, 600, 20))
def test_what_zlib_keeps_back_at_the_limit_is_not_lost(over: int) -> None:
    """Autobahn 26.10 would return 100,000 bytes of 100,100, and say nothing."""
    data = compressed(bytes(100_000 + over))
    if over == 0:
        assert inflate(LegDeflate(True, Deflate(), 100_000), data) == bytes(100_000)
        return
    with pytest.raises(Broken):
        inflate(LegDeflate(True, Deflate(), 100_000), data)


def test_without_a_limit_all_is_inflated() -> None:
    assert inflate(LegDeflate(True, Deflate(), None), compressed(bytes(10**6))) == bytes(10**6)


@pytest.mark.parametrize("limit", [None, 5, 100])
def test_a_last_block_is_not_the_end_of_the_conversation(limit: int | None) -> None:
    deflate = LegDeflate(True, Deflate(), limit)
    for cut in range(9):
        pieces = HELLO_AND_LAST[:cut], HELLO_AND_LAST[cut:]
        assert inflate(deflate, *pieces) == b"Hello"
    assert inflate(deflate, compressed(b"again")) == b"again"


def test_a_last_block_without_its_padding_harms_nothing_behind_it() -> None:
    deflate = LegDeflate(True, Deflate(), 100)
    for _ in range(3):
        assert inflate(deflate, HELLO_AND_LAST[:-1]) == b"Hello"
        assert inflate(deflate, compressed(b"again")) == b"again"


def test_several_last_blocks_make_one_message() -> None:
    data = HELLO_AND_LAST[:-1] * 3
    assert inflate(LegDeflate(True, Deflate(), 15), data) == b"HelloHelloHello"
    with pytest.raises(Broken):
        inflate(LegDeflate(True, Deflate(), 14), data)


def test_a_flood_of_last_blocks_is_refused() -> None:
    with pytest.raises(Broken) as caught:
        inflate(LegDeflate(True, Deflate(), None), b"\x03\x00" * 32_000)
    assert caught.value.violation.code == 1007


def test_a_compressed_message_of_no_bytes_is_empty_and_harms_nothing() -> None:
    deflate = LegDeflate(True, Deflate(), 100)
    for _ in range(3):
        assert inflate(deflate) == b""
        assert inflate(deflate, b"", b"") == b""
        assert inflate(deflate, compressed(b"x")) == b"x"


@given(data=st.binary(min_size=1, max_size=300), limit=st.sampled_from([None, 0, 100]))
def test_damaged_data_is_1007_and_never_another_exception(data: bytes, limit: int | None) -> None:
    deflate = LegDeflate(False, Deflate(), limit)
    codes = set()
    for _ in range(2):
        try:
            inflate(deflate, data)
        except Broken as error:
            codes.add(error.violation.code)
            break
    assert codes <= {1007, 1009}


def test_a_message_that_ends_inside_a_block_is_damaged() -> None:
    stored = b"\x00\x08\x00\xf7\xff1234"  # a stored block of eight bytes, four of which are there
    with pytest.raises(Broken) as caught:
        inflate(LegDeflate(True, Deflate(), None), stored)
    assert caught.value.violation.code == 1007


def test_without_takeover_nothing_is_kept_between_messages() -> None:
    agreed = Deflate(server_no_context_takeover=True, client_no_context_takeover=True)
    for is_server in (True, False):
        deflate = LegDeflate(is_server, agreed, None)
        inflate(deflate, compressed(b"x"))
        compress(deflate, b"y")
        assert deflate._compressor is None
        assert deflate._decompressor is None


BOMB = """
import resource, sys, zlib
from tests.messages.test_deflate import inflate
from wsrelay.messages.deflate import LegDeflate
from wsrelay.messages.fault import Broken
from wsrelay.wire.deflate import Deflate

compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
zeros = bytes(1 << 20)
bomb = b"".join(compressor.compress(zeros) for _ in range(1024)) + compressor.flush()
del zeros
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    inflate(LegDeflate(True, Deflate(), 16 << 20), bomb)
except Broken as error:
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(len(bomb), error.violation.code, after - before)
"""


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    """1 GiB of zeros in 1 MiB: zlib's pieces and their sum take the limit of 16 MiB twice."""
    ran = subprocess.run(
        [sys.executable, "-c", BOMB], capture_output=True, text=True, timeout=120, check=True
    )
    size, code, kib = map(int, ran.stdout.split())
    assert size < 2 << 20
    assert code == 1009
    assert kib < 40 * 1024
