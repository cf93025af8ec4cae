"""Whose a client's certificate is, as text for a header."""

from __future__ import annotations

import re
from typing import Final

from cryptography.x509 import Name, NameOID

__all__ = ["subject_text"]

_SHORT: Final = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GIVEN_NAME: "GN",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
}
"""What OpenSSL, and so nginx, calls attributes for which RFC 4514 has no name, or another."""

_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")


def subject_text(name: Name) -> bytes:
    r"""
    Write a distinguished name as RFC 4514 says: ``CN=Ann,O=Example``, the last part first.

    All but printable ASCII is escaped, so that it can stand in a header (RFC 4514 section
    2.4): ``CN=J\C3\B6rg``.

    :raises ValueError: the name is not understood.
    """
    return _NOT_PRINTABLE.sub(_escaped, name.rfc4514_string(_SHORT)).encode("ascii")


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\\{byte:02X}" for byte in match[0].encode("utf-8"))
