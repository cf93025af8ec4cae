"""Parts of a file (RFC 9110, section 14).  Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from attrs import frozen

from wsrelay.http.answers import Span
from wsrelay.wire.headers import Headers

__all__ = ["MAX_PARTS", "Multipart", "content_range", "multipart", "spans_of"]

MAX_PARTS: Final = 32
"""Most parts of one answer; who asks for more gets the whole file."""

_SPEC = re.compile(rb"([0-9]*+)-([0-9]*+)")
_LONGEST_NUMBER = 18
"""Digits that a number may have; no file is as long as one with more."""


def spans_of(headers: Headers, size: int) -> tuple[Span, ...] | None:
    """
    Return what Range asks for, in the client's order.

    :param size: of the file, in bytes.
    :returns: None, when the whole file is the answer: there is no Range, or one that cannot
        be read, in a unit other than bytes, with more than `MAX_PARTS` parts, or with parts
        that overlap; or the file is empty, when a player that asks for ``bytes=0-`` is better
        off without an error.  Nothing in it: no part is within the file, and 416 is the answer.
    """
    values = headers.values(b"range")
    if len(values) != 1:
        return None
    unit, equals, rest = values[0].partition(b"=")
    specs = [spec for each in rest.split(b",") if (spec := each.strip(b" \t"))]
    is_good = equals and unit.lower() == b"bytes" and 0 < len(specs) <= MAX_PARTS
    if not size or not is_good:
        return None
    spans = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        span = _span(match[1], match[2], size) if match else None
        if span is None:
            return None
        spans.append(span)
    good = tuple([span for span in spans if span.length])
    return None if _overlap(good) else good


def _span(first: bytes, last: bytes, size: int) -> Span | None:
    """Return a part, of length 0 if it is outside of the file; None: it makes no sense."""
    start, end = _number(first), _number(last)
    if start is None:
        if end is None:
            return None
        length = min(end, size)
        return Span(size - length, length)
    if end is not None and end < start:
        return None
    stop = size if end is None else min(end + 1, size)
    return Span(start, max(stop - start, 0))


def _number(digits: bytes) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip(b"0") or b"0"
    return int(significant) if len(significant) <= _LONGEST_NUMBER else int(10**_LONGEST_NUMBER)


def _overlap(spans: tuple[Span, ...]) -> bool:
    ordered = sorted(spans, key=lambda span: span.offset)
    return any(one.offset + one.length > other.offset for one, other in pairwise(ordered))


def content_range(span: Span, size: int) -> bytes:
    """Return the value of Content-Range for a part."""
    return b"bytes %d-%d/%d" % (span.offset, span.offset + span.length - 1, size)


@frozen
class Multipart:
    """Several parts in one body."""

    content_type: bytes
    pieces: tuple[bytes | Span, ...]


def multipart(
    spans: tuple[Span, ...], size: int, content_type: bytes, boundary: bytes
) -> Multipart:
    """
    Put *spans* into one body, as RFC 9110, section 14.6 has it.

    :param content_type: of the file.
    :param boundary: a token that nobody can guess, or a file might hold it.
    """
    pieces: list[bytes | Span] = []
    for number, span in enumerate(spans):
        pieces += [
            b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (b"\r\n" if number else b"", boundary, content_type, content_range(span, size)),
            span,
        ]
    pieces.append(b"\r\n--%b--\r\n" % boundary)
    return Multipart(b"multipart/byteranges; boundary=" + boundary, tuple(pieces))
