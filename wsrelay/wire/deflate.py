"""
permessage-deflate where the relay itself compresses (RFC 7692 section 7): who agrees on what.

Each leg has parameters of its own.  What is offered and chosen here keeps the memory of a
session small: see `WINDOW_BITS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from wsrelay.wire.headers import Headers
from wsrelay.wire.response import BadResponse

__all__ = ["MOST_BITS", "NAME", "OFFER", "WINDOW_BITS", "Deflate", "agreed_with", "choose"]

NAME: Final = "permessage-deflate"

OFFER: Final = b"permessage-deflate; client_max_window_bits"
"""
What an upstream is offered.

Not ``server_max_window_bits``: an upstream that cannot shrink its window has to decline all of
it then, and some say yes and do not.
"""

WINDOW_BITS: Final = 12
"""
Bits of the windows that the relay compresses with, and asks clients to compress with.

A window of 4 KiB makes short messages hardly longer than one of 32 KiB does, and takes an
eighth of the memory, which every session pays for as long as it lives.
"""

MOST_BITS: Final = 15
"""Bits of a window of which nothing is said."""

_VALUE: Final = re.compile(rb'"?([89]|1[0-5])"?')
_FLAGS: Final = (b"server_no_context_takeover", b"client_no_context_takeover")
_SERVER_BITS, _CLIENT_BITS = b"server_max_window_bits", b"client_max_window_bits"

Parameters = dict[bytes, int | None]


@frozen
class Deflate:
    """What both ends of one leg have agreed on."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_bits: int = MOST_BITS
    """Of the window that the server compresses with: the relay, or the upstream."""
    client_bits: int = MOST_BITS
    """Of the window that the client compresses with: it, or the relay."""


def choose(headers: Headers) -> tuple[Deflate, bytes] | None:
    """
    Choose the first of a client's offers that is one.

    One with an unknown, repeated or bad parameter is declined (RFC 7692 section 7.1).

    :param headers: of a request that `check_handshake` accepted.
    :returns: what is agreed on then, and the Sec-WebSocket-Extensions that says so; None:
        there is no compression.
    """
    for parameters in _elements(headers):
        if parameters is not None and parameters.get(_SERVER_BITS, MOST_BITS) is not None:
            return _accept(parameters)
    return None


def _accept(offer: Parameters) -> tuple[Deflate, bytes]:
    words = [NAME.encode(), *(flag for flag in _FLAGS if flag in offer)]
    server_bits, client_bits = WINDOW_BITS, MOST_BITS
    if _SERVER_BITS in offer:
        server_bits = min(WINDOW_BITS, offer[_SERVER_BITS] or MOST_BITS)
        words.append(b"%b=%d" % (_SERVER_BITS, server_bits))
    if _CLIENT_BITS in offer:
        # A value is a hint only, but some clients will not be told more than they said.
        client_bits = min(WINDOW_BITS, offer[_CLIENT_BITS] or MOST_BITS)
        words.append(b"%b=%d" % (_CLIENT_BITS, client_bits))
    no_server, no_client = (flag in offer for flag in _FLAGS)
    return Deflate(no_server, no_client, server_bits, client_bits), b"; ".join(words)


def agreed_with(headers: Headers) -> Deflate | None:
    """
    Return what an upstream made of `OFFER`; None: it does not compress.

    :param headers: of a response that `check_switching` accepted.
    :raises BadResponse: a parameter is unknown, bad, or there more than once.
    """
    answers = list(_elements(headers))
    if not answers:
        return None
    parameters = answers[0]
    if parameters is None or None in (
        parameters.get(_SERVER_BITS, 0),
        parameters.get(_CLIENT_BITS, 0),
    ):
        raise BadResponse("The 101's Sec-WebSocket-Extensions has bad parameters.")
    client_bits = min(WINDOW_BITS, parameters.get(_CLIENT_BITS) or MOST_BITS)
    no_server, no_client = (flag in parameters for flag in _FLAGS)
    return Deflate(no_server, no_client, parameters.get(_SERVER_BITS) or MOST_BITS, client_bits)


def _elements(headers: Headers) -> Iterator[Parameters | None]:
    """Yield the parameters of each permessage-deflate; None for bad ones."""
    # The grammar was checked: a value in quotes holds neither comma nor semicolon.
    for element in b",".join(headers.values(b"sec-websocket-extensions")).split(b","):
        name, *parameters = element.split(b";")
        if name.strip(b" \t").lower() == NAME.encode():
            yield _parameters(parameters)


def _parameters(parts: list[bytes]) -> Parameters | None:
    parameters: Parameters = {}
    for part in parts:
        name, is_valued, text = (each.strip(b" \t") for each in part.partition(b"="))
        name = name.lower()
        value = _VALUE.fullmatch(text)
        if name in parameters or name not in (*_FLAGS, _SERVER_BITS, _CLIENT_BITS):
            return None
        if is_valued and (value is None or name in _FLAGS):
            return None
        parameters[name] = int(value[1]) if value is not None else None
    return parameters
