"""A body ends where its framing says, however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.body import (
    LAST_CHUNK,
    MAX_SIZE_LINE,
    MAX_TRAILERS,
    BadBody,
    BodyReader,
    ChunkedBody,
    LengthBody,
    NoBody,
    UntilCloseBody,
    encode_chunk,
    request_body,
    response_body,
)
from wsrelay.wire.headers import Headers
from wsrelay.wire.request import Request, parse_request
from wsrelay.wire.response import BadResponse, Response


def reader_of(*fields: tuple[bytes, bytes], status: int = 403, version: str = "1.1") -> BodyReader:
    return response_body(Response(status, b"", Headers(fields), version))


def length(value: bytes) -> tuple[bytes, bytes]:
    return (b"Content-Length", value)


def encoding(value: bytes) -> tuple[bytes, bytes]:
    return (b"Transfer-Encoding", value)


def split(data: bytes, places: list[int]) -> list[bytes]:
    cuts = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(cuts)]


@pytest.mark.parametrize("status", [100, 101, 199, 204, 304])
@pytest.mark.parametrize("field", [length(b"5"), encoding(b"chunked"), length(b"x"), (b"A", b"")])
def test_some_statuses_have_no_body(status: int, field: tuple[bytes, bytes]) -> None:
    reader = reader_of(field, status=status)
    assert isinstance(reader, NoBody)
    assert reader.done
    assert reader.eof()
    assert not reader.rest
    assert reader.feed(b"") == b""
    assert not reader.rest
    assert reader.feed(b"x") == b""
    assert reader.rest


def test_a_body_by_length_ends_after_so_many_bytes() -> None:
    reader = reader_of(length(b"5"))
    assert isinstance(reader, LengthBody)
    assert reader.length == 5
    assert reader.feed(b"abc") == b"abc"
    assert not reader.done
    assert not reader.eof()
    assert reader.feed(b"de") == b"de"
    assert reader.done
    assert reader.eof()
    assert not reader.rest


def test_bytes_behind_the_length_are_dropped_and_flagged() -> None:
    reader = reader_of(length(b"2"))
    assert reader.feed(b"abc") == b"ab"
    assert reader.done
    assert reader.rest
    assert reader.feed(b"") == b""
    assert reader.rest


def test_the_same_length_may_stand_twice() -> None:
    assert reader_of(length(b"2"), length(b"2")).feed(b"abc") == b"ab"


@pytest.mark.parametrize("status", [200, 205, 303, 305, 426, 500, 999])
def test_any_other_status_has_a_body(status: int) -> None:
    assert reader_of(length(b"2"), status=status).feed(b"ab") == b"ab"


def test_a_body_of_length_nought_is_done_at_once() -> None:
    reader = reader_of(length(b"0"))
    assert isinstance(reader, LengthBody)
    assert reader.done


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_body_without_framing_ends_with_the_connection(version: str) -> None:
    reader = reader_of(version=version)
    assert isinstance(reader, UntilCloseBody)
    assert reader.feed(b"abc") == b"abc"
    assert not reader.done
    assert reader.eof()
    assert reader.done
    assert not reader.rest


@pytest.mark.parametrize(
    "fields",
    [
        [length(b"5"), length(b"6")],
        [length(b"+5")],
        [length(b"5, 5")],
        [length(b"")],
        [length(b"5"), encoding(b"chunked")],
        [length(b"0"), encoding(b"chunked")],
        [encoding(b"gzip")],
        [encoding(b"gzip, chunked")],
        [encoding(b"chunked, chunked")],
        [encoding(b"chunked"), encoding(b"chunked")],
        [encoding(b"")],
        [encoding(b"identity")],
    ],
)
def test_a_body_whose_end_is_in_doubt_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadResponse):
        reader_of(*fields)


def request_of(*fields: bytes) -> Request:
    return parse_request(b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", *fields, b"", b""]))


def test_a_request_without_framing_has_no_body() -> None:
    assert isinstance(request_body(request_of()), NoBody)
    assert isinstance(request_body(request_of(b"Content-Length: 0")), NoBody)


def test_a_request_has_the_body_that_its_framing_says() -> None:
    reader = request_body(request_of(b"Content-Length: 12"))
    assert isinstance(reader, LengthBody)
    assert reader.length == 12
    assert isinstance(request_body(request_of(b"Transfer-Encoding: Chunked")), ChunkedBody)


def test_what_comes_behind_a_body_is_the_next_request() -> None:
    reader = request_body(request_of(b"Content-Length: 2"))
    assert reader.feed(b"a") == b"a"
    assert reader.feed(b"bGET / ") == b"b"
    assert reader.rest == b"GET / "
    reader = request_body(request_of(b"Transfer-Encoding: chunked"))
    assert reader.feed(b"1\r\nb\r\n0\r\n\r\nGET / ") == b"b"
    assert reader.rest == b"GET / "


def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    response = Response(200, b"", Headers((length(b"5"),)), "1.1")
    assert isinstance(response_body(response, to_head=True), NoBody)


def test_http_1_0_knows_no_transfer_encoding() -> None:
    with pytest.raises(BadResponse, match=r"in HTTP/1\.0"):
        reader_of(encoding(b"chunked"), version="1.0")


def test_a_chunked_body_is_decoded() -> None:
    reader = reader_of(encoding(b"Chunked"))
    assert isinstance(reader, ChunkedBody)
    assert reader.feed(b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n") == b"abc0123456789"
    assert not reader.done
    assert not reader.eof()
    assert reader.feed(b"0\r\nX-Trailer: 1\r\n\r\n") == b""
    assert reader.done
    assert reader.eof()
    assert not reader.rest


def test_bytes_behind_the_last_chunk_are_dropped_and_flagged() -> None:
    reader = ChunkedBody()
    assert reader.feed(b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n") == b"a"
    assert reader.done
    assert reader.rest


def test_a_part_of_a_chunk_passes_at_once() -> None:
    reader = ChunkedBody()
    assert reader.feed(b"fffffffffffffff\r\nab") == b"ab"
    data = b"c" * 70_000
    assert reader.feed(data) is data


@pytest.mark.parametrize(
    "line",
    [
        b"1;a",
        b"1 ; a=b",
        b'1;a="x;\\"y";b',
        b"1;a = b",
        b"000000000000001",
        b"1;" + b"a" * (MAX_SIZE_LINE - 4),
    ],
)
def test_chunk_extensions_are_skipped(line: bytes) -> None:
    assert ChunkedBody().feed(line + b"\r\nx") == b"x"


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"0x10\r\n",
        b"+5\r\n",
        b"-5\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"5\n",
        b"5;\n",
        b"5;\r\n",
        b"5;a\n",
        b"5;a\rb\r\n",
        b"5;a=\r\n",
        b'5;a="b\r\n',
        b"5;a b\r\n",
        b"5;a\x00\r\n",
        b"5\r\r\n",
        b"5_0\r\n",
        b"5g\r\n",
        b"00000000000000001\r\n",
        b"1;" + b"a" * (MAX_SIZE_LINE - 3) + b"\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\r\r\n",
        b"1\r\naX\n",
        b"0\r\n\n",
        b"0\r\nA : 1\r\n",
        b"0\r\n A: 1\r\n",
        b"0\r\nA: 1\n",
        b"0\r\nA\r\n",
        b"0\r\nA: \x00\r\n",
        b"5" * MAX_TRAILERS,
        b"0\r\nA: " + b"x" * MAX_TRAILERS,
        b"0\r\n" + b"A: 1\r\n" * (MAX_TRAILERS // 6 + 1),
    ],
)
def test_broken_chunks_are_refused_at_once_and_bytewise(raw: bytes) -> None:
    with pytest.raises(BadBody):
        ChunkedBody().feed(raw)
    with pytest.raises(BadBody):
        list(map(ChunkedBody().feed, (bytes([byte]) for byte in raw)))


def test_trailers_up_to_the_limit_are_dropped() -> None:
    reader = ChunkedBody()
    trailer = b"A: " + b"x" * (MAX_TRAILERS // 2 - 5) + b"\r\n"
    assert reader.feed(b"0\r\n" + trailer * 2 + b"\r\n") == b""
    assert reader.done
    assert not reader.rest


def test_an_empty_chunk_is_not_written_as_it_would_end_the_body() -> None:
    assert encode_chunk(b"") == b""
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=40), max_size=6),
    st.binary(max_size=3),
    st.lists(st.integers(0), max_size=8),
)
def test_any_split_of_a_chunked_body_gives_the_same_body(
    chunks: list[bytes], behind: bytes, places: list[int]
) -> None:
    raw = b"".join(map(encode_chunk, chunks)) + LAST_CHUNK + behind
    reader = ChunkedBody()
    assert b"".join(map(reader.feed, split(raw, places))) == b"".join(chunks)
    assert reader.done
    assert reader.rest == behind[: len(reader.rest)]
    assert bool(reader.rest) == bool(behind)


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 50), st.lists(st.integers(0), max_size=5))
def test_any_split_of_a_body_by_length_gives_the_same_body(
    raw: bytes, size: int, places: list[int]
) -> None:
    reader = LengthBody(size)
    assert b"".join(map(reader.feed, split(raw, places))) == raw[:size]
    assert reader.done == reader.eof() == (len(raw) >= size)
    assert bool(reader.rest) == (len(raw) > size)


def drained(reader: BodyReader, parts: list[bytes]) -> tuple[bytes, bool] | None:
    """Return the body and whether it is whole; None for broken framing."""
    try:
        return b"".join(map(reader.feed, parts)), reader.eof()
    except BadBody:
        return None


chunk_pieces = st.sampled_from(
    [b"0", b"1", b"a", b"A", b"\r\n", b"\r", b"\n", b";", b"x=y", b'"', b" ", b"\x00", b": "]
)


@settings(deadline=None)
@given(
    st.one_of(st.binary(max_size=40), st.lists(chunk_pieces, max_size=30).map(b"".join)),
    st.lists(st.integers(0), max_size=8),
)
def test_any_bytes_are_a_chunked_body_or_a_bad_response_however_they_are_split(
    raw: bytes, places: list[int]
) -> None:
    assert drained(ChunkedBody(), split(raw, places)) == drained(ChunkedBody(), [raw])
