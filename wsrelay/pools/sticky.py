"""
``sticky = cookie``: a client comes back to the upstream that it had.  Pure, but for the
secret of this machine, which is read once.

The cookie's value is ``version.issued.mark``: when it was made, and a keyed hash of pool,
upstream and that time.  So it says nothing about upstreams to whoever holds it, cannot be
made up, and needs no table: it fits one of the pool's upstreams, or it is void.
"""

from __future__ import annotations

import hmac
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from wsrelay.config.model import StickyConfig
from wsrelay.interfaces import IUpstream
from wsrelay.pools.upstream import Upstream

__all__ = ["StickyCookie", "machine_secret", "use_secret"]

VERSION: Final = "1"
RENEW_SHARE: Final = 0.5
"""Part of ``ttl`` after which a cookie is set anew, so that who keeps coming keeps it."""

LONGEST_STAMP: Final = 8
"""Digits of a time in base 36; a longer one would cost more than it is worth."""

_SECRETS: Final = ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")


class StickyCookie:
    """
    Finds and sets the cookies of one pool.

    :param now: seconds since the epoch.
    """

    def __init__(
        self, config: StickyConfig, pool: str, now: Callable[[], float] = time.time
    ) -> None:
        self.config = config
        self._now = now
        secret = config.secret or machine_secret()
        self._key = blake2b(f"wsrelay sticky\0{pool}\0{secret}".encode(), digest_size=32).digest()

    def find(self, cookies: Mapping[str, str], upstreams: Iterable[Upstream]) -> Upstream | None:
        """Return the upstream that a client's cookie means, or None: the balancer chooses."""
        value = cookies.get(self.config.name)
        issued = None if value is None else self._issued(value)
        if value is None or issued is None:
            return None
        for upstream in upstreams:
            if hmac.compare_digest(value.encode(), self._value(upstream, issued).encode()):
                return upstream
        return None

    def set_for(
        self, cookies: Mapping[str, str], upstream: Upstream, *, is_secure: bool
    ) -> bytes | None:
        """
        Return the ``Set-Cookie`` value for a client of *upstream*; None if it has a good one.

        :param is_secure: whether the client came by TLS, as far as is known.
        """
        if self.find(cookies, [upstream]) is upstream and not self._is_old(cookies):
            return None
        return self._set_cookie(self._value(upstream, int(self._now())), is_secure).encode()

    def _set_cookie(self, value: str, is_secure: bool) -> str:
        """RFC 6265 section 4.1."""
        config = self.config
        parts = [f"{config.name}={value}", "Path=/", "HttpOnly"]
        parts.append(f"SameSite={config.same_site.capitalize()}")
        if config.ttl is not None:
            parts.append(f"Max-Age={max(round(config.ttl), 1)}")
        # Browsers drop SameSite=None without Secure.
        if config.secure == "yes" or (config.secure == "auto" and is_secure):
            parts.append("Secure")
        return "; ".join(parts)

    def _issued(self, value: str) -> int | None:
        """Return when a value claims to have been made; None if it is none, or too old."""
        version, _, rest = value.partition(".")
        stamp, dot, _ = rest.partition(".")
        if len(stamp) > LONGEST_STAMP:
            return None
        if version != VERSION or not dot or not value.isascii() or not stamp.isalnum():
            return None
        try:
            issued = int(stamp, 36)
        except ValueError:
            return None
        if self.config.ttl is not None and self._now() - issued > self.config.ttl:
            return None
        return issued

    def _is_old(self, cookies: Mapping[str, str]) -> bool:
        issued, ttl = self._issued(cookies[self.config.name]), self.config.ttl
        return ttl is not None and issued is not None and self._now() - issued > ttl * RENEW_SHARE

    def _value(self, upstream: IUpstream, issued: int) -> str:
        stamp = _base36(issued)
        text = f"{upstream.name}\0{upstream.url}\0{stamp}".encode()
        mark = urlsafe_b64encode(blake2b(text, key=self._key, digest_size=15).digest()).decode()
        return f"{VERSION}.{stamp}.{mark}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


_told: list[str] = []


def use_secret(secret: str) -> None:
    """Use what another process of this relay has: it may have been drawn there."""
    _told[:] = [secret]


def machine_secret() -> str:
    """
    Return what stays the same on this machine and who is not on it does not know.

    Relays on several machines need ``secret=`` to understand each other's cookies, and one
    in a container without a machine id, to understand its own after a restart.
    """
    return _told[0] if _told else _secret_of_this_machine()


@cache
def _secret_of_this_machine() -> str:
    for path in _SECRETS:
        try:
            text = Path(path).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return text
    return os.urandom(32).hex()
