"""Chunked bodies that smuggle: see `tests.wire.smuggling` for the collections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.wire.smuggling import HOST, POST, SMUGGLED, Case, Fate, chunked, head_cases, unique

HEAD = POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
CUT = b"\r\n0\r\n\r\n"

ENDS = (b"\n", b"\r", b"\rX", b"\r\r", b"\n\r", b"\x0b", b"\x0c", b"\x00", b"\x85", b"\xe2\x80\xa8")
"""What ends a line for some: in a chunk's extension, and behind a chunk."""


def funky() -> Iterator[tuple[str, bytes]]:
    """Yield a body for each two readers of a chunk's first line and of what follows its data."""
    for end in ENDS:
        yield f"TERM.EXT {end!r}", b"2;" + end + b"XX\r\n10\r\n1f\r\nAAAABBBBCCCC" + CUT
        yield f"EXT.TERM {end!r}", b"2;" + end + b"XX\r\n22\r\nc\r\nAAAABBBBCCCC" + CUT
        yield f"name TERM.EXT {end!r}", b"2;a" + end + b"XX\r\n10\r\n1f\r\nAAAABBBBCCCC" + CUT
        yield f"value TERM.EXT {end!r}", b"2;a=b" + end + b"XX\r\n10\r\nAAAABBBBCCCC" + CUT
        yield f"quoted TERM.EXT {end!r}", b'2;a="' + end + b'XX"\r\n10\r\nAAAABBBBCCCC' + CUT
        yield (
            f"before the semicolon {end!r}",
            b"2" + end + b";a\r\n02\r\n41\r\n0\r\n\r\n" + SMUGGLED,
        )
        yield f"size {end!r}", b"2" + end + b"XX\r\n0\r\n\r\n"
        yield f"last size {end!r}", b"0" + end + b"\r\n\r\n"
        yield f"last line {end!r}", b"0\r\n" + end + SMUGGLED
    for end in (*ENDS, b"", b"XX", b"X", b" \r\n"):
        yield f"TERM.SPILL {end!r}", b"5\r\nAAAAA" + end + b"c\r\n17\r\nAAAABBBB" + CUT
        yield f"SPILL.TERM {end!r}", b"5\r\nAAAAA" + end + b"1a\r\n8\r\nAAAABBBB" + CUT
        yield f"ONE.TWO {end!r}", b"2\r\nXX" + end + b"12\r\nXX\r\n19\r\nXXAAAABBBB" + CUT
        yield f"TWO.ONE {end!r}", b"2\r\nXX" + end + b"10\r\n\r\nAAAABBBBCCCCDD" + CUT
        yield f"ZERO.TWO {end!r}", b"2\r\nXX" + end + b"012\r\nXX\r\n19\r\nXXAAAABBBB" + CUT
        yield f"TWO.ZERO {end!r}", b"2\r\nxx" + end + b"010\r\n\r\nAAAABBBBCCCCDD" + CUT


SIZES = (
    *(b"0x5", b"0X5", b"+5", b"-5", b"0_5", b"5_0", b"5_", b"_5", b" 5", b"\t5", b"5 ", b"5\t"),
    *(b"5.0", b"5,", b"5:", b"5h", b"h", b"g", b"", b";", b";a", b"5;", b"5; ;"),
    *(b"5;=", b"5;a=", b'5;a="', b'5;a="b', b'5;a="b"c', b"5;a=b c", b"5;bad[=x", b"5;a;;b"),
    *(b"5;\x00ext", b"5;a=\x7f", b"5;a\xff=b", b"5\x00", b"\x005", b"\xa05", b"5\xa0", b"\xb5"),
    *(b"5these-bytes", b"5Z", b"-0x0", b"-1", b"+0", b"0x0", b"0x", b"Z", b"'5'", b'"5"', b"5\\"),
    *(b"\xef\xbc\x95", b"\xd9\xa5", b"5" + b"\x20" * 20, b"10000000000000005", b"f" * 16),
    *(b"f" * 17, b"0" * 17 + b"5", b"100000000000000000000000000000005", b"8000000000000000"),
    *(b"5;" + b"a" * 5000, b"5;a=" + b"b" * 5000, b"0" * 5000 + b"5", b"5" + b";a" * 3000),
)
"""First lines of a chunk of five bytes, none of which is one."""


