"""Chunked bodies: any pieces give the same, and laxer readers find the same end."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from tests.fuzz.texts import check_said
from wsrelay.wire.body import LAST_CHUNK, BadBody, ChunkedBody, encode_chunk


@frozen
class Outcome:
    """What a body came to; *data* only if its framing is good."""

    broken: bool
    data: bytes = b""
    consumed: int = 0
    done: bool = False


def body(data: bytes) -> None:
    """Read the bytes behind the first one; that is the length of a piece."""
    piece, data = 1 + (data[0] if data else 0), data[1:]
    whole = read(data, len(data) or 1)
    assert read(data, piece) == whole
    assert read(data[:600], 1) == read(data[:600], len(data) or 1)
    if whole.broken:
        return
    assert whole.data == b"".join(chunks_of(data[: whole.consumed], whole.done))
    again = encode_chunk(whole.data) + LAST_CHUNK
    assert read(again, piece) == Outcome(False, whole.data, len(again), True)


def read(data: bytes, piece: int) -> Outcome:
    reader, given = ChunkedBody(), []
    try:
        for start in range(0, len(data), piece):
            given.append(reader.feed(data[start : start + piece]))
            if reader.done:
                consumed = min(start + piece, len(data)) - len(reader.rest)
                return Outcome(False, b"".join(given), consumed, True)
    except BadBody as error:
        check_said(error.reason)
        return Outcome(True)
    assert not reader.eof()
    return Outcome(False, b"".join(given), len(data), False)


def chunks_of(data: bytes, done: bool) -> Iterator[bytes]:
    """Read good framing as somebody does who looks at nothing but sizes and line ends."""
    while data:
        line, newline, data = data.partition(b"\n")
        if not newline:
            return  # it was cut there
        assert line.endswith(b"\r")
        assert line.isascii()
        assert line.count(b"\r") == 1
        size = int(line.partition(b";")[0].strip(b" \t\r"), 16)
        if not size:
            check_trailers(data, done)
            return
        yield data[:size]
        line, newline, data = data[size:].partition(b"\n")
        if not newline:
            return
        assert line == b"\r"
    assert not done


def check_trailers(data: bytes, done: bool) -> None:
    """The end is the first empty line, and no line before it frames anything."""
    assert data.endswith(b"\r\n") or not done
    lines = data.split(b"\n")
    for line in lines[:-1]:
        assert line.endswith(b"\r")
        assert not line.lower().startswith((b"content-length:", b"transfer-encoding:", b"host:"))
    if done:
        assert lines[-2:] == [b"\r", b""]
        assert b"\r" not in lines[:-2]
