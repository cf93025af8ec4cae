"""Files of users and their passwords."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import require_program
from wsrelay.policies.htpasswd import parse

# As htpasswd -B of Apache 2.4.71 wrote it, for "geheim".
LINE = b"ada:$2y$05$Z13pJOu30v8fbBjqjJoL3OMU3qNN/tCyX0KRP3ZFe2YF3GlPOIrB2"
HASH = LINE.removeprefix(b"ada:")


def complaint(content: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
        parse(content)
    return str(caught.value)


def test_a_file_of_htpasswd_is_read() -> None:
    users = parse(LINE + b"\n")
    assert users == {"ada": HASH}
    assert bcrypt.checkpw(b"geheim", users["ada"])


def test_comments_empty_lines_and_what_follows_the_hash_do_not_count() -> None:
    content = b"# staff\r\n\r\n  \n%b:comment\r\n\xc3\x9cnal:%b  \n" % (LINE, HASH)
    assert parse(content) == {"ada": HASH, "Ünal": HASH}
    assert parse(b"") == {}


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert parse(b"\xef\xbb\xbf" + LINE) == {"ada": HASH}


@pytest.mark.parametrize("prefix", [b"$2a$", b"$2b$", b"$2y$"])
def test_all_kinds_of_bcrypt_are_taken(prefix: bytes) -> None:
    assert parse(b"ada:" + prefix + HASH[4:])


@pytest.mark.parametrize(
    ("hashed", "said"),
    [
        (b"$apr1$abc$xyz", "MD5 (apr1)"),
        (b"$1$abc$xyz", "MD5"),
        (b"$5$abc$xyz", "SHA-256 (crypt)"),
        (b"$6$abc$xyz", "SHA-512 (crypt)"),
        (b"{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "SHA-1"),
        (b"rqXexS6ZhobKA", "crypt or plain text"),
        (b"geheim", "of an unknown kind"),
        (b"", "of an unknown kind"),
        (HASH[:-1], "a broken bcrypt one"),
        (HASH[:28] + b"x" + HASH[29:], "a broken bcrypt one"),
    ],
)
def test_other_hashes_are_refused_with_the_line_and_the_remedy(hashed: bytes, said: str) -> None:
    text = complaint(LINE + b"\n# more\nbob:" + hashed)
    assert text == f"line 3: the hash of 'bob' is {said}, not bcrypt; run: htpasswd -B FILE bob"
    assert hashed.decode() not in text or len(hashed) < 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"ada", "expected user:hash"),
        (b":" + HASH, "expected user:hash"),
        (b"\xfcnal:" + HASH, "not UTF-8"),
        (b"a\tb:" + HASH, "a character that cannot be seen"),
        ("a\u200bb:".encode() + HASH, "'a\\u200bb' has a character that cannot be seen"),
        ("a\u202e:x".encode(), "'a\\u202e' has a character that cannot be seen"),
        (b"ada :" + HASH, "space around it"),
        (LINE + b"\n" + LINE, "user 'ada' stands on line 1 already"),
        (b"ada:$2y$16$" + HASH[7:], "a cost of 16 is out of place; expected 4 to 15"),
        (b"ada:$2y$03$" + HASH[7:], "a cost of 3 is out of place"),
    ],
)
def test_bad_lines_are_refused(line: bytes, said: str) -> None:
    assert said in complaint(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_users_or_a_sentence(content: bytes) -> None:
    try:
        users = parse(content)
    except ValueError as error:
        users, said = {}, str(error)
    else:
        said = "line "
    assert said.startswith("line ")
    assert all(user == user.strip() for user in users)


def test_what_htpasswd_writes_here_is_read(tmp_path: Path) -> None:
    program = require_program("htpasswd")
    file = tmp_path / "users"
    for options, user, password in (("-bcB", "ada", "geheim"), ("-bB", "bob", "p:w")):
        command = [program, options, "-C", "4", str(file), user, password]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    users = parse(file.read_bytes())
    assert bcrypt.checkpw(b"geheim", users["ada"])
    assert bcrypt.checkpw(b"p:w", users["bob"])
