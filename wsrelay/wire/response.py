"""An upstream's response: strict parsing, and the client's side of the handshake."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1

from attrs import frozen

from wsrelay.wire.headers import (
    MAX_FIELDS,
    FieldError,
    Headers,
    content_length,
    extension_names,
    parse_fields,
)

__all__ = ["BadResponse", "Response", "accept_key", "check_switching", "parse_response"]

_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class BadResponse(Exception):  # noqa: N818 - a pair with BadRequest
    """
    An upstream broke HTTP or the handshake; it counts as failed.

    :ivar reason: a sentence for the log: what is wrong with the response.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen
class Response:
    """The head of an upstream's response."""

    status: int
    """100 to 999; below 200 and not 101 it is interim, another response follows."""
    reason: bytes
    """As it came; may be empty."""
    headers: Headers
    version: str
    """``1.1`` or ``1.0``."""


def parse_response(head: bytes) -> Response:
    """
    Parse the head of a response, its header lines as strictly as a request's.

    :param head: everything up to and including the empty line.
    :raises BadResponse: it breaks RFC 9112, or has too many header fields.
    """
    if not head.endswith(b"\r\n\r\n"):
        raise BadResponse("The response's head does not end with an empty line.")
    line, _, rest = head.partition(b"\r\n")
    version, status, reason = _parse_status_line(line)
    return Response(status, reason, _parse_headers(rest[:-2]), version)


@lru_cache(maxsize=64)  # nearly always the one of a 101
def _parse_status_line(line: bytes) -> tuple[str, int, bytes]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadResponse("The status line is not 'HTTP/1.1 status reason'.")
    return match[1].decode("ascii"), int(match[2]), match[3] or b""


def _parse_headers(block: bytes) -> Headers:
    try:
        headers = parse_fields(block)
    except FieldError as error:
        raise BadResponse(str(error)) from error
    if len(headers) > MAX_FIELDS:
        raise BadResponse(f"The response has more than {MAX_FIELDS} headers.")
    return headers


def accept_key(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def check_switching(
    response: Response, key: bytes, subprotocols: Sequence[str], extensions: Sequence[str]
) -> tuple[str, ...]:
    """
    Check an upstream's 101 by RFC 6455, section 4.1.

    :param key: the Sec-WebSocket-Key that the upstream was sent.
    :param subprotocols: those that it was offered.
    :param extensions: the names of those that it was offered, in lower case.
    :returns: the names of the extensions that it agreed to, in its order.
    :raises BadResponse: the handshake is not valid, so the websocket must not begin.
    """
    headers = response.headers
    if response.status != 101 or response.version != "1.1":
        raise BadResponse("The response is no HTTP/1.1 101.")
    if headers.elements(b"upgrade") != ("websocket",):
        raise BadResponse("The 101's Upgrade is not 'websocket'.")
    if "upgrade" not in headers.elements(b"connection"):
        raise BadResponse("The 101's Connection does not list 'Upgrade'.")
    if headers.values(b"sec-websocket-accept") != (accept_key(key),):
        raise BadResponse("The 101's Sec-WebSocket-Accept does not answer the key it was sent.")
    _check_no_body(headers)
    _check_subprotocol(headers, subprotocols)
    return _agreed_extensions(headers, extensions)


def _check_no_body(headers: Headers) -> None:
    try:
        length = content_length(headers)
    except FieldError as error:
        raise BadResponse(str(error)) from error
    # A 101 must not have Content-Length at all, but some servers write a zero.
    if length or headers.values(b"transfer-encoding"):
        raise BadResponse("The 101 announces a body, which it cannot have.")


def _check_subprotocol(headers: Headers, offered: Sequence[str]) -> None:
    chosen = headers.values(b"sec-websocket-protocol")
    if len(chosen) > 1 or (chosen and chosen[0].decode("latin-1") not in offered):
        raise BadResponse("The 101's Sec-WebSocket-Protocol is not one of those offered.")


def _agreed_extensions(headers: Headers, offered: Sequence[str]) -> tuple[str, ...]:
    try:
        agreed = extension_names(headers)
    except FieldError as error:
        raise BadResponse(str(error)) from error
    if not set(agreed) <= set(offered):
        raise BadResponse("The 101's Sec-WebSocket-Extensions has one that was not offered.")
    if agreed.count("permessage-deflate") > 1:
        raise BadResponse("The 101's Sec-WebSocket-Extensions has permessage-deflate twice.")
    return agreed
