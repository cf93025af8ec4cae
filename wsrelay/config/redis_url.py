"""``[cluster] redis``: where a Redis is, as its URL says.  Pure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from wsrelay.config.model import RedisUrl

__all__ = ["key_prefix", "redis_url"]

EXPECTED: Final = (
    "expected redis://[user:password@]host[:6379][/0], rediss://… for TLS, or unix:///path[?db=0]"
)

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|[0-9a-f:.]+")
_OPTIONS: Final = {
    "redis": ("db",),
    "rediss": ("db", "ca", "verify"),
    "unix": ("db",),
}
_ENCODED: Final = (
    "in a user or a password '/', ':', '@', '#' and '?' are written %2F, %3A, %40, %23 and %3F"
)

_LAST_DATABASE: Final = 99_999


def redis_url(text: str) -> RedisUrl:
    """
    Parse a URL as redis-py and redis-cli know them.

    :raises ValueError: it is none; the text never has the password in it.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _OPTIONS:
        is_url = scheme.isalnum() and rest.startswith("//")  # else it may be a password
        found = f"'{scheme}:' is not spoken" if is_url else "this is no URL"
        raise ValueError(f"{found}; {EXPECTED}")
    parts = _split(text if rest.startswith("//") else f"{scheme}://{rest}")
    options = _options(parts, scheme)
    path = unquote(parts.path)
    if scheme == "unix":
        if not path.startswith("/") or path == "/" or parts.hostname:
            raise ValueError(f"the path of a unix socket begins with /; {EXPECTED}")
        where = {"path": path}
    else:
        where = {"host": _host(parts)}
        if path.strip("/"):
            options.setdefault("db", path.strip("/"))
    return RedisUrl(
        **where,
        port=_port(parts),
        database=_database(options.get("db", "0")),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        is_secure=scheme == "rediss",
        ca=Path(options["ca"]) if options.get("ca") else None,
        verify=_verify(options.get("verify", "yes")),
    )


def key_prefix(text: str) -> str:
    """Parse what keys begin with: what needs no quotes anywhere, in ACL rules for example."""
    if not _PREFIX.fullmatch(text):
        raise ValueError(
            f"'{text}' cannot begin a key;"
            " expected at most 64 letters, digits, '_', '.', ':' or '-'"
        )
    return text


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError(f"this is no URL; {EXPECTED}") from None


def _options(parts: SplitResult, scheme: str) -> dict[str, str]:
    if "@" in parts.query or parts.fragment:  # so these are a part of the password
        raise ValueError(_ENCODED)
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in found:
        if name not in _OPTIONS[scheme]:
            known = ", ".join(_OPTIONS[scheme])
            raise ValueError(f"'{name}' is no option of a {scheme} URL; known: {known}")
    return found


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise ValueError(f"the host is missing, or none; {EXPECTED}")
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        # The likeliest cause; to show what was found would show a part of the password.
        raise ValueError(f"the port is none; {_ENCODED}")
    return port or 6379


def _database(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _LAST_DATABASE:
        raise ValueError("the database is a number, 0 for example; see databases in redis.conf")
    return int(text)


def _verify(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"verify={text} is neither yes nor no")
    return text == "yes"
