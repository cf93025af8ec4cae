"""What a certificate is for, whatever stands in it."""

from __future__ import annotations

import ipaddress
import string
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import load_pem_x509_certificate as load
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.certificates import Authority, names_of
from tests.relay.records import authority
from wsrelay.relay.identity import BadCertificate, check_identity

OTHER = "its certificate is for another host; tls_name says which to expect"
NAMELESS = "its certificate names no host: it needs a subjectAltName"
UNREADABLE = "its certificate is not understood: "
SAN = x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME


def raw(der: bytes) -> x509.ExtensionType:
    """Return a subjectAltName of these bytes."""
    return x509.UnrecognizedExtension(SAN, der)


def proper(*names: str | x509.GeneralName) -> x509.ExtensionType:
    """Return a subjectAltName of host names, and of others."""
    return x509.SubjectAlternativeName(
        [x509.DNSName(each) if isinstance(each, str) else each for each in names]
    )


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text))


def certificate(*extensions: x509.ExtensionType, by: Authority | None = None) -> x509.Certificate:
    pair = (by or authority()).issue_with("up.test", *extensions)
    return load(pair.certificate.read_bytes())


GOOD = [
    ("up.test", proper("up.test")),
    ("UP.test", proper("Up.Test")),
    ("up.test", proper("other.test", "up.test")),
    ("a.up.test", proper("*.up.test")),
    ("127.0.0.1", proper(address("127.0.0.1"))),
    ("::1", proper("up.test", address("0:0::1"))),
    ("up.test", proper(x509.RFC822Name("me@up.test"), "up.test")),
]


@pytest.mark.parametrize(("name", "extension"), GOOD)
def test_a_certificate_for_the_name_is_good(name: str, extension: x509.ExtensionType) -> None:
    check_identity(certificate(extension), name)


BAD = [
    ("up.test", OTHER, proper("other.test")),
    ("up.test", OTHER, proper(address("127.0.0.1"))),
    ("up.test", OTHER, proper("*.up.test")),
    ("a.b.up.test", OTHER, proper("*.up.test")),
    ("xn--a.up.test", OTHER, proper("*.up.test")),
    ("127.0.0.1", OTHER, proper("up.test")),
    ("127.0.0.1", OTHER, proper(address("127.0.0.2"))),
    ("::1", OTHER, proper(address("127.0.0.1"))),
    ("up.test", OTHER, proper(x509.UniformResourceIdentifier("spiffe://up.test"))),
    ("up.test", NAMELESS, proper(x509.RFC822Name("me@up.test"))),
    ("up.test", NAMELESS, raw(b"\x30\x00")),
    ("up.test", UNREADABLE, names_of(b"up.test", b"up.test\0.evil.test")),
    ("up.test", UNREADABLE, names_of(b"up.test\0")),
    ("up.test", UNREADABLE, names_of(b"*")),
    ("up.test", UNREADABLE, names_of(b"*.test")),
    ("a.up.test", UNREADABLE, names_of(b"*.*.test")),
    ("up.test", UNREADABLE, names_of(b"up.*.test", b"up.test")),
    ("up.test", UNREADABLE, names_of(b"")),
    ("up.test", OTHER, names_of(b"\xc3\xbcp.test")),
    ("up.test", UNREADABLE, names_of(b"\xff\xfe")),
    ("127.0.0.1", UNREADABLE, names_of(b"127.0.0.1")),
    ("127.0.0.1", UNREADABLE, raw(b"\x30\x07\x87\x05\x7f\x00\x00\x01\x00")),
    ("up.test", UNREADABLE, proper("up.test", x509.UniformResourceIdentifier("a://up.test:1"))),
    ("up.test", UNREADABLE, raw(b"\x30\x09\x82\x09up.test")),  # cut off
    ("up.test", UNREADABLE, raw(b"")),
    ("up.test", UNREADABLE, raw(b"up.test")),
]


@pytest.mark.parametrize(("name", "why", "extension"), BAD)
def test_any_other_is_refused_with_the_reason(
    name: str, why: str, extension: x509.ExtensionType
) -> None:
    with pytest.raises(BadCertificate) as caught:
        check_identity(certificate(extension), name)
    assert str(caught.value).startswith(why)
    assert not str(caught.value).endswith((".", ": "))


def test_the_common_name_does_not_count() -> None:
    with pytest.raises(BadCertificate, match=NAMELESS):
        check_identity(certificate(), "up.test")


def test_what_is_not_understood_is_not_shown_at_any_length() -> None:
    long = x509.SubjectAlternativeName([x509.DNSName("*" + "a" * 5000)])
    with pytest.raises(BadCertificate) as caught:
        check_identity(certificate(long), "up.test")
    assert len(str(caught.value)) < 300


def matches(pattern: bytes, name: str) -> bool:
    """Compare as RFC 6125 section 6.4 says; the wildcard is the whole first label."""
    told = pattern.strip().lower().decode("latin-1")
    return told == name or (told[:2] == "*." and told[2:] == name.partition(".")[2] != "")


LABEL = st.sampled_from(["a", "up", "test", "*", "x*", "xn--a", "", "1", "UP"])
NAMES = st.lists(LABEL, max_size=4).map(".".join).map(str.encode)
JUNK = st.binary(max_size=12)


@given(st.lists(NAMES | JUNK, max_size=5), st.sampled_from(["up.test", "a.up.test", "a.b"]))
def test_no_certificate_is_good_for_a_name_that_does_not_stand_in_it(
    names: list[bytes], name: str
) -> None:
    try:
        check_identity(certificate(names_of(*names)), name)
    except BadCertificate:
        return
    assert any(matches(each, name) for each in names)


@given(st.lists(NAMES.filter(lambda name: b"*" not in name), max_size=3))
def test_a_certificate_with_proper_names_is_good_for_each(names: list[bytes]) -> None:
    proper_names = [each for each in names if each.strip(b".1" + string.digits.encode())]
    for name in proper_names:
        check_identity(certificate(names_of(*proper_names)), name.decode())


def test_another_authority_makes_no_difference_here(tmp_path: Path) -> None:
    by = Authority(tmp_path, "other")
    check_identity(certificate(proper("up.test"), by=by), "up.test")
