"""Certificates for one test run: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAY = datetime.timedelta(days=1)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@frozen
class KeyPair:
    """A certificate and its key, both in PEM files."""

    certificate: Path
    key: Path


@frozen
class Authority:
    """
    A certificate authority of its own.

    :ivar directory: where its files are written.
    :ivar name: its common name and the begin of its files' names.
    """

    directory: Path
    name: str = "authority"
    _key: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), init=False
    )

    def certificate(self) -> Path:
        """Write the authority's own certificate and return its path."""
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = _builder(_common_name(self.name), self.name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(usage, True)
        return self._write(f"{self.name}.pem", builder)

    def issue(self, name: str) -> KeyPair:
        """Issue a certificate for a host *name* or an IP address."""
        return self.issue_with(name, x509.SubjectAlternativeName([_general_name(name)]))

    def issue_with(self, name: str, *extensions: x509.ExtensionType) -> KeyPair:
        """Issue a certificate with the common *name* and these *extensions*, right or wrong."""
        return self.issue_to(_common_name(name), *extensions, stem=f"{self.name}-{name}")

    def issue_for(
        self,
        *names: str,
        stem: str,
        until: datetime.timedelta = DAY,
        key: PrivateKey | None = None,
    ) -> KeyPair:
        """Issue a certificate for several hosts, in *stem*.pem, which is good *until* then."""
        san = x509.SubjectAlternativeName([_general_name(name) for name in names])
        return self.issue_to(_common_name(stem), san, stem=stem, until=until, key=key)

    def issue_to(
        self,
        subject: x509.Name,
        *extensions: x509.ExtensionType,
        stem: str,
        until: datetime.timedelta = DAY,
        key: PrivateKey | None = None,
    ) -> KeyPair:
        """Issue a certificate to somebody with any name, in *stem*.pem."""
        private = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, self.name, private.public_key(), until)
        for extension in extensions:
            builder = builder.add_extension(extension, False)
        pem = self._write(f"{stem}.pem", builder)
        return KeyPair(pem, self._write_key(f"{stem}.key", private))

    def issue_itself(self, *names: str) -> KeyPair:
        """Issue a certificate for these hosts or addresses that its own key has signed."""
        builder = _builder(_common_name(self.name), self.name, self._key.public_key())
        if names:
            san = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(san, False)
        stem = f"{self.name}-itself"
        certificate = self._write(f"{stem}.pem", builder)
        return KeyPair(certificate, self._write_key(f"{stem}.key", self._key))

    def _write_key(self, file: str, key: PrivateKey) -> Path:
        path = self.directory / file
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return path

    def _write(self, file: str, builder: x509.CertificateBuilder) -> Path:
        # Python 3.13 verifies strictly by RFC 5280, which wants both key identifiers.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, False)
        path = self.directory / file
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path


def names_of(*names: bytes) -> x509.ExtensionType:
    """Return a subjectAltName with these DNS names, whatever bytes they are (under 125 in all)."""
    inner = b"".join(b"\x82" + bytes([len(name)]) + name for name in names)
    der = b"\x30" + bytes([len(inner)]) + inner
    return x509.UnrecognizedExtension(x509.oid.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)


def _builder(
    subject: x509.Name, issuer: str, key: PublicKey, until: datetime.timedelta = DAY
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_common_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * DAY)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
