"""The certificates of a listener: where they are, whose they are, and which one a client gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import field, frozen
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    NameOID,
    SubjectAlternativeName,
)

from wsrelay.relay.pem import certificates_in, key_in
from wsrelay.relay.root_files import read_by_root

__all__ = ["Identity", "find", "names_and_notes", "read_directory", "read_identity"]

CERTBOT: Final = ("fullchain.pem", "privkey.pem")
"""How certbot calls a certificate with its chain, and the key."""

T = TypeVar("T")


@frozen
class Identity:
    """
    A certificate with its chain and its key.

    :ivar label: what the log calls it: its file, in a directory without that, or the folder
        that certbot made for it.
    :ivar chain: the certificate first.
    :ivar names: what SNI chooses it by, in lower case; a wildcard begins with ``*.``.
    """

    label: str
    chain: tuple[Certificate, ...]
    key: Any = field(repr=False, eq=False)  # it belongs to the certificate, which is compared
    names: tuple[str, ...]

    @property
    def certificate(self) -> Certificate:
        """The certificate itself."""
        return self.chain[0]


def read_identity(
    label: str, certificate: Path, key: Path, otherwise: str = "name the file with key"
) -> Identity:
    """
    Read a certificate and its key, which may be in the same file.

    :param otherwise: see `key_in`.
    :raises ValueError: they cannot be read or used; the text says which and why.
    """
    chain = certificates_in(certificate)
    private = key_in(key, otherwise)
    try:
        belongs = chain[0].public_key() == private.public_key()
    except Exception as error:  # ValueError and others come from the parser
        raise ValueError(f"the key in {certificate} is not understood: {error}") from error
    if not belongs:
        raise ValueError(f"the key {key} does not belong to the certificate in {certificate}")
    return Identity(label, tuple(chain), private, _names_of(chain[0], certificate))


def _names_of(certificate: Certificate, path: Path) -> tuple[str, ...]:
    """Return the hosts that a certificate is for; a common name counts if there is nothing else."""
    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
        names = found.value.get_values_for_type(DNSName)
    except ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [each.value for each in common if isinstance(each.value, str)]
    except ValueError as error:
        raise ValueError(f"the names in {path} are not understood: {error}") from error
    return tuple(dict.fromkeys(map(_plain, names)))


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


# a directory


def read_directory(folder: Path) -> list[Identity]:
    """
    Read all certificates of a directory, by file name.

    :raises ValueError: one cannot be read or used, or there is none; the text says why.
    """
    try:
        found = read_by_root(folder, _files_in)
    except OSError as error:
        raise ValueError(f"cannot read the directory {folder}: {error.strerror}") from error
    if not found:
        raise ValueError(
            f"{folder} holds no certificates; put *.pem files there, each with a certificate,"
            " its chain and its key, or *.crt with *.key"
        )
    return [
        read_identity(label, certificate, key, f"put it there, or into {certificate.stem}.key")
        for label, certificate, key in found
    ]


def _files_in(folder: Path) -> list[tuple[str, Path, Path]]:
    return sorted(_each_file_in(folder))


def _each_file_in(folder: Path) -> Iterable[tuple[str, Path, Path]]:
    """Yield the label, the certificate and the key of each; what has a dot in front is hidden."""
    certificate, key = (folder / name for name in CERTBOT)
    if certificate.exists() and key.exists():  # it is one of certbot's itself
        yield folder.name, certificate, key
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        beside = path.with_suffix(".key")
        if path.is_dir():
            certificate, key = (path / name for name in CERTBOT)
            if certificate.exists():
                yield path.name, certificate, key
        elif path.suffix in (".pem", ".crt"):
            yield path.name, path, beside if beside.exists() else path


# who gets which


def find(name: str, known: Mapping[str, T]) -> T | None:
    """
    Find what is for a host: under its very name, or under a wildcard in place of one label.

    :param name: as the client said it (RFC 6066 section 3).
    :param known: under the names of `Identity`.
    """
    name = _plain(name)
    exact = known.get(name)
    return exact if exact is not None else known.get("*." + name.partition(".")[2])


def names_and_notes(
    identities: Iterable[Identity], default: Identity, now: datetime
) -> tuple[dict[str, Identity], list[str]]:
    """
    Say which certificate each name gets; of several the one that is valid longest.

    :param default: the one for all other names.
    :returns: that, and what an operator should know about them, a sentence each.
    """
    table: dict[str, Identity] = {}
    twice: dict[tuple[str, str], list[str]] = {}
    notes = []
    for identity in identities:
        for name in identity.names:
            winner = other = table.setdefault(name, identity)
            if other is identity:
                continue
            if _validity(identity) > _validity(other):
                winner, other = identity, other
                table[name] = winner
            else:
                other = identity
            twice.setdefault((winner.label, other.label), []).append(name)
        notes += _notes_on(identity, default, now)
    notes += [
        f"{', '.join(names)}: {winner} is used, not {loser}, which is not valid for longer"
        for (winner, loser), names in twice.items()
    ]
    return table, notes


def _validity(identity: Identity) -> tuple[datetime, datetime]:
    certificate = identity.certificate
    return certificate.not_valid_after_utc, certificate.not_valid_before_utc


def _notes_on(identity: Identity, default: Identity, now: datetime) -> list[str]:
    end, begin = _validity(identity)
    notes = []
    if end < now:
        notes.append(f"the certificate of {identity.label} expired on {end:%Y-%m-%d}")
    if begin > now:
        notes.append(f"the certificate of {identity.label} is valid from {begin:%Y-%m-%d} on only")
    if not identity.names and identity is not default:
        notes.append(f"the certificate of {identity.label} names no host, so nobody gets it")
    return notes
