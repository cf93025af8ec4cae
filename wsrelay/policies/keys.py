"""The keys that tokens are checked with, and which algorithms each may be used with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any, Final

import jwt
from attrs import evolve, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

__all__ = ["ALGORITHMS", "Key", "from_jwks", "from_pem", "from_secret", "only"]

_HMAC: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithm -> the fewest bytes of a secret, RFC 7518 section 3.2."""

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final[Mapping[str, str]] = {
    "secp256r1": "ES256",
    "secp384r1": "ES384",
    "secp521r1": "ES512",
    "secp256k1": "ES256K",
}
ALGORITHMS: Final = (*_HMAC, *_RSA, *_CURVES.values(), "EdDSA")

RSA_BITS: Final = 2048
"""The fewest, RFC 7518 section 3.3."""

MOST: Final = 100
"""Keys of a set that are looked at."""

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
"""Members of an asymmetric key that nobody needs who only checks."""


@frozen
class Key:
    """
    A key, and what it may be used for.

    The algorithm that a token names must be among its ``algorithms``, which its kind decides:
    a public key is never taken for a secret.
    """

    key: Any = field(repr=False)
    algorithms: frozenset[str]
    kid: str | None = None


Keys = tuple[Key, ...]


def from_secret(content: bytes) -> Keys:
    """
    Make the key of a file with a secret; the line's end at the end is no part of it.

    :raises ValueError: it is too short to be one, or is something else.
    """
    if b"-----BEGIN" in content:
        raise ValueError("holds a key in PEM form, which is no secret; say key_file")
    secret = content.rstrip(b"\r\n")
    return (Key(secret, _algorithms_of(secret)),)


def from_pem(content: bytes) -> Keys:
    """
    Make the key of a file with a public key or a certificate.

    :raises ValueError: it holds none, or one that cannot be used.
    """
    if b"PRIVATE KEY-----" in content:
        raise ValueError(
            "holds a private key, which is only the issuer's; give the public one,"
            " from: openssl pkey -in PRIVATE -pubout"
        )
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            key: Any = load_pem_x509_certificate(content).public_key()
        else:
            key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("holds no public key in PEM form") from error
    return (Key(key, _algorithms_of(key)),)


def from_jwks(content: bytes, *, secrets: bool) -> Keys:
    """
    Make the keys of a JSON Web Key Set (RFC 7517); those that cannot be used are left out.

    :param secrets: whether symmetric keys are used, which only a file should hold.
    :raises ValueError: it is no set, or none of its keys can be used.
    """
    try:
        members = json.loads(content)["keys"]
        found = [_from_jwk(each, secrets) for each in members[:MOST]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError('is no JSON Web Key Set; expected {"keys": [...]}') from None
    keys = tuple(key for key in found if key is not None)
    if not keys:
        raise ValueError("has no key that tokens could be checked with")
    return keys


def only(make: Callable[[bytes], Keys], algorithms: Sequence[str]) -> Callable[[bytes], Keys]:
    """
    Return *make* for keys of these *algorithms* only; none: of all that are safe.

    The returned function raises ValueError if no key is left.
    """

    def make_some(content: bytes) -> Keys:
        keys = make(content)
        if not algorithms:
            return keys
        some = [evolve(key, algorithms=key.algorithms & set(algorithms)) for key in keys]
        if not any(key.algorithms for key in some):
            could = sorted(set().union(*(key.algorithms for key in keys)))
            raise ValueError(f"has no key for {','.join(algorithms)}, but for {','.join(could)}")
        return tuple(key for key in some if key.algorithms)

    return make_some


def _from_jwk(member: Any, secrets: bool) -> Key | None:
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    if "verify" not in member.get("key_ops", ["verify"]):
        return None
    is_secret = member.get("kty") == "oct"
    if is_secret and not secrets:
        return None
    public = {name: value for name, value in member.items() if name not in _PRIVATE}
    try:
        # PyJWT knows Ed448, but not that only EdDSA goes with it.
        key = jwt.PyJWK(public, "EdDSA" if member.get("kty") == "OKP" else None).key
        algorithms = _algorithms_of(key)
    except Exception:  # parsers raise all sorts of things, and the other keys are still good
        return None
    named = member.get("alg")
    algorithms &= {named} if named is not None else algorithms
    kid = member.get("kid")
    return Key(key, algorithms, kid if isinstance(kid, str) else None) if algorithms else None


@singledispatch
def _algorithms_of(key: Any) -> frozenset[str]:
    """Return what a key of this kind may be used with; ValueError: nothing."""
    raise ValueError(f"holds a {type(key).__name__}, which signs no tokens")


@_algorithms_of.register
def _of_secret(key: bytes) -> frozenset[str]:
    found = frozenset(name for name, least in _HMAC.items() if len(key) >= least)
    if not found:
        raise ValueError(
            f"holds a secret of {len(key)} bytes; HS256 needs {_HMAC['HS256']},"
            " HS384 48 and HS512 64: openssl rand -hex 32"
        )
    return found


@_algorithms_of.register
def _of_rsa(key: RSAPublicKey) -> frozenset[str]:
    if key.key_size < RSA_BITS:
        raise ValueError(f"holds an RSA key of {key.key_size} bits; {RSA_BITS} are the fewest")
    return frozenset(_RSA)


@_algorithms_of.register
def _of_curve(key: EllipticCurvePublicKey) -> frozenset[str]:
    if key.curve.name not in _CURVES:
        raise ValueError(f"holds a key of the curve {key.curve.name}, which signs no tokens")
    return frozenset({_CURVES[key.curve.name]})


@_algorithms_of.register(Ed25519PublicKey)
@_algorithms_of.register(Ed448PublicKey)
def _of_edwards(key: Any) -> frozenset[str]:
    return frozenset({"EdDSA"})
