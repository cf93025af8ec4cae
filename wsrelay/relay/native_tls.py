"""
What the native pump needs of a TLS connection that Twisted opened.

Twisted's TLS lets OpenSSL read and write memory, and moves the bytes itself.  The pump does
the same in C, with OpenSSL's functions as cryptography's bindings have them, so nothing has
to be linked a second time.  pyOpenSSL keeps the objects in attributes that are not public:
where one is missing, the connection stays with the Python pump.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from attrs import frozen
from OpenSSL.SSL import OP_NO_RENEGOTIATION
from twisted.protocols.tls import TLSMemoryBIOProtocol

try:
    from cryptography.hazmat.bindings._rust import _openssl
except ImportError:
    _openssl: Any = None  # type: ignore[no-redef]

FUNCTIONS: Final = (
    "SSL_read",
    "SSL_write",
    "SSL_get_error",
    "SSL_shutdown",
    "BIO_read",
    "BIO_write",
    "ERR_clear_error",
)
"""In the order of ``struct tls_functions``."""


@frozen
class TLSObjects:
    """Addresses of OpenSSL's objects, good as long as *connection* lives."""

    connection: Any  # pyOpenSSL's
    ssl: int
    into: int
    out: int


def tls_objects(transport: TLSMemoryBIOProtocol) -> TLSObjects | None:
    """Return what a connection consists of; None if it is not idle, or not as expected."""
    try:
        connection = transport._tlsConnection
        unwritten = transport._appSendBuffer or getattr(transport._aggregator, "_buffer", None)
        pointers = connection._ssl, connection._into_ssl, connection._from_ssl
    except AttributeError:
        return None
    if unwritten or not transport._handshakeDone or None in pointers or not functions():
        return None
    _openssl.lib.SSL_set_options(connection._ssl, OP_NO_RENEGOTIATION)
    return TLSObjects(connection, *map(_address, pointers))


@cache
def functions() -> tuple[int, ...]:
    """Return the addresses of `FUNCTIONS`; empty if one of them is not to be had."""
    try:
        found = [_openssl.ffi.addressof(_openssl.lib, name) for name in FUNCTIONS]
    except (AttributeError, TypeError):
        return ()
    return tuple(map(_address, found))


def _address(pointer: Any) -> int:
    return int(_openssl.ffi.cast("uintptr_t", pointer))
