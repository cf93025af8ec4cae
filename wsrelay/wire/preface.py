"""The first bytes of a request: where its head ends, and what is no request at all."""

from __future__ import annotations

import re
from typing import Final

from wsrelay.wire.request import BadRequest

__all__ = ["end_of_head", "is_tls"]

_TLS_HELLO: Final = b"\x16\x03"  # a record with a handshake, RFC 8446 section 5.1
_PROXY_HEADERS: Final = (b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")  # versions 1 and 2
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


def is_tls(data: bytes) -> bool:
    """Return whether this is the beginning of TLS."""
    return data.startswith(_TLS_HELLO)


def end_of_head(data: bytes, limit: int) -> int:
    """
    Return where the head of a request ends, or 0: more of it is to come.

    :param data: all that came so far.
    :param limit: most bytes of a head.
    :raises BadRequest: 431 for a longer one; 400 for one that has no end, or is something
        else.
    """
    if data.startswith(_PROXY_HEADERS):
        reason = "This is a PROXY header; the listener takes none without proxy_protocol = yes."
        raise BadRequest(400, reason)
    # RFC 9112 section 2.2: an empty line may stand before the request.
    end = data.find(b"\r\n\r\n", 2 if data.startswith(b"\r\n") else 0) + 4
    if end > limit or (end == 3 and len(data) > limit):
        raise BadRequest(431, f"The request's head is over {limit} bytes; send less.")
    if end == 3 and _BARE_LF.search(data):
        raise BadRequest(400, "A line ends with LF alone; end lines with CR LF.")
    return 0 if end == 3 else end
