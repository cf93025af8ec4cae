"""Which keys are used, and for what."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.certificates import Authority
from tests.policies.samples import SECRET, jwk, jwks, private, public_pem
from wsrelay.policies.keys import ALGORITHMS, MOST, from_jwks, from_pem, from_secret, only

RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def complaint(make: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
        make(*arguments, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("length", "algorithms"),
    [
        (32, {"HS256"}),
        (47, {"HS256"}),
        (48, {"HS256", "HS384"}),
        (64, {"HS256", "HS384", "HS512"}),
        (100, {"HS256", "HS384", "HS512"}),
    ],
)
def test_a_secret_is_for_what_it_is_long_enough_for(length: int, algorithms: set[str]) -> None:
    [key] = from_secret(b"x" * length + b"\r\n")
    assert key.algorithms == algorithms
    assert key.key == b"x" * length


def test_a_short_secret_and_a_pem_file_are_refused() -> None:
    assert complaint(from_secret, b"geheim\n").startswith("holds a secret of 6 bytes; HS256 needs")
    assert "say key_file" in complaint(from_secret, public_pem("rsa"))


def test_no_key_shows_itself() -> None:
    [key] = from_secret(SECRET)
    assert SECRET.decode() not in repr(key)


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("rsa", RSA),
        ("secp256r1", {"ES256"}),
        ("secp384r1", {"ES384"}),
        ("secp521r1", {"ES512"}),
        ("secp256k1", {"ES256K"}),
        ("ed25519", {"EdDSA"}),
        ("ed448", {"EdDSA"}),
    ],
)
def test_the_kind_of_a_public_key_says_what_it_is_for(kind: str, algorithms: set[str]) -> None:
    [key] = from_pem(public_pem(kind))
    assert key.algorithms == algorithms
    [key] = from_jwks(jwks(jwk(kind, alg=sorted(algorithms)[0], kid="a")), secrets=False)
    assert (key.algorithms, key.kid) == ({sorted(algorithms)[0]}, "a")


def test_a_certificate_is_a_public_key_too(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue_for("a.test", stem="a", until=timedelta(days=1))
    [key] = from_pem(pair.certificate.read_bytes())
    assert key.algorithms == {"ES256"}
    assert "is only the issuer's" in complaint(from_pem, pair.key.read_bytes())


def test_what_is_no_public_key_is_refused() -> None:
    assert complaint(from_pem, b"nonsense") == "holds no public key in PEM form"
    assert complaint(from_pem, SECRET) == "holds no public key in PEM form"
    broken = b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
    assert complaint(from_pem, broken) == "holds no public key in PEM form"
    assert "an RSA key of 1024 bits" in complaint(from_pem, public_pem("rsa-1024"))
    assert "the curve brainpoolP256r1" in complaint(from_pem, public_pem("brainpoolp256r1"))


def test_keys_that_cannot_be_used_are_left_out() -> None:
    found = from_jwks(
        jwks(
            jwk("rsa", kid="good"),
            jwk("rsa", kid="enc", use="enc"),
            jwk("rsa", kid="ops", key_ops=["wrapKey"]),
            jwk("rsa", kid="oaep", alg="RSA-OAEP"),
            jwk("rsa", kid="none", alg="none"),
            jwk("rsa", kid="confused", alg="HS256"),
            jwk("secp256r1", kid="other-curve", alg="ES384"),
            jwk("rsa-1024", kid="short"),
            {"kty": "oct", "k": "c2hvcnQ", "kid": "short-secret"},
            {"kty": "new", "kid": "new"},
            {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "broken"},
            {"kid": "nothing"},
            "nonsense",
            jwk("ed25519", kid="also good", use="sig", key_ops=["verify"]),
        ),
        secrets=True,
    )
    assert [key.kid for key in found] == ["good", "also good"]


def test_secrets_are_used_from_files_only() -> None:
    secret = {"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "kid": "s"}
    [key] = from_jwks(jwks(secret), secrets=True)
    assert key.algorithms == {"HS256"}
    assert "no key that tokens" in complaint(from_jwks, jwks(secret), secrets=False)


def test_of_a_private_key_the_public_part_is_used() -> None:
    for kind in ("rsa", "secp256r1", "ed25519"):
        [key] = from_jwks(jwks(jwk(kind, whole=True)), secrets=False)
        assert key.key == private(kind).public_key()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"keys": 1}', b'{"keys": null}', b"[" * 99999]
)
def test_what_is_no_set_is_refused(content: bytes) -> None:
    assert "is no JSON Web Key Set" in complaint(from_jwks, content, secrets=True)


def test_of_a_huge_set_the_first_are_looked_at() -> None:
    many = [jwk("ed25519", kid=str(number)) for number in range(MOST + 5)]
    assert len(from_jwks(jwks(*many), secrets=False)) == MOST


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["keys", "kty", "crv", "n", "e", "x", "y", "k", "alg", "kid", "use"]
                ),
                inner | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB"]),
            )
        ),
    )
)
def test_any_json_is_keys_or_a_sentence(members: Any) -> None:
    for content in (members, {"keys": members}, {"keys": [members]}):
        try:
            keys = from_jwks(json.dumps(content).encode(), secrets=True)
        except ValueError:
            continue
        assert all(key.algorithms <= set(ALGORITHMS) for key in keys)


def test_an_operator_may_allow_fewer_algorithms() -> None:
    [key] = only(from_pem, ["RS256", "ES256"])(public_pem("rsa"))
    assert key.algorithms == {"RS256"}
    assert only(from_pem, [])(public_pem("rsa")) == from_pem(public_pem("rsa"))
    text = complaint(only(from_pem, ["RS256", "HS256"]), public_pem("secp256r1"))
    assert text == "has no key for RS256,HS256, but for ES256"
