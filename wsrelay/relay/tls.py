"""TLS on the way to upstreams."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from OpenSSL.crypto import X509
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER
from OpenSSL.SSL import Connection as TLSConnection
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.config.model import PoolConfig
from wsrelay.relay.identity import check_identity, is_address
from wsrelay.relay.pem import certificates_in, key_in, to_pkey

ALPN = [b"http/1.1"]
"""Websockets over HTTP/2 (RFC 8441) are not spoken; saying so makes clients choose 1.1."""


def upstream_tls(pool: PoolConfig, host: str) -> Any:
    """
    Make what opens TLS to an upstream (``IOpenSSLClientConnectionCreator``).

    Its certificate must be valid for ``tls_name``, or else for *host* (RFC 6125, by
    service-identity), and come from ``tls_ca`` or the system's authorities, unless
    ``tls_verify = no``.

    :raises ValueError: a file cannot be read or used; the text says which and why.
    """
    name = pool.tls_name or host
    more: dict[str, Any] = {}
    if pool.tls_certificate is not None:
        first, *chain = _certificates(pool.tls_certificate)
        key = to_pkey(key_in(pool.tls_key or pool.tls_certificate))
        more.update(privateKey=key, certificate=first, extraCertChain=chain)
    if not pool.tls_verify:
        options = CertificateOptions(verify=False, acceptableProtocols=ALPN, **more)
        return _Unverified(options, name)
    trust: Any = platformTrust()
    if pool.tls_ca is not None:
        authorities = [Certificate(each) for each in _certificates(pool.tls_ca)]
        trust = trustRootFromCertificates(authorities)
    creator = optionsForClientTLS(
        name, trustRoot=trust, acceptableProtocols=ALPN, extraCertificateOptions=more
    )
    return _Verified(creator, name)


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class _Verified:
    """
    Opens TLS as Twisted does, but refuses a certificate that is not understood, too.

    Twisted, from 26.4 to 26.10 at least, refuses a certificate that is for another host.  Any
    other error, as of one that has no subjectAltName, or a name in it that is none, it logs
    with a traceback, and accepts the certificate for every host.  So the callback that it
    gives to OpenSSL is replaced.
    """

    creator: Any
    name: str

    def clientConnectionForTLS(  # noqa: N802  called by Twisted
        self, protocol: TLSMemoryBIOProtocol
    ) -> TLSConnection:
        """Make the connection; Twisted calls this once for each."""
        connection: TLSConnection = self.creator.clientConnectionForTLS(protocol)
        verify = partial(self._is_good, protocol)
        connection.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection

    def _is_good(
        self,
        protocol: TLSMemoryBIOProtocol,
        _connection: TLSConnection,
        certificate: X509,
        _error: int,
        depth: int,
        is_good: int,
    ) -> bool:
        """
        Judge one certificate of the chain; what it returns False for ends the handshake.

        OpenSSL asks before it answers the certificate, so nothing that was written is sent.

        :param depth: 0 for the upstream's own, the last one that is asked about.
        :param is_good: what OpenSSL says itself.
        """
        if not is_good or depth > 0:
            return bool(is_good)
        try:
            check_identity(certificate.to_cryptography(), self.name)
        except Exception:  # whatever it is, nothing was proved
            protocol.failVerification(Failure())
            return False
        return True


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Opens TLS without looking at the certificate, but says whom it wants (RFC 6066 SNI)."""

    def __init__(self, options: CertificateOptions, name: str) -> None:
        self._options = options
        self._name = None if is_address(name) else name.encode("idna")

    def clientConnectionForTLS(self, protocol: Any) -> TLSConnection:  # noqa: N802
        """Make the connection; Twisted calls this once for each."""
        connection = self._options.clientConnectionForTLS(protocol)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


def _certificates(path: Path) -> list[X509]:
    return [X509.from_cryptography(each) for each in certificates_in(path)]
