"""
A client's request: strict parsing, and the server's side of the opening handshake.

RFC 9110 and 9112 decide what a request is, RFC 6455 section 4.2.1 what a
handshake is.  Whatever two parsers could read in two ways is refused, so that
no upstream is made to see another request than the one the relay judged.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address

from attrs import frozen

from wsrelay.wire.framing import check_framing
from wsrelay.wire.headers import (
    MAX_FIELDS,
    TOKEN,
    FieldError,
    Headers,
    extension_names,
    parse_fields,
)

__all__ = [
    "CLOSE",
    "BadRequest",
    "Offer",
    "Request",
    "check_handshake",
    "connection_option",
    "parse_request",
]

_REQUEST_LINE = re.compile(rb"(%b) ([^\x00-\x20\x7f#]++) HTTP/([0-9]\.[0-9])" % TOKEN)
_ABSOLUTE_FORM = re.compile(rb"(?i:https?|wss?)://([^/?]*+)(.*+)", re.DOTALL)
_BODILESS = ("HEAD", "CONNECT")
"""Methods whose answers end with their heads, for whoever ignores the case of methods, too."""
_HOST = re.compile(
    rb"(\[[0-9A-Fa-f:.]++\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?"
)
_TOKEN = re.compile(TOKEN)
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


CLOSE = b"close"
"""What Connection says where the connection ends (RFC 9112 section 9.6)."""


class BadRequest(Exception):  # noqa: N818 - the name of the status
    """
    A request that must be refused; it did not reach any upstream.

    :ivar status: of the answer: 400, 426 or 431.
    :ivar reason: a sentence for the answer's body: what is wrong, what to do.
    :ivar headers: to be added to the answer.
    """

    def __init__(
        self, status: int, reason: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@frozen
class Request:
    """The head of a client's request."""

    method: str
    target: bytes
    """In origin-form, byte for byte as it goes to the upstream."""
    path: str
    """The target up to its '?', as ISO-8859-1; nothing is percent-decoded."""
    query: str
    """What is behind the target's '?'; empty when there is none."""
    version: str
    """``1.1`` or ``1.0``."""
    headers: Headers
    host: str
    """From Host: lower case, no port, no final dot, an IPv6 address in brackets."""
    host_header: bytes
    """Host as it came; empty when an HTTP/1.0 request has none."""

    @property
    def wants_websocket(self) -> bool:
        """Whether this is an attempt at a websocket handshake, good or bad."""
        headers = self.headers
        return (
            bool(headers.values(b"sec-websocket-key"))
            or bool(headers.values(b"sec-websocket-version"))
            or "websocket" in headers.elements(b"upgrade")
        )


@frozen
class Offer:
    """What a client's opening handshake asks for."""

    key: bytes
    """Sec-WebSocket-Key, still in base64."""
    subprotocols: tuple[str, ...]
    """In the client's order, as it wrote them."""
    extensions: tuple[str, ...]
    """Names only, in lower case; a name stands here as often as it was offered."""


def parse_request(head: bytes) -> Request:
    """
    Parse the head of a request.

    :param head: everything up to and including the empty line.  One more empty
        line in front is skipped (RFC 9112, section 2.2).
    :raises BadRequest: 431 for too many header fields, 400 for all else.
    """
    head = head.removeprefix(b"\r\n")
    if not head.endswith(b"\r\n\r\n"):
        raise BadRequest(400, "The request does not end with an empty line; add CR LF CR LF.")
    line, _, rest = head.partition(b"\r\n")
    method, target, version = _parse_request_line(line)
    headers = _parse_headers(rest[:-2], version)
    target, authority = _origin_form(target)
    host_header = _find_host(headers, version, authority)
    path, _, query = target.decode("latin-1").partition("?")
    return Request(
        method=method,
        target=target,
        path=path,
        query=query,
        version=version,
        headers=headers,
        host=_parse_host(host_header) if host_header else "",
        host_header=host_header,
    )


