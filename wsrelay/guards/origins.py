"""``origins``: which web pages may connect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from typing import Final

from attrs import frozen

__all__ = ["Origins"]

_PORT: Final = r"(?::([0-9]{1,5}))?"
_HOST: Final = r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])"
_ORIGIN: Final = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://{_HOST}{_PORT}")
_AUTHORITY: Final = re.compile(_HOST + _PORT)
_WILDCARD: Final = "://*."
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@frozen
class _Origin:
    """An origin in the form in which two are compared (RFC 6454 sections 4 and 5)."""

    scheme: str  # lower case
    host: str  # lower case, no final dot
    port: int | None  # None: the scheme's default


class Origins:
    """What ``origins`` of a route lists."""

    def __init__(self, listed: Iterable[str]) -> None:
        """
        Take in what relay.ini says.

        :param listed: origins, ``https://*.example.com``, ``same-host`` or ``none``, as
            `wsrelay.config` has checked them.
        :raises ValueError: one is none of these.
        """
        listed = set(listed)
        self._without = "none" in listed
        self._same_host = "same-host" in listed
        named = listed - {"none", "same-host"}
        wildcards = {each for each in named if _WILDCARD in each}
        self._exact = frozenset(_must_parse(each) for each in named - wildcards)
        self._parents = frozenset(_must_parse(each.replace("*.", "", 1)) for each in wildcards)

    def permit(self, values: Sequence[bytes], host: bytes, *, is_websocket: bool) -> bool:
        """
        Say whether a request may pass.

        :param values: of its Origin headers.  More than one, ``null`` and what is no origin
            never pass.
        :param host: the host, and the port if one was named, that it was sent to.
        :param is_websocket: it is a handshake.  Browsers send Origin with each of these, but
            with few others; so any other request passes without one.
        """
        if not values:
            return self._without or not is_websocket
        origin = _parse(values[0].decode("latin-1")) if len(values) == 1 else None
        if origin is None:
            return False
        return (
            origin in self._exact
            or (self._same_host and _is_host_of(origin, host))
            or (bool(self._parents) and self._is_below(origin))
        )

    def _is_below(self, origin: _Origin) -> bool:
        """Say whether its host is a subdomain, at any depth, of one that is listed."""
        rest = origin.host
        while rest:
            rest = rest.partition(".")[2]
            if _Origin(origin.scheme, rest, origin.port) in self._parents:
                return True
        return False


def _must_parse(text: str) -> _Origin:
    origin = _parse(text)
    if origin is None:
        raise ValueError(f"'{text}' is not an origin")
    return origin


def _parse(text: str) -> _Origin | None:
    """Parse one serialised origin (RFC 6454 section 6.2); None: it is none, or opaque."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    host = _normal(match[2])
    return None if host is None else _Origin(scheme, host, _port(match[3], scheme))


def _is_host_of(origin: _Origin, host: bytes) -> bool:
    match = _AUTHORITY.fullmatch(host.decode("latin-1"))
    if match is None or _normal(match[1]) != origin.host:
        return False
    return _port(match[2], origin.scheme) == origin.port


def _port(text: str | None, scheme: str) -> int | None:
    """Return the port, or None for the one that the scheme has anyway."""
    port = int(text) if text else None
    return None if port == _DEFAULT_PORTS.get(scheme) else port


def _normal(host: str) -> str | None:
    """Return a host in the form in which it is compared; None: it is no address."""
    if not host.startswith("["):
        return host.lower().removesuffix(".")  # as `Request.host` has it
    try:
        return f"[{IPv6Address(host[1:-1])}]"
    except ValueError:
        return None
