"""The options that discoveries are given in relay.ini: texts in, values out."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen

from wsrelay.config.values import Parser, duration, host, port

__all__ = [
    "Address",
    "Form",
    "base_path",
    "domain_name",
    "interval",
    "is_address",
    "name_server",
    "parsed",
]

Address = tuple[str, int]
"""An IP address and a port."""

DNS_PORT: Final = 53
LONGEST_NAME: Final = 253
LONGEST_LABEL: Final = 63  # RFC 1035 section 2.3.4
_ADDRESS_AND_PORT = re.compile(r"(?:\[(?P<v6>[^]]*:[^]]*)\]|(?P<v4>[^:]*))(?::(?P<port>.*))?")


@frozen
class Form:
    """How an upstream that was found is written."""

    scheme: str
    base: str

    def line(self, host: str, port: int, *words: str) -> str:
        """Return the upstream as a line of a pool's ``upstreams``; an IPv6 address in brackets."""
        return " ".join([f"{self.scheme}://{host}:{port}{self.base}", *words])


def parsed(option: str, text: str, parse: Parser, example: str = "") -> Any:
    """
    Parse an option of a discovery.

    :param example: what to write; for an option that must be there.
    :raises ValueError: it is bad or missing; the text names it.
    """
    if example and not text:
        raise ValueError(f"{option} is missing; say {option}={example}")
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def domain_name(text: str) -> bytes:
    """Parse a name that DNS can be asked for; the dot at its end is left out."""
    name = host(text.removesuffix("."))
    if is_address(name.strip("[]")):
        raise ValueError(f"'{text}' is an address, not a name; write it in upstreams")
    if len(name) > LONGEST_NAME or any(len(label) > LONGEST_LABEL for label in name.split(".")):
        raise ValueError(
            f"'{text}' is too long for a name; expected {LONGEST_NAME} letters at most,"
            f" {LONGEST_LABEL} between two dots"
        )
    return name.encode("ascii")


def name_server(text: str) -> tuple[Address, ...]:
    """Parse ``ADDRESS`` or ``ADDRESS:PORT`` into one name server; ``system`` into none."""
    if text == "system":
        return ()
    address, number = text, str(DNS_PORT)
    if not is_address(text) and (match := _ADDRESS_AND_PORT.fullmatch(text)):
        address, number = match["v6"] or match["v4"], match["port"] or number
    if not is_address(address):
        raise ValueError(
            f"'{text}' is not an address; expected one like 10.0.0.2, 10.0.0.2:5353,"
            " [2001:db8::1]:5353, or system"
        )
    return ((str(ip_address(address)), port(number)),)


def base_path(text: str) -> str:
    """Parse the path that every request's path is put behind; without slashes at its end."""
    if not re.fullmatch("/[!-~]*", text) or re.search("[?#]", text):
        raise ValueError(f"'{text}' is not a path; expected a '/' first, and neither '?' nor '#'")
    return text.rstrip("/")


def interval(least: float, least_text: str) -> Parser:
    """Return a parser for a duration of at least so many seconds."""

    def parse_interval(text: str) -> float:
        seconds = duration(text)
        if seconds < least:
            raise ValueError(f"'{text}' is too often; expected {least_text} or more")
        return seconds

    return parse_interval


def is_address(text: str) -> bool:
    """Say whether *text* is an IP address, which can be used without looking it up."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
