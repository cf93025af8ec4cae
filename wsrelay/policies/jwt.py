"""``policies = jwt``: a signed token says who it is, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.web.iweb import IAgent
from zope.interface import implementer

from wsrelay.config.lines import header_name
from wsrelay.config.values import Parser, boolean, duration, duration_or_zero, one_of, word_or
from wsrelay.interfaces import Admit, Deny, IAccessPolicy, IHandshake
from wsrelay.policies.asking import Asker
from wsrelay.policies.credentials import (
    Ambiguous,
    Finder,
    authorization,
    cookie,
    query_value,
    subprotocol_token,
    without_token,
)
from wsrelay.policies.fetched import MOST_READ, FetchedKeys
from wsrelay.policies.keys import ALGORITHMS, Key, from_jwks, from_pem, from_secret, only
from wsrelay.policies.options import Url, listed, quotable, read, web_url
from wsrelay.policies.tokens import BadToken, Rules, head_of, texts_of, time_of, verify
from wsrelay.policies.watched import Watched

__all__ = ["Jwt"]

Keys = tuple[Key, ...]

YEAR: Final = 365 * 24 * 3600.0
"""Seconds after which the longest session ends, whatever its token says."""

FETCH_TIMEOUT: Final = 4.0
"""Seconds, less than the usual ``policy_timeout``."""

_SOURCES: Final[Mapping[str, Callable[[bytes], Keys]]] = {
    "secret_file": from_secret,
    "key_file": from_pem,
    "jwks_file": partial(from_jwks, secrets=True),
    "jwks_url": partial(from_jwks, secrets=False),
}


def _place(text: str) -> tuple[str, str]:
    """Parse where a token is: what kind of place, and its name."""
    kind, colon, name = text.partition(":")
    named = kind in ("cookie", "query") and name
    if text == "header" or named or (kind == "subprotocol" and bool(colon) == bool(name)):
        return kind, name and quotable(name)
    raise ValueError(
        f"'{text}' is no place for a token; expected header, cookie:NAME, query:NAME,"
        " subprotocol or subprotocol:PREFIX"
    )


def _claimed(parse: Parser) -> Parser:
    def parse_pair(text: str) -> tuple[str, str]:
        name, colon, claim = text.partition(":")
        if not (name and colon and claim):
            raise ValueError(f"'{text}' names no claim; expected NAME:CLAIM")
        return parse(name), claim

    return parse_pair


_OPTIONS: Final[Mapping[str, tuple[Parser, Any]]] = {
    "from": (listed(_place), (("header", ""),)),
    **dict.fromkeys(("secret_file", "key_file", "jwks_file"), (str, None)),
    "jwks_url": (web_url, None),
    "jwks_ttl": (duration, 600.0),
    "ca_file": (str, None),
    "algorithms": (listed(one_of(*ALGORITHMS)), ()),
    "issuer": (listed(str), ()),
    "audience": (listed(str), ()),
    "require": (word_or("off", listed(str), ()), ("exp",)),
    "leeway": (duration_or_zero, 10.0),
    "expire": (boolean, True),
    "claim_headers": (listed(_claimed(header_name)), ()),
    "tags": (listed(_claimed(str)), ()),
    "realm": (quotable, "wsrelay"),
}


@implementer(IAccessPolicy)
class Jwt:
    """
    Lets in who brings a JSON Web Token (RFC 7519) that is signed by a key that it knows.

    The session ends when the token does.

    :param wall_clock: seconds since the epoch.
    :param agent: what fetches keys, in tests.
    :param options: see docs/policies.rst.
    :raises ValueError: an option is bad, or the file of a key.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        wall_clock: Callable[[], float] = time.time,
        agent: IAgent | None = None,
        **options: str,
    ) -> None:
        found = read(options, _OPTIONS)
        self._seconds = wall_clock
        self._keys = _make_keys(reactor, options, found, agent)
        self._rules = Rules(found["issuer"], found["audience"], found["require"], found["leeway"])
        self._finders = [_FINDERS[kind](name) for kind, name in found["from"]]
        self._prefixes = [name for kind, name in found["from"] if kind == "subprotocol"]
        self._expires: bool = found["expire"]
        self._claim_headers: tuple[tuple[str, str], ...] = found["claim_headers"]
        self._tags: tuple[tuple[str, str], ...] = found["tags"]
        self._realm: str = found["realm"]
        offer = ["Sec-WebSocket-Protocol"] if self._prefixes else []
        self.headers = tuple([*(name for name, _ in self._claim_headers), *offer])

    def admit(self, request: IHandshake) -> Admit | Deny | Deferred[Admit | Deny | None]:
        """Check the token that comes with a request."""
        try:
            token = self._token(request)
            if token is None:
                return self._deny(401, "A token is needed.")
            keys = self._keys.find(head_of(token)[1])
        except Ambiguous as error:
            return self._deny(400, str(error), "invalid_request")
        except BadToken as error:
            return self._deny(401, str(error), "invalid_token")
        if isinstance(keys, Deferred):
            found: Deferred[Any] = keys
            return found.addCallback(lambda keys: self._judge(request, token, keys))
        return self._judge(request, token, keys)

    def stop(self) -> None:
        """Fetch no more keys."""
        self._keys.stop()

    def _token(self, request: IHandshake) -> str | None:
        for find in self._finders:
            if (token := find(request)) is not None:
                return token
        return None

    def _judge(self, request: IHandshake, token: str, keys: Keys) -> Admit | Deny:
        try:
            claims = verify(token, keys, self._rules, self._seconds())
            return self._admitted(request, claims)
        except BadToken as error:
            return self._deny(401, str(error), "invalid_token")

    def _admitted(self, request: IHandshake, claims: Mapping[str, Any]) -> Admit:
        headers = [
            (name, ", ".join(texts))
            for name, claim in self._claim_headers
            if (texts := texts_of(claims, claim))
        ]
        tags = [f"{kind}:{text}" for kind, claim in self._tags for text in texts_of(claims, claim)]
        return Admit(
            headers=[*headers, *self._offer(request)], tags=tags, expires_at=self._end(claims)
        )

    def _offer(self, request: IHandshake) -> list[tuple[str, str]]:
        """Return what the upstream is offered: the subprotocols that are no tokens."""
        offered = list(request.subprotocols)
        for prefix in self._prefixes:
            offered = without_token(prefix, offered)
        is_there = bool(self._prefixes and offered)
        return [("Sec-WebSocket-Protocol", ", ".join(offered))] if is_there else []

    def _end(self, claims: Mapping[str, Any]) -> float | None:
        end = time_of(claims, "exp") if self._expires else None
        if end is None:
            return None
        return min(end + self._rules.leeway, self._seconds() + YEAR)

    def _deny(self, status: int, text: str, error: str = "") -> Deny:
        """Say no as RFC 6750 section 3 has it."""
        challenge = f'Bearer realm="{self._realm}"'
        if error:
            challenge += f', error="{error}", error_description="{text}"'
        return Deny(status, [("WWW-Authenticate", challenge)], text)


