"""Certificates and keys in PEM files; whatever is wrong with one is said in whole words."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL.crypto import PKey

from wsrelay.relay.root_files import read_by_root

__all__ = ["certificates_in", "key_in", "to_pkey"]


def certificates_in(path: Path) -> list[Certificate]:
    """
    Read all certificates of a file, at least one; anything else in it is passed over.

    :raises ValueError: it cannot be read, or holds none.
    """
    data = _read(path)
    try:
        return load_pem_x509_certificates(data)
    except ValueError as error:
        raise ValueError(f"{path} holds no certificate in PEM form") from error


def key_in(path: Path, otherwise: str = "name the file with key") -> Any:
    """
    Read the private key of a file.

    :param otherwise: what to do if there is none, for the operator.
    :raises ValueError: it cannot be read, or holds none that is in the clear.
    """
    data = _read(path)
    try:
        # OpenSSL's own programs do not look for the primes of RSA keys either: it would take
        # a quarter of a second for each of 4096 bits, at every reload.
        return load_pem_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(
            f"{path} holds no private key in PEM form without passphrase; {otherwise}"
        ) from error


def to_pkey(key: Any) -> PKey:
    """Return what pyOpenSSL wants for a key of `key_in`."""
    return PKey.from_cryptography_key(cast(Any, key))


def _read(path: Path) -> bytes:
    try:
        return read_by_root(path, Path.read_bytes)
    except PermissionError as error:  # at a reload it is the user that --uid named
        raise ValueError(f"cannot read {path} as user {_user()}: {error.strerror}") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return str(os.geteuid())
