"""Keys and tokens for tests; none of them is used anywhere else."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.0


@cache
def private(kind: str) -> Any:
    """Return a private key: ``rsa``, ``rsa-1024``, ``ed25519``, ``ed448``, or of a curve."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.partition("-")[2] or 2048))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    curves = {name.lower(): curve for name, curve in vars(ec).items()}
    return ec.generate_private_key(curves[kind]())


def public_pem(kind: str) -> bytes:
    key = private(kind).public_key()
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def jwk(kind: str, *, whole: bool = False, **more: Any) -> dict[str, Any]:
    """Return a public key as a member of a set; *whole*: with its private part."""
    key = private(kind)
    algorithm: Any = ECAlgorithm
    if kind.startswith("rsa"):
        algorithm = RSAAlgorithm
    elif kind.startswith("ed"):
        algorithm = OKPAlgorithm
    found = algorithm.to_jwk(key if whole else key.public_key(), as_dict=True)
    found.pop("key_ops", None)
    return {**found, **more}


def jwks(*members: Any) -> bytes:
    return json.dumps({"keys": members}).encode()


def token(
    claims: dict[str, Any] | None = None,
    key: Any = SECRET,
    algorithm: str = "HS256",
    **head: Any,
) -> str:
    """Return a signed token, which is good for a minute unless its claims say otherwise."""
    said = {"exp": NOW + 60, **(claims or {})}
    whole = {name: value for name, value in said.items() if value is not None}
    return str(jwt.encode(whole, key, algorithm, headers=head or None))
