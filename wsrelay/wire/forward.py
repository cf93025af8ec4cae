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

from wsrelay.wire.headers import FieldError, Headers, content_length
from wsrelay.wire.request import Request
from wsrelay.wire.response import Response

__all__ = [
    "HOP_BY_HOP",
    "Forwarded",
    "answer_head",
    "interim_head",
    "own_answer",
    "own_head",
    "switching_head",
    "upstream_head",
]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
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
"""Lower-case names of fields that are for one hop only (RFC 9110 section 7.6.1)."""
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
_ABOUT_CERTIFICATE = frozenset({b"x-ssl-client-s-dn", b"x-ssl-client-verify"})
_WITH_CERTIFICATE = _SET_BY_RELAY | _ABOUT_CERTIFICATE
_FROM_STRANGER = _WITH_CERTIFICATE | {b"forwarded"}
_LENGTH = frozenset({b"content-length"})
_EXTENSIONS = frozenset({b"sec-websocket-extensions"})

_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


@frozen
class Forwarded:
    """What the relay tells an upstream of the client; None: not known, not sent."""

    for_: bytes | None
    """X-Forwarded-For: the whole chain, this relay's peer last."""
    proto: bytes
    """X-Forwarded-Proto: ``http`` or ``https``."""
    host: bytes | None
    """X-Forwarded-Host: the Host that the client asked for; HTTP/1.0 may name none."""
    port: bytes | None
    """X-Forwarded-Port: the port that the client connected to."""
    real_ip: bytes | None
    """X-Real-IP: the client's address."""
    trusted: bool
    """
    Whether the peer is a trusted proxy, whose Forwarded (RFC 7239) passes, and what it says
    of the client's certificate, unless the relay asks for that itself.
    """
    client_verify: bytes | None = None
    """X-SSL-Client-Verify: ``SUCCESS`` or ``NONE``; None: clients are not asked here."""
    client_subject: bytes | None = None
    """X-SSL-Client-S-DN: whose certificate it is; see `wsrelay.relay.subject`."""
    more: tuple[tuple[bytes, bytes], ...] = ()
    """What the route's policies say of the client."""
    unclaimed: frozenset[bytes] = frozenset()
    """Lower-case names of fields that policies may set, and nobody else."""


def upstream_head(
    request: Request,
    *,
    target: bytes,
    host: bytes,
    forwarded: Forwarded,
    request_id: bytes,
    set_header: Sequence[tuple[str, str]] = (),
    remove_header: Iterable[str] = (),
    upgrades: bool = True,
    extensions: bytes | None = None,
) -> bytes:
    """
    Return the head of a request for an upstream.

    A websocket handshake's Sec-WebSocket-* pass as they are; any other request asks for no
    other protocol, and its body is framed as the client framed it.  What the client claims in
    the fields that the relay sets is dropped, also under names with underscores, which many
    applications cannot tell from hyphens.

    :param upgrades: it is a handshake, one that `check_handshake` accepted.
    :param target: in origin-form.
    :param host: for Host.
    :param set_header: names and values; each replaces all fields of its name,
        the relay's own included.
    :param remove_header: names of fields to leave out, the relay's own included.
    :param extensions: Sec-WebSocket-Extensions in the client's stead, empty for none; None:
        the client's pass.
    """
    added = [*_forwarded_fields(forwarded, request_id), *forwarded.more]
    own = {b"host": host, **(_UPGRADE if upgrades else _framing(request))}
    dropped = _dropped(request.headers, _not_believed(forwarded)) | forwarded.unclaimed
    if request.version == "1.0":  # it knows nothing of either, RFC 9110 section 10.1.1
        dropped |= {b"expect"}
        if not request.headers.values(b"host"):  # an absolute-form target may have named one
            added.insert(0, (b"Host", host))
    if forwarded.trusted:
        dropped -= {b"forwarded"}
    if extensions is not None:
        dropped |= _EXTENSIONS
        added += _extensions(extensions)
    if set_header or remove_header:
        overruled = {name.lower().encode() for name, _ in set_header}
        overruled.update(name.lower().encode() for name in remove_header)
        dropped |= overruled | {name.replace(b"_", b"-") for name in overruled}
        own = {name: value for name, value in own.items() if name not in overruled}
        added = [(name, value) for name, value in added if name.lower() not in overruled]
        added += [(name.encode(), value.encode()) for name, value in set_header]
    fields = _fields(request.headers, own, dropped)
    method = request.method.encode("ascii")
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, b"".join(fields), _lines(added))


def _not_believed(forwarded: Forwarded) -> frozenset[bytes]:
    """Return the lower-case names of what a client may not say itself."""
    if not forwarded.trusted:
        return _FROM_STRANGER
    return _SET_BY_RELAY if forwarded.client_verify is None else _WITH_CERTIFICATE


def _forwarded_fields(forwarded: Forwarded, request_id: bytes) -> list[tuple[bytes, bytes]]:
    fields = (
        (b"X-Forwarded-For", forwarded.for_),
        (b"X-Forwarded-Proto", forwarded.proto),
        (b"X-Forwarded-Host", forwarded.host),
        (b"X-Forwarded-Port", forwarded.port),
        (b"X-Real-IP", forwarded.real_ip),
        (b"X-Request-ID", request_id),
        (b"X-SSL-Client-Verify", forwarded.client_verify),
        (b"X-SSL-Client-S-DN", forwarded.client_subject),
    )
    return [(name, value) for name, value in fields if value is not None]


_UPGRADE = {b"connection": b"Upgrade", b"upgrade": b"websocket"}


