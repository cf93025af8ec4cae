"""Sec-WebSocket-Extensions: offers and answers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tests.fuzz.texts import check_said
from wsrelay.wire.deflate import MOST_BITS, NAME, Deflate, agreed_with, choose
from wsrelay.wire.headers import FieldError, Headers, extension_names
from wsrelay.wire.response import BadResponse

FIELD = b"Sec-WebSocket-Extensions"


def extensions(data: bytes) -> None:
    """Read *data*, a value a line, as a client's offer and as an upstream's answer."""
    headers = headers_of(*data.split(b"\n"))
    try:
        names = extension_names(headers)
    except FieldError as error:
        check_said(error)
        return
    assert list(names) == list(plain_names(b",".join(headers.values(FIELD.lower()))))
    check_choice(headers, names)
    check_answer(headers, names)


def headers_of(*values: bytes) -> Headers:
    return Headers(tuple((FIELD, value) for value in values))


def plain_names(text: bytes) -> Iterator[str]:
    """Yield the names, read one character after the other."""
    quoted, escaped, element = False, False, b""
    for byte in [*text, ord(",")]:
        if byte == ord(",") and not quoted:
            name = element.partition(b";")[0].strip(b" \t")
            if name:
                yield name.decode("ascii").lower()
            element = b""
            continue
        element += bytes([byte])
        quoted ^= byte == ord('"') and not escaped
        escaped = byte == ord("\\") and quoted and not escaped


def check_choice(headers: Headers, names: tuple[str, ...]) -> None:
    """What a client is answered is one of its offers, and is understood as it is meant."""
    choice = choose(headers)
    if choice is None:
        return
    assert NAME in names
    agreed, answer = choice
    assert extension_names(headers_of(answer)) == (NAME,)
    check_windows(agreed)
    # The relay itself asks upstreams for smaller windows than it takes from them.
    understood = agreed_with(headers_of(answer))
    assert understood is not None
    assert understood.server_no_context_takeover == agreed.server_no_context_takeover
    assert understood.client_no_context_takeover == agreed.client_no_context_takeover
    assert understood.server_bits >= agreed.server_bits
    assert understood.client_bits <= agreed.client_bits


def check_answer(headers: Headers, names: tuple[str, ...]) -> None:
    try:
        agreed = agreed_with(headers)
    except BadResponse as error:
        check_said(error.reason)
        return
    assert (agreed is None) == (NAME not in names)
    if agreed is not None:
        check_windows(agreed)


def check_windows(agreed: Deflate) -> None:
    """zlib takes these windows for raw deflate; it takes 8 bits to inflate only."""
    for bits in (agreed.server_bits, agreed.client_bits):
        assert 8 <= bits <= MOST_BITS
        zlib.decompressobj(-bits)