def bad_bodies() -> Iterator[tuple[str, bytes]]:
    yield from funky()
    for size in SIZES:
        yield f"size {size[:30]!r}", size + b"\r\nhello\r\n0\r\n\r\n"
        yield f"second size {size[:30]!r}", b"1\r\nZ\r\n" + size + b"\r\nhello\r\n0\r\n\r\n"
    yield "no CR LF behind the data", b"5\r\nhello0\r\n\r\n"
    yield "more data than the size", b"5\r\nhello!!\r\n0\r\n\r\n"
    yield "less data than the size", b"5\r\nhell\r\n0\r\n\r\n" + SMUGGLED
    yield "an empty line between chunks", b"1\r\nZ\r\n\r\n0\r\n\r\n" + SMUGGLED
    yield "an empty line before the chunks", b"\r\n1\r\nZ\r\n0\r\n\r\n"
    yield "an invalid chunk, then a request", b"INVALID!!!\r\n" + SMUGGLED
    yield "a request for a chunk", SMUGGLED
    yield "LF everywhere", b"5\nhello\n0\n\n"
    yield "LF behind the data", b"5\r\nhello\n0\r\n\r\n"
    yield "LF for the empty line", b"0\r\n\n" + SMUGGLED
    yield "CR for the empty line", b"0\r\n\r" + SMUGGLED
    yield "two bytes for the empty line", b"0\r\nXX" + SMUGGLED
    yield "a request for trailers", b"0\r\n" + SMUGGLED
    for field in (
        b"Content-Length: 50",
        b"Transfer-Encoding: chunked",
        b"Host: evil.test",
        b"Content_Length: 50",
        b"transfer_encoding: chunked",
        b"X : y",
        b"X: y\rZ: z",
        b"X: y\nZ: z",
        b"X: y\x00",
        b" X: y",
        b"X: y\r\n folded",
        b": y",
        b"no colon",
        b"\xff: y",
        b"X: " + b"y" * 9000,
    ):
        yield f"trailer {field[:30]!r}", b"1\r\nZ\r\n0\r\n" + field + b"\r\n\r\n"


def chunk_cases() -> Iterator[Case]:
    source = "chunks"
    for name, body in bad_bodies():
        yield Case(source, name, HEAD + body, Fate.BODY)
    why = "RFC 9112 section 7.1: the relay reads it, and frames the body anew for the upstream"
    for name, body, decoded in (
        ("plain", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("upper-case and zeros", b"000A\r\n0123456789\r\n00\r\n\r\n", b"0123456789"),
        ("extensions", b'5 ;a=b ; c="d;e"\r\nhello\r\n0;z\r\n\r\n', b"hello"),
        ("a trailer", b"5\r\nhello\r\n0\r\nX:POST / HTTP/1.1\r\n\r\n", b"hello"),
        ("a trailer of credentials", b"0\r\nAuthorization: Bearer evil\r\n\r\n", b""),
        ("a request for data", chunked(SMUGGLED), SMUGGLED),
    ):
        yield Case(source, name, HEAD + body, Fate.PASSES, decoded, why)
    rest = HEAD + b"0\r\n\r\n\x00"
    yield Case(source, "a byte behind the end", rest, Fate.NEXT, b"", "the end is clear")


def corpus() -> Sequence[Case]:
    """Return all cases, each of its bytes once."""

    def both() -> Iterator[Case]:
        yield from head_cases()
        yield from chunk_cases()

    return unique(both())
