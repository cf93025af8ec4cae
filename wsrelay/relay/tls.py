"""TLS contexts for listeners and for the way to upstreams."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Connection as TLSConnection
from OpenSSL.SSL import Error as TLSError
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from wsrelay.config.model import ListenerConfig, PoolConfig

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
    return optionsForClientTLS(
        name, trustRoot=trust, acceptableProtocols=ALPN, extraCertificateOptions=more
    )


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Opens TLS without looking at the certificate, but says whom it wants (RFC 6066 SNI)."""

    def __init__(self, options: CertificateOptions, name: str) -> None:
        self._options = options
        self._name = None if isIPAddress(name) or isIPv6Address(name) else name.encode("idna")

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
