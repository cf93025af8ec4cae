"""What `http-auth` asks about a client, and how long the answer may be used again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from wsrelay.interfaces import IHandshake
from wsrelay.wire.forward import HOP_BY_HOP

__all__ = ["fields_about", "lifetime"]

_DROPPED: Final = HOP_BY_HOP | frozenset(
    {
        # of a body that is not sent, and of an answer whose body nobody reads
        b"accept-encoding",
        b"content-encoding",
        b"content-length",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        # what a client may say of itself, and is not believed
        b"forwarded",
        b"host",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-method",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-uri",
        b"x-original-host",
        b"x-original-method",
        b"x-original-uri",
        b"x-original-url",
        b"x-real-ip",
        b"x-ssl-client-s-dn",
        b"x-ssl-client-verify",
        # another one for each request
        b"x-request-id",
    }
)
_DIRECTIVE: Final = re.compile(r"(no-store|no-cache)|(?:s-maxage|max-age)=\"?([0-9]{1,9})\"?")


def fields_about(request: IHandshake) -> list[tuple[bytes, bytes]]:
    """
    Return the header fields of the question: the client's, and what is known of it.

    What belongs to the connection, to the websocket's handshake or to a body is left out, and
    so is what the client says of its own address.
    """
    listed = {name.encode("latin-1") for name in request.headers.tokens("connection")}
    dropped = _DROPPED | listed
    fields = [
        (name, value)
        for name, value in request.headers
        if (plain := name.lower().replace(b"_", b"-")) not in dropped
        and not plain.startswith(b"sec-websocket-")
    ]
    target = f"{request.path}?{request.query}" if request.query else request.path
    known = (
        (b"X-Original-Method", request.method),
        (b"X-Original-URI", target),
        (b"X-Original-Host", request.headers.get("host") or ""),
        (b"X-Forwarded-Host", request.headers.get("host") or ""),
        (b"X-Real-IP", request.client_address),
        (b"X-Forwarded-For", request.client_address),
    )
    return fields + [(name, value.encode("latin-1")) for name, value in known if value]


def lifetime(cache_control: Iterable[str], most: float) -> float:
    """Return for how many seconds, at most *most*, an answer with these headers is good."""
    for directive in ",".join(cache_control).lower().split(","):
        match = _DIRECTIVE.fullmatch(directive.strip())
        if match:
            most = 0.0 if match[1] else min(most, float(match[2]))
    return most
