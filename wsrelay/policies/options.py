"""The options that policies are given in relay.ini: texts in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from wsrelay.config.values import Parser, host, port
from wsrelay.discovery.options import parsed

__all__ = ["Url", "listed", "quotable", "read", "web_url"]

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^]@]*\]|[^]\[:/?#@]+)(?::(?P<port>[0-9]+))?"
    r"(?P<path>/[!-~]*)?",
    re.IGNORECASE,
)


@frozen
class Url:
    """A URL that a policy asks; ``name`` is what logs may say of it, without the query."""

    text: str
    name: str
    host: str
    is_secure: bool


def read(
    options: Mapping[str, str], table: Mapping[str, tuple[Parser, Any]], **examples: str
) -> dict[str, Any]:
    """
    Parse the options of a policy.

    :param table: option -> its parser, and its value where it is not given.
    :param examples: what to write, of options that must be there.
    :raises ValueError: one is bad or missing; the text names it.
    """
    return {
        name: parsed(name, options.get(name, ""), parse, examples.get(name, ""))
        if name in options or name in examples
        else default
        for name, (parse, default) in table.items()
    }


def listed(parse: Parser) -> Parser:
    """Return a parser for several values with commas between them, into a tuple."""

    def parse_list(text: str) -> tuple[Any, ...]:
        if not all(text.split(",")):
            raise ValueError(f"'{text}' has nothing between two commas; expected one like a,b")
        return tuple(map(parse, text.split(",")))

    return parse_list


def quotable(text: str) -> str:
    """Take what can stand between the quotes of a challenge (RFC 9110 section 11.2)."""
    if not re.fullmatch(r"[!#-\[\]-~]{1,100}", text):
        raise ValueError(
            f"'{text}' cannot stand in a challenge; expected at most 100 characters of ASCII,"
            " neither quotes nor backslashes among them"
        )
    return text


def web_url(text: str) -> Url:
    """Parse ``http://host:port/path`` or ``https://…``."""
    match = _URL.fullmatch(text)
    if match is None or "#" in text:
        # A URL with a user's name in it may hold a password, and is not repeated.
        what = "it" if "@" in text else f"'{text}'"
        raise ValueError(
            f"{what} is not a URL that can be asked; expected one like"
            " http://127.0.0.1:9000/auth or https://…, without user or fragment"
        )
    host(match["host"])
    if match["port"] is not None:
        port(match["port"])
    whole = text if match["path"] else f"{text}/"
    is_secure = match["scheme"].lower() == "https"
    return Url(whole, whole.partition("?")[0], match["host"].strip("[]"), is_secure)
