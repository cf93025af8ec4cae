"""Words that inputs are made of, which no search finds by chance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wsrelay.config.table import KINDS

HEADS: Final = (
    b"\r\n\r\n HTTP/1.1\r\n HTTP/1.0\r\n GET / Host: Connection: Upgrade: websocket close "
    b"Content-Length: Transfer-Encoding: chunked Expect: 100-continue Sec-WebSocket-Key: "
    b"Sec-WebSocket-Version: Sec-WebSocket-Protocol: Sec-WebSocket-Extensions: X_Forwarded_For: "
    b"X-Forwarded-For: Content_Length: Forwarded: permessage-deflate http://h/ keep-alive TE: "
    b"Sec-WebSocket-Accept: Content-Encoding: 204 304 426 101 103"
).split(b" ")

_OPTIONS = sorted({name for kind in KINDS.values() for name in kind.options})
_VALUES = sorted({o.default for kind in KINDS.values() for o in kind.options.values() if o.default})

WORDS: Final[dict[str, Iterable[bytes]]] = {
    "request": HEADS,
    "response": HEADS,
    "ini": [
        *(f"{name} = ".encode() for name in _OPTIONS),
        *(value.encode() for value in _VALUES),
        *(f"[{kind}]\n".encode() for kind in KINDS),
        *(f"[{kind}:a]\n".encode() for kind in KINDS),
    ],
    "extensions": [
        b"permessage-deflate",
        *(b"%b_no_context_takeover" % side for side in (b"server", b"client")),
        *(b"%b_max_window_bits" % side for side in (b"server", b"client")),
    ],
    "jwt": [b'"exp":', b'"iss":"issuer"', b'"sub":', b'"roles":', b'"nbf":', b"1800000099"],
    "jwks": [b'"keys":', b'"kty":', b'"oct"', b'"k":', b'"EC"', b'"OKP"', b'"crv":', b'"P-256"'],
}
"""By target."""


def dictionary(words: Iterable[bytes]) -> str:
    """Write words as libFuzzer wants to read them."""
    return "".join(
        '"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in words if word
    )