def _parse_request_line(line: bytes) -> tuple[str, bytes, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest(400, "The request line is malformed; send 'GET /path HTTP/1.1'.")
    version = match[3].decode("ascii")
    if version not in ("1.1", "1.0"):
        raise BadRequest(400, f"HTTP version {version} is not spoken here; use HTTP/1.1.")
    method = match[1].decode("ascii")
    if method not in _BODILESS and method.upper() in _BODILESS:
        raise BadRequest(400, "The method is HEAD or CONNECT in another case; use capitals.")
    return method, match[2], version


def _parse_headers(block: bytes, version: str) -> Headers:
    try:
        headers = parse_fields(block)
        if len(headers) > MAX_FIELDS:
            raise BadRequest(431, f"The request has more than {MAX_FIELDS} headers; send fewer.")
        check_framing(headers, version, block)
    except FieldError as error:
        raise BadRequest(400, str(error)) from error
    return headers


def _origin_form(target: bytes) -> tuple[bytes, bytes | None]:
    """Return *target* in origin-form, and the authority that an absolute-form had."""
    if target.startswith(b"/"):
        return target, None
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise BadRequest(400, "The request target is not a path; send 'GET /path HTTP/1.1'.")
    authority, rest = match.groups()
    return (rest if rest.startswith(b"/") else b"/" + rest), authority


def _find_host(headers: Headers, version: str, authority: bytes | None) -> bytes:
    """Return the Host of a request; empty only for HTTP/1.0 (RFC 9112, section 3.2)."""
    values = headers.values(b"host")
    if len(values) > 1 or (version == "1.1" and not values):
        raise BadRequest(400, "Host is missing or there more than once; send it once.")
    if authority is not None and values and authority.lower() != values[0].lower():
        raise BadRequest(400, "Host and the request target name different hosts; send the same.")
    host = values[0] if values else authority
    if host == b"":
        raise BadRequest(400, "Host is empty; send the name that the client connects to.")
    return host or b""


@lru_cache(maxsize=64)  # a relay has few names
def _parse_host(value: bytes) -> str:
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or 0) > 65535 or not _is_address_good(match[1]):
        raise BadRequest(400, "Host is malformed; send 'name' or 'name:port'.")
    return match[1].decode("ascii").lower().removesuffix(".")


def _is_address_good(host: bytes) -> bool:
    if not host.startswith(b"["):
        return True
    try:
        IPv6Address(host[1:-1].decode("ascii"))
    except ValueError:
        return False
    return True


def connection_option(request: Request) -> bytes:
    """
    Return what Connection says in the answer to a request (RFC 9112 section 9.3).

    `CLOSE`, or empty, or ``keep-alive`` for HTTP/1.0, where another request may follow.
    """
    options = request.headers.elements(b"connection")
    if "close" in options:
        return CLOSE
    if request.version == "1.0":
        return b"keep-alive" if "keep-alive" in options else CLOSE
    return b""


def check_handshake(request: Request) -> Offer:
    """
    Check an opening handshake by RFC 6455, section 4.2.1, and return what it asks for.

    :raises BadRequest: 426 for another version of the protocol, 400 for all else.
    """
    _check_upgrade(request)
    headers = request.headers
    _check_version(headers)
    keys = headers.values(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise BadRequest(400, "Sec-WebSocket-Key is not 16 bytes in base64; send one such key.")
    _check_no_body(headers)
    try:
        extensions = extension_names(headers)
    except FieldError as error:
        raise BadRequest(400, str(error)) from error
    return Offer(keys[0], _subprotocols(headers), extensions)


def _check_upgrade(request: Request) -> None:
    if request.method != "GET" or request.version != "1.1":
        raise BadRequest(400, "A websocket handshake is a GET of HTTP/1.1; send it so.")
    if "websocket" not in request.headers.elements(b"upgrade"):
        raise BadRequest(400, "Upgrade does not list websocket; send 'Upgrade: websocket'.")
    if "upgrade" not in request.headers.elements(b"connection"):
        raise BadRequest(400, "Connection does not list Upgrade; send 'Connection: Upgrade'.")


def _check_version(headers: Headers) -> None:
    versions = headers.values(b"sec-websocket-version")
    if not versions:
        raise BadRequest(400, "Sec-WebSocket-Version is missing; send 13.")
    if len(versions) > 1 or versions[0] != b"13":
        raise BadRequest(
            426,
            "This version of the websocket protocol is not spoken here; use version 13.",
            ((b"Sec-WebSocket-Version", b"13"),),
        )


def _check_no_body(headers: Headers) -> None:
    length = headers.values(b"content-length") or (b"0",)
    if headers.values(b"transfer-encoding") or length[0] != b"0":
        raise BadRequest(400, "A websocket handshake has no body; send it without one.")
    if headers.values(b"expect"):
        raise BadRequest(400, "Nothing can be expected of a websocket handshake; remove Expect.")


def _subprotocols(headers: Headers) -> tuple[str, ...]:
    """Return the offered subprotocols; they may stand in several fields (section 11.3.4)."""
    text = b",".join(headers.values(b"sec-websocket-protocol"))
    if not text:
        return ()
    names = [name for part in text.split(b",") if (name := part.strip(b" \t"))]
    if len(set(names)) != len(names) or not all(map(_TOKEN.fullmatch, names)):
        raise BadRequest(
            400, "Sec-WebSocket-Protocol is no list of different tokens; send 'one, two'."
        )
    return tuple(name.decode("ascii") for name in names)
