"""
What says where a request ends, and what only looks so to some parsers.

The relay reads Content-Length and Transfer-Encoding in one way only.  An upstream, or
what stands behind it, may be laxer: it takes ``Content_Length`` for Content-Length, or
ends a line where no line ends.  A request that those could cut elsewhere than the relay
does is how a second one is smuggled past it (RFC 9112, section 11.2), so it is refused.
"""

from __future__ import annotations

import re

from wsrelay.wire.headers import FieldError, Headers, content_length

__all__ = ["check_framing", "check_trailer"]

_HYPHENS = b"!#$%&'*+.^_`|~"
"""What is no letter, digit or hyphen in a token: CGI and others read it as a hyphen or skip it."""


def _disguises(name: bytes) -> set[bytes]:
    """Return the names, in lower case, that some parser takes for *name*."""
    odd = [bytes([byte]) for byte in _HYPHENS]
    joined = {name.replace(b"-", byte) for byte in odd}
    padded = {pad for byte in [*odd, b"-"] for pad in (byte + name, name + byte)}
    return (joined | padded) - {name}


_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host"})
_DISGUISES = frozenset().union(*map(_disguises, _FRAMING))

_NEEDED = frozenset({"content-length", "transfer-encoding", "host", "expect"})
"""What an upstream must see, so that no Connection may have it removed."""

_FIELD_IN_VALUE = re.compile(rb"(?i:content-length|transfer-encoding)[ \t]*+:")


def check_framing(headers: Headers, version: str, block: bytes) -> None:
    """
    Refuse a request whose end two parsers could see in two places.

    :param version: of HTTP: ``1.1`` or ``1.0``.
    :param block: the header lines that *headers* were parsed from.
    :raises FieldError: it is such a request; the text is for the client.
    """
    length = headers.values(b"content-length")
    encoding = headers.values(b"transfer-encoding")
    if length:
        _check_length(headers)
    if encoding:
        _check_encoding(length, encoding, version)
    if not _DISGUISES.isdisjoint(headers.names()) or b"%" in block:
        _check_names(headers)
    if not _NEEDED.isdisjoint(headers.elements(b"connection")):
        raise FieldError("Connection lists a header that is for every hop; list others only.")
    if headers.values(b"expect"):
        _check_expect(headers)
    if headers.values(b"content-encoding"):
        _check_content_encoding(headers)
    lower = block.lower()
    known = len(length) + len(encoding)
    if lower.count(b"content-length") + lower.count(b"transfer-encoding") != known:
        _check_values(headers)


def check_trailer(trailer: Headers) -> None:
    """
    Refuse a trailer that would be framing in a head (RFC 9110, section 6.5.1).

    Trailers are dropped, but who sends such a one means it for somebody who merges them.

    :raises FieldError: it is one.
    """
    names = trailer.names()
    if not _FRAMING.isdisjoint(names) or not _DISGUISES.isdisjoint(names):
        raise FieldError("A trailer cannot be Content-Length, Transfer-Encoding or Host.")


def _check_length(headers: Headers) -> None:
    content_length(headers)
    first, *more = headers.values(b"content-length")
    if more:
        raise FieldError("Content-Length is there more than once; send it once.")
    if first.startswith(b"0") and first != b"0":  # octal, to a parser in C that is not told base 10
        raise FieldError("Content-Length begins with a zero; send the number without it.")


def _check_encoding(length: tuple[bytes, ...], encoding: tuple[bytes, ...], version: str) -> None:
    if length:
        raise FieldError("Content-Length and Transfer-Encoding exclude each other; send one.")
    if version == "1.0":
        raise FieldError("HTTP/1.0 knows no Transfer-Encoding; send Content-Length.")
    if len(encoding) > 1 or encoding[0].lower() != b"chunked":
        raise FieldError("Transfer-Encoding is not 'chunked'; send it so, and once.")


def _check_names(headers: Headers) -> None:
    names = headers.names()
    if not _DISGUISES.isdisjoint(names) or b"%" in b"".join(names):
        raise FieldError(
            "A header's name resembles Content-Length, Transfer-Encoding or Host, "
            "or holds a percent sign; use another name."
        )


def _check_expect(headers: Headers) -> None:
    expected = b",".join(headers.values(b"expect")).lower()
    if b"100-continue" in expected and expected != b"100-continue":
        raise FieldError("Expect is more than '100-continue'; send it so, and once.")


def _check_content_encoding(headers: Headers) -> None:
    if "chunked" in headers.elements(b"content-encoding"):
        raise FieldError("Content-Encoding cannot be 'chunked'; Transfer-Encoding says so.")


def _check_values(headers: Headers) -> None:
    """
    Refuse a value that is a header line of framing to a parser that splits lines at other bytes.

    Next Line, U+2028 and their like end a line for some; all are parts of letters in UTF-8.
    """
    if any(_FIELD_IN_VALUE.search(value) for _, value in headers):
        raise FieldError(
            "A header's value holds a line of Content-Length or Transfer-Encoding; remove it."
        )
