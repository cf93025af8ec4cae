"""Whose a certificate is, as text that is RFC 4514's, OpenSSL's, and fit for a header."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import NameAttribute, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.certificates import Authority
from tests.support import require_program
from wsrelay.relay.subject import subject_text


def name(*attributes: tuple[ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([NameAttribute(kind, value) for kind, value in attributes])


NAMES = {
    b"CN=Ann": name((NameOID.COMMON_NAME, "Ann")),
    b"CN=Ann,OU=Sales,O=Example,C=DE": name(
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, "Example"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Sales"),
        (NameOID.COMMON_NAME, "Ann"),
    ),
    rb"CN=J\C3\B6rg \E2\82\AC \F0\9F\94\91": name((NameOID.COMMON_NAME, "Jörg € 🔑")),
    rb"CN=a\0D\0AX-Admin: yes\0D\0A": name((NameOID.COMMON_NAME, "a\r\nX-Admin: yes\r\n")),
    rb"CN=tab\09del\7F": name((NameOID.COMMON_NAME, "tab\tdel\x7f")),
    rb"CN=\#a\+b\\c\,d\"e\;f\<g\>h=i": name((NameOID.COMMON_NAME, '#a+b\\c,d"e;f<g>h=i')),
    rb"CN=\ padded\ ": name((NameOID.COMMON_NAME, " padded ")),
    rb"CN=a\,O=b": name((NameOID.COMMON_NAME, "a,O=b")),
    b"emailAddress=ann@example.com,serialNumber=7,title=Dr,GN=Ann,SN=Lee": name(
        (NameOID.SURNAME, "Lee"),
        (NameOID.GIVEN_NAME, "Ann"),
        (NameOID.TITLE, "Dr"),
        (NameOID.SERIAL_NUMBER, "7"),
        (NameOID.EMAIL_ADDRESS, "ann@example.com"),
    ),
    b"UID=ann,street=1 Way,DC=example,DC=com": name(
        (NameOID.DOMAIN_COMPONENT, "com"),
        (NameOID.DOMAIN_COMPONENT, "example"),
        (NameOID.STREET_ADDRESS, "1 Way"),
        (NameOID.USER_ID, "ann"),
    ),
    b"": name(),
}


@pytest.mark.parametrize("text", NAMES, ids=range(len(NAMES)))
def test_a_subject_is_written_in_ascii(text: bytes) -> None:
    assert subject_text(NAMES[text]) == text


@pytest.mark.peers
@pytest.mark.parametrize("text", NAMES, ids=range(len(NAMES)))
def test_openssl_writes_it_the_same(text: bytes, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue_to(NAMES[text], stem="client")
    command = [require_program("openssl"), "x509", "-in", pair.certificate, "-noout"]
    options = ["-subject", "-nameopt", "RFC2253"]  # which is what nginx has
    ran = subprocess.run([*command, *options], capture_output=True, timeout=60, check=True)
    assert ran.stdout.removesuffix(b"\n").removeprefix(b"subject=") == text


@given(st.text(min_size=1, max_size=16))
def test_any_name_can_stand_in_a_header_and_is_told_from_all_others(value: str) -> None:
    text = subject_text(name((NameOID.COMMON_NAME, value), (NameOID.ORGANIZATION_NAME, "O")))
    assert text.startswith(b"O=O,CN=")
    assert all(0x20 <= byte < 0x7F for byte in text)
    assert _read(text[len(b"O=O,CN=") :]) == value.encode()


def _read(text: bytes) -> bytes:
    """Undo the escapes of RFC 4514 section 2.4; nothing special may stand there without one."""
    value, rest = b"", text
    while rest:
        if rest[:1] != b"\\":
            assert rest[:1] not in b'"+,;<>'
            value, rest = value + rest[:1], rest[1:]
        elif rest[1:2] in b'"+,;<>\\# ':
            value, rest = value + rest[1:2], rest[2:]
        else:
            value, rest = value + bytes.fromhex(rest[1:3].decode()), rest[3:]
    return value
