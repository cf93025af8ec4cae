"""Parts of files."""

from __future__ import annotations

import re
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.support import cut
from wsrelay.http.answers import Span
from wsrelay.http.ranges import MAX_PARTS, content_range, multipart, spans_of
from wsrelay.wire.headers import Headers

SIZE = 100
WHOLE = None
NOTHING: tuple[Span, ...] = ()


def spans(text: str, size: int = SIZE) -> tuple[Span, ...] | None:
    return spans_of(Headers(((b"Range", text.encode()),)), size)


CASES = [
    ("bytes=0-9", (Span(0, 10),)),
    ("bytes=0-0", (Span(0, 1),)),
    ("bytes=99-", (Span(99, 1),)),
    ("bytes=10-", (Span(10, 90),)),
    ("bytes=0-", (Span(0, 100),)),
    ("bytes=50-1000", (Span(50, 50),)),
    ("bytes=-5", (Span(95, 5),)),
    ("bytes=-100", (Span(0, 100),)),
    ("bytes=-1000", (Span(0, 100),)),
    ("Bytes = 0-9", WHOLE),
    ("BYTES=0-9", (Span(0, 10),)),
    ("bytes=0-4,10-14", (Span(0, 5), Span(10, 5))),
    ("bytes=10-14 ,\t0-4", (Span(10, 5), Span(0, 5))),
    ("bytes=,0-4,,", (Span(0, 5),)),
    ("bytes=0-4,5-9", (Span(0, 5), Span(5, 5))),
    ("bytes=0-4,200-", (Span(0, 5),)),
    ("bytes=0-4,-5", (Span(0, 5), Span(95, 5))),
    ("bytes=1-" + "9" * 200, (Span(1, 99),)),
    ("bytes=" + "0" * 200 + "1-2", (Span(1, 2),)),
    # outside
    ("bytes=100-", NOTHING),
    ("bytes=100-200", NOTHING),
    ("bytes=-0", NOTHING),
    ("bytes=200-,300-400", NOTHING),
    ("bytes=" + "9" * 5000 + "-", NOTHING),
    # the whole file, because they cannot be read
    *((text, WHOLE) for text in ("", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b")),
    *((text, WHOLE) for text in ("bytes=9-0", "bytes=0-4,9-0", "bytes=1", "bytes=1-2-3")),
    *((text, WHOLE) for text in ("bytes=0 - 4", "bytes=--5", "bytes=+1-2", "bytes=0x1-2")),
    *((text, WHOLE) for text in ("lines=0-4", "items=0", "bytes:0-4", "bytes=\xb2-")),
    # the whole file, because they are too much
    ("bytes=0-4,4-9", WHOLE),
    ("bytes=0-,0-,0-", WHOLE),
    ("bytes=-1,99-", WHOLE),
    ("bytes=" + ",".join(f"{n}-{n}" for n in range(MAX_PARTS + 1)), WHOLE),
    ("bytes=" + ",".join(["200-"] * (MAX_PARTS + 1)), WHOLE),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_range_asks_for(text: str, expected: tuple[Span, ...] | None) -> None:
    assert spans(text) == expected


def test_as_many_parts_as_allowed_are_sent() -> None:
    found = spans("bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_PARTS)))
    assert found == tuple(Span(2 * n, 1) for n in range(MAX_PARTS))


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=0-5", "bytes=-0", "bytes=-5"])
def test_an_empty_file_has_no_parts(text: str) -> None:
    assert spans(text, 0) is None


def test_without_a_range_and_with_two_it_is_the_whole_file() -> None:
    assert spans_of(Headers(), SIZE) is None
    assert spans_of(Headers(((b"Range", b"bytes=0-1"), (b"Range", b"bytes=2-3"))), SIZE) is None


numbers = st.none() | st.integers(0, 30)
specs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5)


def expected_slices(wanted: list[tuple[int | None, int | None]], size: int) -> list[range] | None:
    """Say in Python's words what RFC 9110, section 14.1.2 means; None: it cannot be read."""
    slices = []
    for first, last in wanted:
        if not size or (first is None and last is None):
            return None
        if first is None:
            slices.append(range(size)[-last:] if last else range(0))
        elif last is not None and last < first:
            return None
        else:
            slices.append(range(size)[first : None if last is None else last + 1])
    return [each for each in slices if each]


@given(specs, st.integers(0, 25))
def test_parts_are_the_slices_that_were_asked_for(
    wanted: list[tuple[int | None, int | None]], size: int
) -> None:
    text = ",".join(
        f"{'' if first is None else first}-{'' if last is None else last}" for first, last in wanted
    )
    slices = expected_slices(wanted, size)
    found = spans(f"bytes={text}", size)
    if slices is None or len({n for each in slices for n in each}) < sum(map(len, slices)):
        assert found is None
    else:
        assert found is not None
        assert [range(each.offset, each.offset + each.length) for each in found] == slices


@given(st.text("0123456789-,= bytes\t", max_size=30), st.integers(0, 50))
def test_any_range_can_be_read(text: str, size: int) -> None:
    for span in spans("bytes=" + text, size) or ():
        assert span.length > 0
        assert 0 <= span.offset <= span.offset + span.length <= size


def test_content_range_says_the_last_byte() -> None:
    assert content_range(Span(10, 5), 100) == b"bytes 10-14/100"


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), min_size=2))  # fmt: skip  # noqa: E501
def test_a_mail_reader_finds_the_parts(content: bytes, cuts: list[tuple[int, int]]) -> None:
    parts = tuple(Span(offset, length) for offset, length in cuts)
    made = multipart(parts, len(content), b"image/png", b"XbX")
    body = b"".join(cut(piece, content) for piece in made.pieces)
    sections = re.split(rb"(?:\A|\r\n)--XbX(?:\r\n|--\r\n\Z)", body)
    assert sections[0] == sections[-1] == b""
    assert [each.partition(b"\r\n\r\n")[2] for each in sections[1:-1]] == [
        cut(span, content) for span in parts
    ]


def test_each_part_says_what_it_is() -> None:
    made = multipart((Span(0, 2), Span(4, 3)), 9, b"image/png", b"XbX")
    body = b"".join(cut(piece, b"abcdefghi") for piece in made.pieces)
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + made.content_type + b"\r\n\r\n" + body
    )
    said = [
        (part["Content-Type"], part["Content-Range"], part.get_content())
        for part in message.iter_parts()  # type: ignore[attr-defined]
    ]
    assert said == [
        ("image/png", "bytes 0-1/9", b"ab"),
        ("image/png", "bytes 4-6/9", b"efg"),
    ]
