"""Which files hold the certificates of a listener, and which of them a client gets."""

from __future__ import annotations

import datetime
import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.certificates import DAY, Authority, KeyPair, names_of
from wsrelay.config.model import ListenerConfig
from wsrelay.relay.certificates import (
    Identity,
    find,
    names_and_notes,
    read_directory,
    read_identity,
)
from wsrelay.relay.listener_tls import ListenerTLS, listener_tls

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the directory that ``certificates`` names."""
    made = tmp_path / "certs"
    made.mkdir()
    return made


def put(folder: Path, pair: KeyPair, name: str, key: str = "") -> None:
    """Put a certificate into a directory, with the key in the same file or in another."""
    certificate, private = pair.certificate.read_bytes(), pair.key.read_bytes()
    if key:
        (folder / key).write_bytes(private)
        private = b""
    (folder / name).write_bytes(certificate + private)


def read(pair: KeyPair) -> Identity:
    return read_identity(pair.certificate.name, pair.certificate, pair.key)


def labels(folder: Path) -> list[str]:
    return [each.label for each in read_directory(folder)]


def tls(folder: Path, own: KeyPair | None = None) -> ListenerTLS:
    pair = (own.certificate, own.key) if own is not None else (None, None)
    made = listener_tls(ListenerConfig("web", "tcp:1", *pair, certificates=folder))
    assert made is not None
    return made


# files


def test_each_pem_file_and_each_crt_with_its_key_is_a_certificate(
    folder: Path, authority: Authority
) -> None:
    put(folder, authority.issue("b.test"), "b.pem")
    put(folder, authority.issue("a.test"), "a.crt", "a.key")
    put(folder, authority.issue("c.test"), "c.pem", "c.key")
    (folder / "README").write_text("what this is")
    (folder / ".c.pem.swp").write_text("somebody's editor")
    (folder / ".hidden.pem").write_text("is not looked at")
    assert labels(folder) == ["a.crt", "b.pem", "c.pem"]
    assert [each.names for each in read_directory(folder)] == [
        ("a.test",),
        ("b.test",),
        ("c.test",),
    ]


def test_the_key_may_stand_before_the_certificate_and_between_other_things(
    folder: Path, authority: Authority
) -> None:
    pair = authority.issue("a.test")
    ca = authority.certificate().read_bytes()
    text = b"\nBag Attributes: <none>\n"
    both = pair.key.read_bytes() + text + pair.certificate.read_bytes() + text + ca
    (folder / "a.pem").write_bytes(both)
    [identity] = read_directory(folder)
    assert len(identity.chain) == 2
    assert identity.names == ("a.test",)


def certbot(folder: Path, pair: KeyPair) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("cert.pem", "chain.pem", "fullchain.pem"):
        shutil.copy(pair.certificate, folder / name)
    shutil.copy(pair.key, folder / "privkey.pem")


def test_the_folders_of_certbot_are_certificates_and_others_are_not(
    folder: Path, authority: Authority
) -> None:
    certbot(folder / "b.test", authority.issue("b.test"))
    certbot(folder / "a.test", authority.issue("a.test"))
    certbot(folder / ".old", authority.issue("c.test"))
    (folder / "empty").mkdir()
    (folder / "dir.pem").mkdir()
    (folder / "README").write_text("of certbot")
    assert labels(folder) == ["a.test", "b.test"]


def test_one_folder_of_certbot_is_a_directory_with_one_certificate(
    folder: Path, authority: Authority
) -> None:
    certbot(folder / "a.test", authority.issue("a.test"))
    assert labels(folder / "a.test") == ["a.test"]


def no_key(folder: Path, good: KeyPair, _: KeyPair) -> str:
    shutil.copy(good.certificate, folder / "a.pem")
    return r"a\.pem holds no private key in PEM form.*put it there, or into a\.key"


def wrong_key(folder: Path, good: KeyPair, other: KeyPair) -> str:
    put(folder, KeyPair(good.certificate, other.key), "a.pem")
    return r"the key .*a\.pem does not belong to the certificate in .*a\.pem"


def wrong_key_beside(folder: Path, good: KeyPair, other: KeyPair) -> str:
    put(folder, KeyPair(good.certificate, other.key), "a.crt", "a.key")
    return r"the key .*a\.key does not belong to the certificate in .*a\.crt"


def locked_key(folder: Path, good: KeyPair, _: KeyPair) -> str:
    key = load_pem_private_key(good.key.read_bytes(), None)
    lock = BestAvailableEncryption(b"secret")
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    (folder / "a.pem").write_bytes(good.certificate.read_bytes() + locked)
    return r"a\.pem holds no private key in PEM form without passphrase"


def no_certificate(folder: Path, good: KeyPair, _: KeyPair) -> str:
    shutil.copy(good.key, folder / "a.pem")
    return r"a\.pem holds no certificate in PEM form"


def cut_off(folder: Path, good: KeyPair, _: KeyPair) -> str:
    put(folder, good, "a.pem")
    data = (folder / "a.pem").read_bytes()
    (folder / "a.pem").write_bytes(data[:300])
    return r"a\.pem holds no certificate in PEM form"


def dangling(folder: Path, _: KeyPair, __: KeyPair) -> str:
    (folder / "a.pem").symlink_to(folder / "gone.pem")
    return r"cannot read .*a\.pem: No such file"


def certbot_without_key(folder: Path, good: KeyPair, _: KeyPair) -> str:
    certbot(folder / "a.test", good)
    (folder / "a.test" / "privkey.pem").unlink()
    return r"cannot read .*privkey\.pem: No such file"


def nothing(folder: Path, _: KeyPair, __: KeyPair) -> str:
    (folder / "README").write_text("nothing yet")
    return r"certs holds no certificates; put \*\.pem files there"


def no_directory(folder: Path, _: KeyPair, __: KeyPair) -> str:
    folder.rmdir()
    return r"cannot read the directory .*certs: No such file"


def a_file(folder: Path, good: KeyPair, _: KeyPair) -> str:
    folder.rmdir()
    put(folder.parent, good, folder.name)
    return r"cannot read the directory .*certs: Not a directory"


BAD = [
    no_key,
    wrong_key,
    wrong_key_beside,
    locked_key,
    no_certificate,
    cut_off,
    dangling,
    certbot_without_key,
    nothing,
    no_directory,
    a_file,
]


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_in_a_directory_is_said(
    spoil: Callable[[Path, KeyPair, KeyPair], str], folder: Path, authority: Authority
) -> None:
    words = spoil(folder, authority.issue("a.test"), authority.issue("b.test"))
    with pytest.raises(ValueError, match=words):
        tls(folder)


def test_names_that_are_none_are_said(folder: Path, authority: Authority) -> None:
    put(folder, authority.issue_with("x", names_of(b"a.test", b"\xff")), "a.pem")
    with pytest.raises(ValueError, match=r"the names in .*a\.pem are not understood"):
        tls(folder)


def test_a_key_that_openssl_finds_too_short_is_said(folder: Path, authority: Authority) -> None:
    short = rsa.generate_private_key(65537, 1024)
    put(folder, authority.issue_for("a.test", stem="short", key=short), "a.pem")
    with pytest.raises(ValueError, match=r"refuses the certificate of a\.pem: ee key too small"):
        tls(folder)


# names


def test_names_are_those_of_the_subject_alternative_name_only(authority: Authority) -> None:
    pair = authority.issue_for("B.test", "*.B.test", "a.test.", "192.0.2.1", stem="common.test")
    assert read(pair).names == ("b.test", "*.b.test", "a.test")


def test_a_common_name_counts_only_where_there_is_no_alternative(authority: Authority) -> None:
    assert read(authority.issue_with("Common.test")).names == ("common.test",)
    assert read(authority.issue_for("192.0.2.1", stem="common.test")).names == ()


def test_the_very_name_goes_before_a_wildcard_and_that_is_for_one_label() -> None:
    known = {"a.test": 1, "*.a.test": 2, "www.a.test": 3, "*.b.a.test": 4}
    wanted = {
        "a.test": 1,
        "A.TEST": 1,
        "a.test.": 1,
        "www.a.test": 3,
        "WWW.a.test.": 3,
        "other.a.test": 2,
        "b.a.test": 2,
        "x.b.a.test": 4,
        "y.x.b.a.test": None,
        "test": None,
        "": None,
        ".a.test": 2,  # no host is called that, and OpenSSL hands it on
        "xa.test": None,
    }
    assert {name: find(name, known) for name in wanted} == wanted


@given(st.text(), st.sets(st.sampled_from(["a.test", "*.a.test", "*.test", "b.a.test"])))
def test_whatever_a_client_calls_a_host_is_looked_up(name: str, known: set[str]) -> None:
    found = find(name, {each: each for each in known})
    assert found is None or found in known


def owners(*pairs: KeyPair) -> tuple[dict[str, str], list[str]]:
    identities = [read(each) for each in pairs]
    table, notes = names_and_notes(identities, identities[0], NOW)
    return {name: each.label for name, each in table.items()}, notes


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_certificates_for_a_name_the_one_that_is_valid_longer_is_used(
    authority: Authority, order: tuple[int, int]
) -> None:
    pairs = [
        authority.issue_for("a.test", "b.test", "old.test", stem="short", until=2 * DAY),
        authority.issue_for("a.test", "b.test", "new.test", stem="long", until=3 * DAY),
    ]
    table, notes = owners(*(pairs[each] for each in order))
    assert table == {
        "a.test": "long.pem",
        "b.test": "long.pem",
        "old.test": "short.pem",
        "new.test": "long.pem",
    }
    [note] = notes
    names, _, rest = note.partition(": ")
    assert set(names.split(", ")) == {"a.test", "b.test"}
    assert rest == "long.pem is used, not short.pem, which is not valid for longer"


def test_what_is_not_valid_now_is_used_if_there_is_nothing_else_and_told(
    authority: Authority,
) -> None:
    old = authority.issue_for("a.test", "b.test", stem="old", until=-DAY)
    new = authority.issue_for("a.test", stem="new")
    table, notes = owners(old, new)
    assert table == {"a.test": "new.pem", "b.test": "old.pem"}
    assert notes[0] == f"the certificate of old.pem expired on {NOW - DAY:%Y-%m-%d}"
    assert len(notes) == 2
    early = read(new)
    before = early.certificate.not_valid_before_utc
    _, notes = names_and_notes([early], early, before - DAY)
    assert notes == [f"the certificate of new.pem is valid from {before:%Y-%m-%d} on only"]


def test_a_certificate_that_nobody_can_get_is_told(authority: Authority) -> None:
    good, bad = authority.issue("a.test"), authority.issue_for("192.0.2.1", stem="address")
    words = "the certificate of address.pem names no host, so nobody gets it"
    assert owners(good, bad)[1] == [words]
    assert owners(bad, good)[1] == []  # it is the default


def test_good_certificates_need_no_words(folder: Path, authority: Authority) -> None:
    put(folder, authority.issue_for("a.test", "*.a.test", stem="a"), "a.pem")
    put(folder, authority.issue("b.test"), "b.pem")
    assert tls(folder).notes == ()


# what is new


def test_changes_of_files_are_told_by_name(folder: Path, authority: Authority) -> None:
    own = authority.issue("own.test")
    for name in ("a", "b", "c"):
        put(folder, authority.issue(f"{name}.test"), f"{name}.pem")
    old = tls(folder, own)
    assert tls(folder, own).changes_since(old) == {}
    put(folder, authority.issue("b.test"), "b.pem")
    (folder / "c.pem").unlink()
    put(folder, authority.issue("d.test"), "d.pem")
    new = tls(folder, authority.issue("own.test"))
    assert new.changes_since(old) == {
        "certificate": "certificate renewed",
        "certificates": "certificates: d.pem added, b.pem renewed, c.pem removed",
    }


def test_a_name_with_letters_of_the_world_is_found_as_the_wire_has_it(
    authority: Authority,
) -> None:
    name = "jörg.test".encode("idna").decode()
    pair = authority.issue_for(name, stem="idna")
    assert read(pair).names == (name,)


@pytest.mark.parametrize("has_name", [True, False])
def test_who_may_not_read_a_file_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, has_name: bool
) -> None:
    """The user may not be who started the relay."""

    def forbid(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    def no_name(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(Path, "read_bytes", forbid)
    if not has_name:
        monkeypatch.setattr(pwd, "getpwuid", no_name)
    who = pwd.getpwuid(os.geteuid()).pw_name if has_name else str(os.geteuid())
    with pytest.raises(ValueError, match=rf"a\.pem as user {who}: Permission denied$"):
        read_identity("a.pem", folder / "a.pem", folder / "a.pem")
