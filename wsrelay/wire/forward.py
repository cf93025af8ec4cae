"""
What the relay passes on of a head, and what it writes itself.

A head keeps its fields, their order and the case of their names.  Fields that
are for one hop only (RFC 9110, section 7.6.1) do not pass; those of them that
the next hop needs are written anew, where the first of that name stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus

from attrs import frozen

from wsrelay.wire.body import BodyReader, ChunkedBody, LengthBody
from wsrelay.wire.headers import Headers
from wsrelay.wire.request import Request
from wsrelay.wire.response import Response

__all__ = ["Forwarded", "client_response_head", "own_answer", "refusal_head", "upstream_head"]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_SET_BY_RELAY = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
    }
)
_FROM_STRANGER = _SET_BY_RELAY | {b"forwarded"}
_LENGTH = frozenset({b"content-length"})

_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


@frozen
class Forwarded:
    """What the relay tells an upstream of the client; None: not known, not sent."""

    for_: bytes | None
    """X-Forwarded-For: the whole chain, this relay's peer last."""
    proto: bytes
    """X-Forwarded-Proto: ``http`` or ``https``."""
    host: bytes
    """X-Forwarded-Host: the Host that the client asked for."""
    port: bytes | None
    """X-Forwarded-Port: the port that the client connected to."""
    real_ip: bytes | None
    """X-Real-IP: the client's address."""
    trusted: bool
    """Whether the peer is a trusted proxy, whose Forwarded (RFC 7239) passes."""


def upstream_head(
    request: Request,
    *,
    target: bytes,
    host: bytes,
    forwarded: Forwarded,
    request_id: bytes,
    set_header: Sequence[tuple[str, str]] = (),
    remove_header: Iterable[str] = (),
) -> bytes:
    """
    Return the head of the handshake for an upstream.

    Sec-WebSocket-* pass as they are.  What the client claims in the fields that
    the relay sets is dropped, also under names with underscores, which many
    applications cannot tell from hyphens.

    :param request: one that `check_handshake` accepted.
    :param target: in origin-form.
    :param host: for Host.
    :param set_header: names and values; each replaces all fields of its name,
        the relay's own included.
    :param remove_header: names of fields to leave out, the relay's own included.
    """
    added = _forwarded_fields(forwarded, request_id)
    own = {b"host": host, b"connection": b"Upgrade", b"upgrade": b"websocket"}
    dropped = _dropped(request.headers, _SET_BY_RELAY if forwarded.trusted else _FROM_STRANGER)
    if forwarded.trusted:
        dropped -= {b"forwarded"}
    if set_header or remove_header:
        overruled = {name.lower().encode() for name, _ in set_header}
        overruled.update(name.lower().encode() for name in remove_header)
        dropped |= overruled
        own = {name: value for name, value in own.items() if name not in overruled}
        added = [(name, value) for name, value in added if name.lower() not in overruled]
        added += [(name.encode(), value.encode()) for name, value in set_header]
    fields = _fields(request.headers, own, dropped)
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, b"".join(fields), _lines(added))


def _forwarded_fields(forwarded: Forwarded, request_id: bytes) -> list[tuple[bytes, bytes]]:
    fields = (
        (b"X-Forwarded-For", forwarded.for_),
        (b"X-Forwarded-Proto", forwarded.proto),
        (b"X-Forwarded-Host", forwarded.host),
        (b"X-Forwarded-Port", forwarded.port),
        (b"X-Real-IP", forwarded.real_ip),
        (b"X-Request-ID", request_id),
    )
    return [(name, value) for name, value in fields if value is not None]


def client_response_head(response: Response, more: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """
    Return the head of the 101 for the client.

    :param response: one that `check_switching` accepted.
    :param more: headers of the relay's own, behind the upstream's.
    """
    own = {b"connection": b"Upgrade", b"upgrade": b"websocket"}
    # RFC 9110, section 8.6: no Content-Length in a 1xx, even if the upstream wrote a zero.
    dropped = _dropped(response.headers, _LENGTH)
    fields = _fields(response.headers, own, dropped)
    head = b"HTTP/1.1 101 Switching Protocols\r\n%b%b\r\n"
    return head % (b"".join(fields), _lines(more) if more else b"")


def refusal_head(response: Response, reader: BodyReader) -> bytes:
    """
    Return the head for the client of an upstream's answer that is no 101.

    The body must follow framed as *reader* says: as it comes, or for a
    `ChunkedBody` through `encode_chunk` with `LAST_CHUNK` at the end.  Then the
    connection ends.  A 426 keeps its Upgrade, which it must have (RFC 9110,
    section 15.5.22), and Connection lists it; no other status keeps one.
    """
    own: dict[bytes, bytes] = {}
    connection = b"close"
    upgrades = response.headers.values(b"upgrade")
    if response.status == 426 and upgrades:
        own[b"upgrade"] = b", ".join(upgrades)
        connection = b"close, Upgrade"
    added = [(b"Connection", connection)]
    if isinstance(reader, LengthBody):
        added.insert(0, (b"Content-Length", b"%d" % reader.length))
    elif isinstance(reader, ChunkedBody):
        added.insert(0, (b"Transfer-Encoding", b"chunked"))
    dropped = _dropped(response.headers, _LENGTH)
    fields = _fields(response.headers, own, dropped)
    status_line = b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason)
    return b"%b%b%b\r\n" % (status_line, b"".join(fields), _lines(added))


def own_answer(status: int, reason: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """
    Return a whole answer of the relay's own; the connection ends behind it.

    :param reason: the body: a sentence with the cause and what to do.
    :param headers: more of them.
    """
    body = reason.encode() + b"\n"
    fields = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        *headers,
    ]
    if status == HTTPStatus.UPGRADE_REQUIRED:
        fields += [(b"Upgrade", b"websocket"), (b"Connection", b"close, Upgrade")]
    else:
        fields.append((b"Connection", b"close"))
    status_line = b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b""))
    return b"%b%b\r\n%b" % (status_line, _lines(fields), body)


def _dropped(headers: Headers, more: frozenset[bytes]) -> frozenset[bytes]:
    """Return *more*, and the lower-case names of those fields that are for this hop only."""
    return _with_listed(headers.elements(b"connection"), more)


@lru_cache(maxsize=64)  # nearly all heads list Upgrade and nothing else
def _with_listed(listed: tuple[str, ...], more: frozenset[bytes]) -> frozenset[bytes]:
    # Sec-WebSocket-* are end to end here: a peer that lists one must not break the handshake.
    hops = [name.encode("latin-1") for name in listed if not name.startswith("sec-websocket-")]
    return _HOP_BY_HOP.union(hops, more)


def _fields(headers: Headers, own: dict[bytes, bytes], dropped: frozenset[bytes]) -> list[bytes]:
    """
    Return the lines to pass on, in pieces.

    :param own: lower-case names and values of the relay's: each is written once,
        where its first namesake stood.  It goes before *dropped*.
    :param dropped: lower-case names of what does not pass.
    """
    lines: list[bytes] = []
    for name, value in headers:
        lower = name.lower()
        if lower in own:
            lines += (name, b": ", own.pop(lower), b"\r\n")
        elif lower not in dropped and lower.replace(b"_", b"-") not in dropped:
            lines += (name, b": ", value, b"\r\n")
    return lines


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])
