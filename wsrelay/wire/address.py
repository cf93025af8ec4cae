"""Who the client is, behind proxies that are trusted to say so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final, Literal

__all__ = ["UNIX", "client_address", "is_trusted", "parse_address", "request_id"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Trusted = Sequence[Network | Literal["unix:"]]
"""Who is believed: proxies in these networks, and `UNIX`."""

UNIX: Final = "unix:"
"""Among those who are trusted: whoever connects through a unix socket."""

_ELEMENT = re.compile(
    r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?"  # [::1] [::1]:80
    r"|([0-9.]+)(?::[0-9]{1,5})?"  # 192.0.2.1 192.0.2.1:80
    r"|([0-9A-Fa-f:.]+)"  # ::1
)
_REQUEST_ID = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,128}")


def client_address(
    peer: str | None, forwarded_for: Sequence[str], trusted: Trusted
) -> tuple[str, bytes | None]:
    """
    Tell the client's address, and the X-Forwarded-For for the upstream.

    X-Forwarded-For is read from its end, where the nearest proxy wrote, for as
    long as the one who wrote an element is trusted.  An element that is no
    address ends the walk at the proxy that wrote it.

    :param peer: the address of the connection's other end; None on a unix socket.
    :param forwarded_for: the values of the request's X-Forwarded-For, one a field.
    :param trusted: those who are believed.
    :returns: the address, and the chain.  IPv4 that is mapped into IPv6 is written as IPv4.
        A unix socket adds nothing: if nobody is told of, they are empty and None.
    """
    if peer is None and UNIX not in trusted:
        return "", None
    if peer is not None and not trusted and ":" not in peer:
        return peer, peer.encode("ascii")  # nothing to decide, and written as it should be
    address = None if peer is None else parse_address(peer)
    written = "" if address is None else str(address)
    if address is not None and not _is_in(address, trusted):
        return written, written.encode("ascii")
    chain = ", ".join([value for value in (*forwarded_for, written) if value])
    for element in reversed(",".join(forwarded_for).split(",")):
        before = _element_address(element.strip(" \t"))
        if before is None:
            break
        address = before
        if not _is_in(address, trusted):
            break
    return str(address or ""), chain.encode("latin-1") or None


def is_trusted(peer: str | None, trusted: Trusted) -> bool:
    """Return whether *peer* is one of those who are *trusted*; None is on a unix socket."""
    if peer is None:
        return UNIX in trusted
    return bool(trusted) and _is_in(parse_address(peer), trusted)


def request_id(value: str, new: str) -> str:
    """
    Return the request's id: *value* if it is fit to be one, else *new*.

    :param value: the client's X-Request-ID.  Kept if it is 1 to 128 visible
        ASCII characters without comma.
    """
    return value if value and _REQUEST_ID.fullmatch(value) else new


def parse_address(text: str) -> Address:
    """
    Parse a peer's address; IPv4 that is mapped into IPv6 becomes IPv4.

    :raises ValueError: it is none.
    """
    # The zone of a link-local address means nothing to anybody else.
    return _unmapped(ip_address(text.partition("%")[0]))


def _element_address(element: str) -> Address | None:
    match = _ELEMENT.fullmatch(element)
    if match is None:
        return None
    try:
        return _unmapped(ip_address(match[match.lastindex or 0]))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _is_in(address: Address, trusted: Trusted) -> bool:
    return any(address in each for each in trusted if not isinstance(each, str))
