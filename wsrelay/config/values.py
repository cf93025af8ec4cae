"""
One value of relay.ini: text in, value out.

Each parser takes text without space around it, never empty, and raises
ValueError with the sentence that the operator gets to see.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from wsrelay.config.model import Network, PathRule, Rate
from wsrelay.wire.close import is_valid_code

Parser = Callable[[str], Any]

_HOUR = 3600.0
_LONGEST = 365 * 24 * _HOUR  # beyond a year it is a slip of the pen
_LARGEST = 2**63 - 1  # what a frame's length can say, RFC 6455 section 5.2
_SOCKET_PATH = 107  # bytes; Linux' struct sockaddr_un has 108, with a NUL at the end
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": _HOUR}
_SIZE = re.compile(r"([0-9]{1,19})(KiB|MiB|GiB|)")
_NEARLY_SIZE = re.compile(r"([0-9]{1,9}) ?([kmg])(?:i?b)?;?", re.IGNORECASE)
_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_RATE = re.compile(r"(\S+?)/(s|m)(?:\s+burst\s+(\S+))?")
_HOST_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)
_TRUTH = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def word_or(word: str, parse: Parser, value: object = None, *, says_word: bool = True) -> Parser:
    """
    Return a parser that takes *word* for *value*, and anything else to *parse*.

    :param says_word: whether an error ends with *word*; not where *parse* takes many words.
    """

    def parse_either(text: str) -> Any:
        if text.lower() == word:
            return value
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}" if says_word else str(error)) from None

    return parse_either


def one_of(*words: str) -> Parser:
    """Return a parser for one of *words*."""

    def parse_word(text: str) -> str:
        if text in words:
            return text
        near = get_close_matches(text, words, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"unknown value '{text}'{hint or '; expected one of ' + ', '.join(words)}")

    return parse_word


def boolean(text: str) -> bool:
    """Parse ``yes`` or ``no``; ``on``, ``off``, ``true`` and ``false`` are the same."""
    if text.lower() not in _TRUTH:
        raise ValueError(f"'{text}' is neither yes nor no; expected yes or no")
    return _TRUTH[text.lower()]


def integer(least: int, most: int = 1_000_000_000) -> Parser:
    """Return a parser for a whole number within the limits."""

    def parse_integer(text: str) -> int:
        if re.fullmatch("[0-9]{1,12}", text) and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"'{text}' is out of place; expected a whole number, {least} to {most}")

    return parse_integer


def duration(text: str) -> float:
    """Parse ``500ms``, ``3s``, ``5m`` or ``1h`` into seconds, more than 0."""
    seconds = duration_or_zero(text)
    if seconds == 0:
        raise ValueError(f"'{text}' leaves no time at all; expected more than 0s")
    return seconds


def duration_or_zero(text: str) -> float:
    """Parse a duration into seconds; ``0s`` may be."""
    match = _DURATION.fullmatch(text)
    if match is None:
        unit = f" (did you mean {text}s?)" if _DURATION.fullmatch(f"{text}s") else ""
        raise ValueError(f"'{text}' is not a duration{unit}; expected one like 500ms, 3s, 5m, 1h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise ValueError(f"'{text}' is longer than a year; expected one like 500ms, 3s, 5m, 1h")
    return seconds


def size(text: str) -> int:
    """Parse ``512``, ``64KiB``, ``1MiB`` or ``1GiB`` into bytes, more than 0."""
    length = size_or_zero(text)
    if length == 0:
        raise ValueError(f"'{text}' leaves no room at all; expected more than 0")
    return length


def size_or_zero(text: str) -> int:
    """Parse a size into bytes; ``0`` may be."""
    match = _SIZE.fullmatch(text)
    length = int(match[1]) * _UNITS[match[2]] if match else _LARGEST + 1
    if length > _LARGEST:
        near = _NEARLY_SIZE.fullmatch(text)
        meant = f" (did you mean {near[1]}{near[2].upper()}iB?)" if near else ""
        raise ValueError(
            f"'{text}' is not a size{meant}; expected bytes, or one like 64KiB, 1MiB, 1GiB"
        )
    return length


def rate_of(amount: Parser, like: str = "10/s or 600/m burst 20") -> Parser:
    """Return a parser for ``10/s`` or ``600/m burst 20``, counted in *amount*."""

    def parse_rate(text: str) -> Rate:
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is not a rate; expected one like {like}")
        burst = None if match[3] is None else amount(match[3])
        return Rate(amount(match[1]) / _SECONDS[match[2]], burst)

    return parse_rate


def percentage(text: str) -> float:
    """Parse ``10%`` into 0.1."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", text)
    if match is None or float(match[1]) > 100:
        raise ValueError(f"'{text}' is not a percentage; expected 0% to 100%")
    return float(match[1]) / 100


