"""Both ends of a client's connection: as the sockets have them, or a PROXY header."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from wsrelay.wire.address import client_address
from wsrelay.wire.proxy_protocol import UNKNOWN, End, Ends, encode_header

__all__ = ["ProxiedAddress", "end_of", "header_for", "name_of"]


@implementer(IAddress)
@frozen
class ProxiedAddress:
    """The address of a client that a PROXY header told of, and what it connected to."""

    source: End
    destination: End
    is_secure: bool = False


def end_of(address: object) -> End | None:
    """Return the IP address and the port in one of Twisted's addresses; None: it has none."""
    if isinstance(address, IPv4Address | IPv6Address):
        return address.host, address.port
    return address.source if isinstance(address, ProxiedAddress) else None


def header_for(
    version: str,
    client: str,
    peer: tuple[str | None, int],
    local: End | None,
    *,
    is_secure: bool = False,
) -> bytes:
    """
    Return the PROXY header for a client's connection to an upstream.

    :param version: ``v1`` or ``v2``.
    :param client: the client's address as far as proxies are trusted to know it, or "".
    :param peer: the other end of the client's connection; its port counts if it is the
        client itself, else none is known.
    :param local: what the client connected to; None on a unix socket, in whose place the
        address that stands for none is written.
    :param is_secure: whether the client speaks TLS; v2 can say that.
    """
    if not client:
        return encode_header(version, UNKNOWN)
    source = client, peer[1] if client_address(peer[0], (), ())[0] == client else 0
    nowhere = "::" if ":" in client else "0.0.0.0", 0
    return encode_header(version, Ends(source, local or nowhere, is_secure))


def name_of(address: str | None, port: int) -> str:
    """Return what a log calls the other end of a connection: ``address:port``."""
    if address is None:
        return "unix:"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
