"""Whether an upstream's certificate is for the host that was asked for."""

from __future__ import annotations

from typing import Final

from cryptography.x509 import Certificate
from service_identity import VerificationError
from service_identity.cryptography import (
    extract_patterns,
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address

__all__ = ["BadCertificate", "check_identity", "is_address"]

LONGEST: Final = 200
"""Characters of what cannot be understood that are shown: a certificate may hold anything."""


class BadCertificate(Exception):  # noqa: N818  it is the certificate that is wrong
    """A certificate does not prove who the upstream is; the text, for an operator, says why."""


def is_address(name: str) -> bool:
    """Tell whether *name* is an IP address, which TLS treats otherwise than a host's name."""
    return isIPAddress(name) or isIPv6Address(name)


def check_identity(certificate: Certificate, name: str) -> None:
    """
    Check that a certificate is for *name* (RFC 6125), a host's or an IP address.

    Who signed it, and whether it is valid now, is not looked at.

    :raises BadCertificate: it is not, or nobody can tell.
    """
    verify = verify_certificate_ip_address if is_address(name) else verify_certificate_hostname
    try:
        names = extract_patterns(certificate)
        if names:
            verify(certificate, name)
    except VerificationError as error:
        raise BadCertificate(
            "its certificate is for another host; tls_name says which to expect"
        ) from error
    except Exception as error:  # ValueError and others come from the parser
        fault = str(error)[:LONGEST].rstrip(".")
        raise BadCertificate(f"its certificate is not understood: {fault}") from error
    if not names:
        raise BadCertificate(
            "its certificate names no host: it needs a subjectAltName, a common name does not count"
        )
