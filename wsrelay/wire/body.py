"""
The body of an upstream's refusal: where it ends (RFC 9112, sections 6 and 7).

Only the answer to a GET is ever read here, so HEAD and CONNECT have no rules.
"""

from __future__ import annotations

import re

from wsrelay.wire.headers import TOKEN, FieldError, content_length, parse_fields
from wsrelay.wire.response import BadResponse, Response

__all__ = [
    "LAST_CHUNK",
    "BodyReader",
    "ChunkedBody",
    "LengthBody",
    "NoBody",
    "UntilCloseBody",
    "body_reader",
    "encode_chunk",
]

LAST_CHUNK = b"0\r\n\r\n"
"""What ends a chunked body."""

MAX_SIZE_LINE = 4096
"""Most bytes of a chunk's first line, its extensions included."""

MAX_TRAILERS = 8192
"""Most bytes of all trailer lines of a body."""

_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)*+\r\n"
    % (TOKEN, TOKEN, _QUOTED)
)


def encode_chunk(data: bytes) -> bytes:
    """Return *data* as one chunk; nothing for no data, as an empty chunk ends a body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class BodyReader:
    """
    Takes what came after a response's head, and gives the body's own bytes.

    Holds no more than a line of framing; data passes through as it comes.

    :ivar done: the body is complete.
    :ivar excess: bytes came after its end; they were dropped.
    """

    def __init__(self) -> None:
        self.done = False
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """
        Take the next bytes from the upstream, and return those of the body.

        :raises BadResponse: the framing is broken; do not feed it any more.
        """
        if self.done:
            self.excess = self.excess or bool(data)
            return b""
        return self._read(data)

    def eof(self) -> bool:
        """Return whether the upstream may end its stream here: the body is whole."""
        return self.done

    def _read(self, data: bytes) -> bytes:
        """Return the body's part of *data*; set `done` and `excess`.  Not called once done."""
        return data


class NoBody(BodyReader):
    """Of a response that has none by its status, whatever its headers say."""

    def __init__(self) -> None:
        super().__init__()
        self.done = True


class LengthBody(BodyReader):
    """
    Of a response with Content-Length.

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
        self.excess = len(body) < len(data)
        return body


class UntilCloseBody(BodyReader):
    """Of a response that ends with its connection."""

    def eof(self) -> bool:
        """End the body, and return True: any end is a proper one."""
        self.done = True
        return True


class ChunkedBody(BodyReader):
    """Of a response with chunked transfer coding; extensions and trailers are dropped."""

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
        self.excess = at < len(data)
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
            raise BadResponse("A line of chunked framing does not end.")
        return len(data)

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(line) > MAX_SIZE_LINE:
            raise BadResponse("A chunk of the body does not begin with a valid size line.")
        self._left = int(match[1], 16)
        self._take_line = self._take_data_end if self._left else self._take_trailer

    def _take_data_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadResponse("A chunk of the body does not end where its size says.")
        self._take_line = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        self.done = line == b"\r\n"
        if self.done:
            return
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise BadResponse(f"The trailers of the body are longer than {MAX_TRAILERS} bytes.")
        try:
            parse_fields(line)
        except FieldError as error:
            raise BadResponse("A trailer of the body is malformed.") from error


def body_reader(response: Response) -> BodyReader:
    """
    Return what reads the body of *response*, the answer to a GET.

    :raises BadResponse: its end cannot be told for certain.
    """
    status = response.status
    if status < 200 or status in (204, 304):
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
