"""Addresses as guards see them: what is one client."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from wsrelay.wire.address import parse_address

__all__ = ["Address", "address_of", "key_of"]

Address = IPv4Address | IPv6Address


def address_of(text: str) -> Address | None:
    """
    Return a client's address, as `wsrelay.wire.address.client_address` tells it.

    IPv4 that is mapped into IPv6 is IPv4.  None: it has none, it came through a unix socket.
    """
    return parse_address(text) if text else None


def key_of(address: Address, ipv6_prefix: int) -> bytes:
    """
    Return what all addresses of one client share: of IPv6 so many bits, of IPv4 all.

    A household or a rented machine has a whole IPv6 network, mostly 64 bits of it, so that
    counting single addresses there would count nothing.

    :param ipv6_prefix: 1 to 128.
    """
    if isinstance(address, IPv4Address):
        return address.packed
    others = 128 - ipv6_prefix
    number = int(address) >> others << others
    # The length is part of it: a reload may change it, and then nothing must be mixed up.
    return number.to_bytes(16, "big") + bytes((ipv6_prefix,))
