"""PROXY headers: each byte that comes can complete one, or break it, once."""

from __future__ import annotations

from ipaddress import ip_address

from tests.fuzz.texts import check_said
from wsrelay.wire.proxy_protocol import (
    MAX_LENGTH,
    BadHeader,
    Ends,
    encode_header,
    parse_header,
)

CLOSELY = 300
"""Bytes, up to which each begin of an input is looked at."""

BAD = object()


def proxy(data: bytes) -> None:
    """Read *data* as the begin of a connection, as if it came in pieces."""
    final = outcome(data)
    assert final is not None or len(data) < 16 + MAX_LENGTH
    sizes = [*range(min(len(data), CLOSELY)), *range(CLOSELY, len(data), 97)]
    for found, size in [(outcome(data[:size]), size) for size in sizes]:
        if isinstance(found, tuple):
            assert isinstance(final, tuple)
            assert final == (found[0], found[1] + data[size:])
        elif found is BAD:
            assert final is BAD
    if isinstance(final, tuple):
        check_ends(final[0], data, final[1])


def outcome(data: bytes) -> object:
    try:
        return parse_header(data)
    except BadHeader as error:
        check_said(error)
        return BAD


def check_ends(ends: Ends, data: bytes, rest: bytes) -> None:
    """What was read can be written, and says the same then."""
    assert data.endswith(rest)
    assert (ends.source is None) == (ends.destination is None)
    for version in ("v1", "v2"):
        written = encode_header(version, ends)
        again = parse_header(written + rest)
        assert again is not None
        assert again[1] == rest
        assert plain(again[0]) == plain(ends)
        assert again[0].is_secure == (ends.is_secure and version == "v2")


def plain(ends: Ends) -> list[object]:
    """Return both ends, IPv4 as IPv4 however it is written."""
    found: list[object] = []
    for end in (ends.source, ends.destination):
        if end is not None:
            assert 0 <= end[1] <= 65535
            address = ip_address(end[0])
            found.append((getattr(address, "ipv4_mapped", None) or address, end[1]))
    return found
