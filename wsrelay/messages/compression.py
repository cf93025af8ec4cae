"""What each leg of a session with ``mode = messages`` compresses, as its route says."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from wsrelay.config.model import RouteConfig
from wsrelay.wire.deflate import NAME, OFFER, Deflate, agreed_with, choose
from wsrelay.wire.headers import Headers


@frozen
class Compression:
    """
    What was agreed on with either peer; None: that leg is not compressed.

    *answer* is the Sec-WebSocket-Extensions for the client, empty for none.
    """

    client: Deflate | None = None
    upstream: Deflate | None = None
    answer: bytes = b""


UNCOMPRESSED: Final = Compression()


def offer_of(route: RouteConfig) -> bytes | None:
    """
    Return the Sec-WebSocket-Extensions for an upstream, empty for none.

    None: the client's own, because the two agree end to end.
    """
    if route.mode == "frames":
        return None
    return OFFER if route.compression in ("upstream", "both") else b""


def names_in(offer: bytes) -> tuple[str, ...]:
    """Return the names of the extensions that an upstream was offered, see `offer_of`."""
    return (NAME,) if offer else ()


def agree(route: RouteConfig, request: Headers, response: Headers) -> Compression:
    """
    Agree with both peers, when the upstream has answered.

    :raises BadResponse: the upstream's answer has bad parameters.
    """
    upstream = agreed_with(response)
    chosen = choose(request) if route.compression in ("client", "both") else None
    client, answer = (None, b"") if chosen is None else chosen
    return Compression(client, upstream, answer)
