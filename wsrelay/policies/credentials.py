"""What a client brings with it to be let in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote_plus

from wsrelay.interfaces import IHandshake
from wsrelay.policies.options import quotable

__all__ = [
    "Ambiguous",
    "Finder",
    "authorization",
    "cookie",
    "finder",
    "query_value",
    "subprotocol_token",
    "without_token",
]

Finder = Callable[[IHandshake], str | None]
"""Finds something in a request; None if it is not there."""


class Ambiguous(Exception):  # noqa: N818  it is the request that is
    """The same thing is there twice: whoever looks next might take the other one."""


def authorization(scheme: str, request: IHandshake) -> str | None:
    """
    Return what stands behind *scheme*, in lower case, in Authorization; None: nothing.

    :raises Ambiguous: there are several Authorization fields.
    """
    values = request.headers.get_all("authorization")
    if len(values) > 1:
        raise Ambiguous("Authorization was sent more than once.")
    word, _, rest = values[0].partition(" ") if values else ("", "", "")
    return rest.strip(" ") if word.lower() == scheme else None


def cookie(name: str, request: IHandshake) -> str | None:
    """
    Return the value of the cookie called *name*.

    :raises Ambiguous: there are several that differ; browsers may send one for each path.
    """
    found = set(_cookies(name, request))
    if len(found) > 1:
        raise Ambiguous(f"Cookie {name} was sent with different values.")
    return found.pop() or None if found else None


def _cookies(name: str, request: IHandshake) -> list[str]:
    """Return all values of a cookie, as `IHandshake.cookies` has the first."""
    pairs = [
        pair.strip().partition("=")
        for value in request.headers.get_all("cookie")
        for pair in value.split(";")
    ]
    return [
        text.strip().strip('"') for each, equals, text in pairs if equals and each.strip() == name
    ]


def query_value(name: str, request: IHandshake) -> str | None:
    """
    Return the value of *name* in the query, as it was sent.

    :raises Ambiguous: there are several, however their names are spelled.
    """
    pairs = [each.partition("=") for each in request.query.split("&")]
    found = [text for each, equals, text in pairs if equals and unquote_plus(each) == name]
    if len(found) > 1:
        raise Ambiguous(f"{name} is in the query more than once.")
    return found[0] or None if found else None


def without_token(prefix: str, offered: Sequence[str]) -> list[str]:
    """Return the subprotocols that hold no token; see `subprotocol_token`."""
    places = _places(prefix, offered)
    return [each for index, each in enumerate(offered) if index not in places]


def subprotocol_token(prefix: str, request: IHandshake) -> str | None:
    """
    Return the token among the offered subprotocols, where pages in browsers can put one.

    :param prefix: what stands before it; empty: it is the one behind ``bearer``.  What has no
        dot in it, as a token has, is in base64url.
    :raises Ambiguous: there are several.
    """
    places = _places(prefix, request.subprotocols)
    if len(places) > 1:
        raise Ambiguous("More than one subprotocol is a token.")
    if not places:
        return None
    text = request.subprotocols[places[0]].removeprefix(prefix)
    return text if "." in text else _from_base64(text)


def _places(prefix: str, offered: Sequence[str]) -> list[int]:
    if prefix:
        return [index for index, each in enumerate(offered) if each.startswith(prefix)]
    return [
        index for index, before in enumerate(offered[:-1], start=1) if before.lower() == "bearer"
    ]


def _from_base64(text: str) -> str:
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("latin-1")
    except ValueError:
        return text  # it is no token either


def _header(name: str, request: IHandshake) -> str | None:
    return ", ".join(request.headers.get_all(name)) or None


def _all_cookies(name: str, request: IHandshake) -> str | None:
    # All of them: whoever is asked may not look at the first.
    return "; ".join(_cookies(name, request)) or None


_PLAIN: Final[dict[str, Finder]] = {
    "ip": lambda request: request.client_address,
    "method": lambda request: request.method,
    "host": lambda request: request.host,
    "path": lambda request: request.path,
    "query": lambda request: request.query,
}
_NAMED: Final[dict[str, Callable[[str, IHandshake], str | None]]] = {
    "header": _header,
    "cookie": _all_cookies,
}


def finder(text: str) -> Finder:
    """Parse what to look for: ``ip``, ``path``, …, ``header:NAME`` or ``cookie:NAME``."""
    kind, _, name = text.partition(":")
    if text in _PLAIN:
        return _PLAIN[text]
    if kind in _NAMED and name:
        return partial(_NAMED[kind], quotable(name))
    raise ValueError(
        f"'{text}' is unknown; expected {', '.join(_PLAIN)}, header:NAME or cookie:NAME"
    )