def network(text: str) -> Network:
    """Parse ``10.0.0.0/8``, ``2001:db8::/32`` or a single address."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = f"; it has host bits set; did you mean {ip_network(text, strict=False)}?"
    except ValueError:
        if "," in text:
            raise ValueError(
                f"'{text}' is more than one network; write one a line, indented"
            ) from None
        meant = "; expected one like 10.0.0.0/8 or 2001:db8::/32"
    raise ValueError(f"'{text}' is not a network{meant}")


def close_code(text: str) -> int:
    """Parse a close code that may be sent, RFC 6455 section 7.4."""
    code = int(text) if re.fullmatch("[0-9]{4}", text) else 0
    if is_valid_code(code):
        return code
    raise ValueError(
        f"'{text}' cannot be sent as a close code; expected 1000-1003, 1007-1014 or 3000-4999"
    )


def path_rule(text: str) -> PathRule:
    """Parse ``/prefix``, ``= /exact`` or ``~ regex``."""
    if text.startswith("~"):
        return PathRule("regex", _regex(text[1:].strip()))
    exact = text.startswith("=")
    path = text[1:].strip() if exact else text
    if not re.fullmatch("/[!-~]*", path) or re.search("[?#]", path):
        raise ValueError(
            f"'{path}' is not a path; expected a '/' and then what a client sends before any '?',"
            " or '= /exact' or '~ regex'"
        )
    return PathRule("exact" if exact else "prefix", path)


def _regex(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"'{pattern}' is not a regular expression: {error}") from None
    if not pattern:
        raise ValueError("there is no regular expression behind the '~'")
    return pattern


def host(text: str) -> str:
    """Parse a name, an IPv4 address or ``[IPv6]`` without port, into lower case."""
    if not (_HOST_NAME.fullmatch(text) or _is_bracketed(text)):
        raise ValueError(
            f"'{text}' is not a host; expected a name without port, in its xn-- form"
            " if it is not ASCII"
        )
    return text.lower()


def host_pattern(text: str) -> str:
    """Parse ``chat.example.com`` or ``*.example.com``, into lower case."""
    if len(text.split()) > 1:
        raise ValueError(f"'{text}' is more than one host; write a route for each")
    prefix = "*." if text.startswith("*.") else ""
    return prefix + host(text.removeprefix(prefix))


def host_and_port(text: str) -> str:
    """Parse a host with or without ``:port``; it stays as written."""
    name, colon, port_text = text.rpartition(":")
    if colon and not text.endswith("]"):
        port(port_text)
        host(name)
    else:
        host(text)
    return text


port = integer(1, 65535)


def _is_bracketed(text: str) -> bool:
    if text[:1] + text[-1:] != "[]" or "%" in text:  # a zone means nothing to anybody else
        return False
    try:
        return ip_address(text[1:-1]).version == 6
    except ValueError:
        return False


def word(text: str) -> str:
    """Take any text without space in it."""
    if len(text.split()) > 1:
        raise ValueError(
            f"'{text}' has a space in it; expected one word, and of several one a line, indented"
        )
    return text


def socket_path(text: str) -> str:
    """Take the path of a unix socket, as it will be used: in bytes it must fit an address."""
    length = len(os.fsencode(text))
    if length > _SOCKET_PATH:
        raise ValueError(
            f"a unix socket's path has {_SOCKET_PATH} bytes at most, and this one has {length};"
            f" choose a shorter one than {text}"
        )
    return text


file_path: Parser = Path