def _framing(request: Request) -> dict[bytes, bytes]:
    """Return what the next hop must be told of the body's framing, beside its length."""
    is_chunked = bool(request.headers.values(b"transfer-encoding"))
    return {b"transfer-encoding": b"chunked"} if is_chunked else {}


def _extensions(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Sec-WebSocket-Extensions", value)] if value else []


def switching_head(
    response: Response,
    more: Sequence[tuple[bytes, bytes]] = (),
    extensions: bytes | None = None,
) -> bytes:
    """
    Return the head of the 101 for the client.

    :param response: one that `check_switching` accepted.
    :param more: headers of the relay's own, behind the upstream's.
    :param extensions: Sec-WebSocket-Extensions in the upstream's stead, empty for none; None:
        the upstream's pass.
    """
    own = {b"connection": b"Upgrade", b"upgrade": b"websocket"}
    # RFC 9110, section 8.6: no Content-Length in a 1xx, even if the upstream wrote a zero.
    dropped = _dropped(response.headers, _LENGTH)
    if extensions is not None:
        dropped |= _EXTENSIONS
        more = [*more, *_extensions(extensions)]
    fields = _fields(response.headers, own, dropped)
    head = b"HTTP/1.1 101 Switching Protocols\r\n%b%b\r\n"
    return head % (b"".join(fields), _lines(more) if more else b"")


def interim_head(response: Response) -> bytes:
    """Return an upstream's interim answer, 100 or 103 say, for the client."""
    fields = _fields(response.headers, {}, _dropped(response.headers, _LENGTH))
    return b"%b%b\r\n" % (_status_line(response.status, response.reason), b"".join(fields))


def answer_head(
    response: Response,
    connection: bytes = b"",
    *,
    chunked: bool = False,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """
    Return the head for the client of an upstream's answer that is no 101.

    What it says of its length passes, unless the body is *chunked*: then it must follow
    through `encode_chunk`, with `LAST_CHUNK` at the end.  A 426 keeps its Upgrade, which
    it must have (RFC 9110, section 15.5.22), and Connection lists it; no other status
    keeps one.

    :param connection: for Connection; empty: the field is not sent.
    :param more: headers of the relay's own, behind the upstream's.
    """
    own: dict[bytes, bytes] = {}
    listed = [connection] if connection else []
    upgrades = response.headers.values(b"upgrade")
    if response.status == HTTPStatus.UPGRADE_REQUIRED and upgrades:
        own[b"upgrade"] = b", ".join(upgrades)
        listed.append(b"Upgrade")
    added = list(more)
    if chunked:
        added.append((b"Transfer-Encoding", b"chunked"))
    else:
        own.update(_length_of(response))
    if listed:
        added.append((b"Connection", b", ".join(listed)))
    fields = _fields(response.headers, own, _dropped(response.headers, _LENGTH))
    status_line = _status_line(response.status, response.reason)
    return b"%b%b%b\r\n" % (status_line, b"".join(fields), _lines(added))


def _length_of(response: Response) -> dict[bytes, bytes]:
    """Return the Content-Length to pass on, once; none where there cannot be a body."""
    if response.status == HTTPStatus.NO_CONTENT or response.headers.values(b"transfer-encoding"):
        return {}
    try:
        length = content_length(response.headers)
    except FieldError:  # of an answer to HEAD, or a 304: nothing depends on it
        return {}
    return {} if length is None else {b"content-length": b"%d" % length}


def own_answer(
    status: int,
    reason: str | bytes,
    headers: Sequence[tuple[bytes, bytes]] = (),
    connection: bytes = b"close",
    *,
    to_head: bool = False,
) -> bytes:
    """
    Return a whole answer of the relay's own.

    :param reason: the body: a sentence with the cause and what to do, or any bytes.
    :param headers: more of them; a Content-Type among them stands in the place of text's.
    :param connection: for Connection; empty: the field is not sent.
    :param to_head: it answers HEAD, so the body is left out.
    """
    body = reason if isinstance(reason, bytes) else reason.encode() + b"\n"
    fields = [(b"Content-Length", b"%d" % len(body)), *headers]
    if not any(name.lower() == b"content-type" for name, _ in headers):
        fields.insert(0, (b"Content-Type", b"text/plain; charset=utf-8"))
    if status == HTTPStatus.UPGRADE_REQUIRED:
        fields.append((b"Upgrade", b"websocket"))
        connection = b"%b, Upgrade" % connection if connection else b"Upgrade"
    head = own_head(status, fields, connection)
    return head if to_head else head + body


def own_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], connection: bytes = b"close"
) -> bytes:
    """
    Return the head of an answer of the relay's own; the body follows as *headers* say.

    :param connection: for Connection; empty: the field is not sent.
    """
    status_line = _status_line(status, _PHRASES.get(status, b""))
    last = _lines([(b"Connection", connection)]) if connection else b""
    return b"%b%b%b\r\n" % (status_line, _lines(headers), last)


def _status_line(status: int, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def _dropped(headers: Headers, more: frozenset[bytes]) -> frozenset[bytes]:
    """Return *more*, and the lower-case names of those fields that are for this hop only."""
    return _with_listed(headers.elements(b"connection"), more)


@lru_cache(maxsize=64)  # nearly all heads list Upgrade and nothing else
def _with_listed(listed: tuple[str, ...], more: frozenset[bytes]) -> frozenset[bytes]:
    # Sec-WebSocket-* are end to end here: a peer that lists one must not break the handshake.
    hops = [name.encode("latin-1") for name in listed if not name.startswith("sec-websocket-")]
    return HOP_BY_HOP.union(hops, more)


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
