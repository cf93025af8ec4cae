"""The files that ``htpasswd -B`` writes."""

from __future__ import annotations

import codecs
import re
from typing import Final

__all__ = ["parse"]

MOST_COST: Final = 15
"""Of bcrypt's cost; each step doubles the time, and 15 takes seconds already."""

_BCRYPT: Final = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_OTHERS: Final = (
    (b"$apr1$", "MD5 (apr1)"),
    (b"$1$", "MD5"),
    (b"$5$", "SHA-256 (crypt)"),
    (b"$6$", "SHA-512 (crypt)"),
    (b"{SHA}", "SHA-1"),
    (b"{SSHA}", "salted SHA-1"),
    (b"{PLAIN}", "no hash at all"),
)


def parse(content: bytes) -> dict[str, bytes]:
    """
    Return the users of a file, and their passwords' bcrypt hashes.

    :raises ValueError: a line is bad, or has a hash of another kind; the text says which
        line and what to do.
    """
    users: dict[str, bytes] = {}
    lines: dict[str, int] = {}
    content = content.removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            user, hashed = _entry(line)
            if user in users:
                raise ValueError(f"user {user!r} stands on line {lines[user]} already")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        users[user], lines[user] = hashed, number
    return users


def _entry(line: bytes) -> tuple[str, bytes]:
    name, colon, rest = line.partition(b":")
    if not (name and colon):
        raise ValueError("expected user:hash, as htpasswd -B writes it")
    try:
        user = name.decode()
    except UnicodeDecodeError:
        raise ValueError("the user's name is not UTF-8; save the file as UTF-8") from None
    if not user.isprintable() or user != user.strip():
        what = "a character that cannot be seen, or space around it"
        raise ValueError(f"user {user!r} has {what}; rename it")
    hashed = rest.partition(b":")[0].rstrip(b" \t")
    match = _BCRYPT.fullmatch(hashed)
    if match is None:
        again = f"run: htpasswd -B FILE {user}"
        raise ValueError(f"the hash of {user!r} is {_kind(hashed)}, not bcrypt; {again}")
    if not 4 <= int(match[1]) <= MOST_COST:
        what = f"a cost of {int(match[1])} is out of place; expected 4 to {MOST_COST}"
        raise ValueError(f"{what}; run: htpasswd -B -C 10 FILE {user}")
    return user, hashed


def _kind(hashed: bytes) -> str:
    """Name the kind of a hash, which itself is nobody's business."""
    for start, kind in _OTHERS:
        if hashed.startswith(start):
            return kind
    if re.fullmatch(rb"[./A-Za-z0-9]{13}", hashed):
        return "crypt or plain text"
    return "a broken bcrypt one" if hashed.startswith(b"$2") else "of an unknown kind"
