"""TLS contexts for listeners and for the way to upstreams."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER
from OpenSSL.SSL import Connection as TLSConnection
from OpenSSL.SSL import Error as TLSError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.config.model import ListenerConfig, PoolConfig
from wsrelay.relay.identity import check_identity, is_address

ALPN = [b"http/1.1"]
"""Websockets over HTTP/2 (RFC 8441) are not spoken; saying so makes clients choose 1.1."""

_MINIMUM = {"1.2": TLSVersion.TLSv1_2, "1.3": TLSVersion.TLSv1_3}


def listener_tls(certificate: Path, key: Path, min_tls: str) -> CertificateOptions:
    """
    Make the context of a TLS listener.

    :param certificate: a PEM file: the certificate, then its chain.
    :param key: a PEM file with the private key; may be the same file.
    :raises ValueError: a file cannot be read or used; the text says which and why.
    """
    first, *chain = _certificates(certificate)
    options = CertificateOptions(
        privateKey=_key(key),
        certificate=first,
        extraCertChain=chain,
        raiseMinimumTo=_MINIMUM[min_tls],
        enableSessions=True,
        enableSessionTickets=True,
        acceptableProtocols=ALPN,
    )
    try:
        options.getContext().check_privatekey()
    except TLSError as error:
        raise ValueError(f"the key {key} does not belong to the certificate") from error
    return options


def listener_context(config: ListenerConfig) -> CertificateOptions | None:
    """Make the context that *config* asks for, or None for a plain listener."""
    if config.certificate is None or config.key is None:
        return None
    return listener_tls(config.certificate, config.key, config.min_tls)


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
        key = _key(pool.tls_key or pool.tls_certificate)
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def _certificates(path: Path) -> list[X509]:
    data = _read(path)
    try:
        return [X509.from_cryptography(each) for each in load_pem_x509_certificates(data)]
    except ValueError as error:
        raise ValueError(f"{path} holds no certificate in PEM form") from error


def _key(path: Path) -> PKey:
    data = _read(path)
    try:
        return PKey.from_cryptography_key(cast(Any, load_pem_private_key(data, password=None)))
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(
            f"{path} holds no private key in PEM form without passphrase; name the file with key"
        ) from error
