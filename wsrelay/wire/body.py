"""
The body of a message: where it ends, and how it is framed anew (RFC 9112, sections 6 and 7).

A body passes as it comes; only its framing is read, and written for the next hop.
"""

from __future__ import annotations

import re

from wsrelay.wire.framing import check_trailer
from wsrelay.wire.headers import TOKEN, FieldError, content_length, parse_fields
from wsrelay.wire.request import Request
from wsrelay.wire.response import BadResponse, Response

__all__ = [
    "LAST_CHUNK",
    "BadBody",
    "BodyReader",
    "ChunkedBody",
    "LengthBody",
    "NoBody",
    "UntilCloseBody",
    "encode_chunk",
    "has_body",
    "request_body",
    "response_body",
]

LAST_CHUNK = b"0\r\n\r\n"
"""What ends a chunked body."""

MAX_SIZE_LINE = 4096
"""Most bytes of a chunk's first line, its extensions included."""

MAX_TRAILERS = 8192
"""Most bytes of all trailer lines of a body."""

# Nothing but ASCII: beyond it there is what ends a line for some.
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*"'
# 15 digits stay below 2**63, which is what most of the world counts with.
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?)*\r\n"
    % (TOKEN, TOKEN, _QUOTED)
)


def encode_chunk(data: bytes) -> bytes:
    """Return *data* as one chunk; nothing for no data, as an empty chunk ends a body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class BadBody(Exception):  # noqa: N818 - a pair with BadRequest and BadResponse
    """
    The framing of a body is broken: where it ends is not known.

    :ivar reason: a sentence that says what is wrong.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BodyReader:
    """
    Takes what came after a message's head, and gives the body's own bytes.

    Holds no more than a line of framing; data passes through as it comes.

    :ivar done: the body is complete.
    :ivar rest: what came behind its end first: another message's, or nobody's.
    """

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """
        Take the next bytes from the sender, and return those of the body.

        :raises BadBody: the framing is broken; do not feed it any more.
        """
        if self.done:
            self.rest = self.rest or data
            return b""
        return self._read(data)

    def eof(self) -> bool:
        """Return whether the sender may end its stream here: the body is whole."""
        return self.done

    def _read(self, data: bytes) -> bytes:
        """Return the body's part of *data*; set `done` and `rest`.  Not called once done."""
        return data


class NoBody(BodyReader):
    """Of a message that has none, whatever its headers say."""

    def __init__(self) -> None:
        super().__init__()
        self.done = True


class LengthBody(BodyReader):
    """
    Of a message with Content-Length.

    :ivar length: in bytes.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = self._left = length
        self.done = length == 0

    def _read(self, data: bytes) -> bytes:
        body = data[: self._left]
        self._left -= len(body)
        self.done = self._left == 0
        if len(body) < len(data):
            self.rest = data[len(body) :]
        return body


class UntilCloseBody(BodyReader):
    """Of a response that ends with its connection."""

    def eof(self) -> bool:
        """End the body, and return True: any end is a proper one."""
        self.done = True
        return True


class ChunkedBody(BodyReader):
    """Of a message with chunked transfer coding; extensions and trailers are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._line = bytearray()  # framing that is not complete yet
        self._left = 0  # bytes of the chunk's data still to come
        self._trailers = 0  # bytes of trailer lines so far
        self._take_line = self._take_size

    def _read(self, data: bytes) -> bytes:
        pieces = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                pieces.append(data[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
            else:
                at = self._read_line(data, at)
        self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, data: bytes, at: int) -> int:
        """Collect a line of framing from *data* at *at*; return where to go on."""
        # Nothing longer is legal, so nothing longer is searched or kept.
        stop = at + MAX_TRAILERS - len(self._line)
        end = data.find(b"\n", at, stop) + 1
        self._line += data[at : end or stop]
        if end:
            line = bytes(self._line)
            self._line.clear()
            self._take_line(line)
            return end
        if len(self._line) >= MAX_TRAILERS:
            raise BadBody("A line of chunked framing does not end.")
        return len(data)

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(line) > MAX_SIZE_LINE:
            raise BadBody("A chunk of the body does not begin with a valid size line.")
        self._left = int(match[1], 16)
        self._take_line = self._take_data_end if self._left else self._take_trailer

    def _take_data_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadBody("A chunk of the body does not end where its size says.")
        self._take_line = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        self.done = line == b"\r\n"
        if self.done:
            return
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise BadBody(f"The trailers of the body are longer than {MAX_TRAILERS} bytes.")
        try:
            check_trailer(parse_fields(line))
        except FieldError as error:
            raise BadBody("A trailer of the body is malformed, or has no place there.") from error


def request_body(request: Request) -> BodyReader:
    """Return what reads the body of *request*; that its end is certain was checked before."""
    headers = request.headers
    if headers.values(b"transfer-encoding"):
        return ChunkedBody()
    length = content_length(headers)
    return LengthBody(length) if length else NoBody()


def has_body(request: Request) -> bool:
    """Tell whether a request has a body, be it an empty one in chunks."""
    headers = request.headers
    return bool(headers.values(b"transfer-encoding") or content_length(headers))


def response_body(response: Response, *, to_head: bool = False) -> BodyReader:
    """
    Return what reads the body of *response*.

    :param to_head: it answers HEAD, and so has none.
    :raises BadResponse: its end cannot be told for certain.
    """
    status = response.status
    if to_head or status < 200 or status in (204, 304):
        return NoBody()
    headers = response.headers
    try:
        length = content_length(headers)
    except FieldError as error:
        raise BadResponse(str(error)) from error
    encodings = headers.values(b"transfer-encoding")
    if not encodings:
        return UntilCloseBody() if length is None else LengthBody(length)
    if length is not None or response.version == "1.0":
        raise BadResponse("Transfer-Encoding stands beside Content-Length or in HTTP/1.0.")
    if len(encodings) > 1 or encodings[0].lower() != b"chunked":
        raise BadResponse("The response's Transfer-Encoding is not 'chunked'.")
    return ChunkedBody()