_FINDERS: Final[Mapping[str, Callable[[str], Finder]]] = {
    "header": lambda _name: partial(authorization, "bearer"),
    "cookie": lambda name: partial(cookie, name),
    "query": lambda name: partial(query_value, name),
    "subprotocol": lambda prefix: partial(subprotocol_token, prefix),
}


class _FileKeys:
    """The keys of a file."""

    def __init__(self, reactor: Any, path: str, parse: Callable[[bytes], Keys]) -> None:
        self._reactor = reactor
        self._watched = Watched(path, parse)

    def find(self, _kid: str | None) -> Keys:
        """Return them all."""
        return self._watched.value(self._reactor.seconds())

    def stop(self) -> None:
        """Need nothing."""


def _make_keys(
    reactor: Any, options: Mapping[str, str], found: Mapping[str, Any], agent: IAgent | None
) -> _FileKeys | FetchedKeys:
    """
    Make what knows the keys.

    :param options: as written.
    :param found: parsed.
    """
    given = [name for name in _SOURCES if name in options]
    if len(given) != 1:
        what = f"{' and '.join(given)} are too many" if given else "there is no key"
        raise ValueError(f"{what}; say one of {', '.join(_SOURCES)}")
    source = given[0]
    for name in ("jwks_ttl", "ca_file"):
        if name in options and source != "jwks_url":
            raise ValueError(f"{name}: without jwks_url nothing is fetched; delete one of them")
    parse = only(_SOURCES[source], found["algorithms"])
    if source != "jwks_url":
        return _FileKeys(reactor, found[source], parse)
    url: Url = found["jwks_url"]
    asker = Asker(
        reactor,
        url,
        ca_file=found["ca_file"],
        timeout=FETCH_TIMEOUT,
        most=MOST_READ,
        agent=agent,
    )
    return FetchedKeys(reactor, asker, url.name, parse, found["jwks_ttl"])
