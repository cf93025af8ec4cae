"""What the table of options is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from wsrelay.config.values import Parser

__all__ = ["ELSEWHERE", "Kind", "Option", "kind"]


@frozen
class Option:
    """
    One option of one kind of section.

    ``default`` is written as in relay.ini; empty: the option has none.  For a
    list it is the word that stands for the empty list.
    """

    name: str
    parse: Parser
    default: str
    help: str
    many: bool = False
    """A list: one item a line, each of them parsed."""

    only: tuple[Any, ...] | None = None
    """The values that work in this version; None: all.  Others are refused once parsed."""

    must_exist: bool = False
    """The value is a file that has to be there."""

    @property
    def works(self) -> bool:
        """Whether this version acts on any value but the default."""
        return self.only is None


@frozen
class Kind:
    """One kind of section: ``[name]``, or ``[name:NAME]`` where it is ``named``."""

    name: str
    named: bool
    options: Mapping[str, Option]

    @property
    def form(self) -> str:
        """How its header is written, without brackets."""
        return f"{self.name}:NAME" if self.named else self.name


ELSEWHERE = {
    "proxy_pass": "name the upstreams in a [pool:NAME], and say pool = NAME here",
    "location": "say path = … in a [route:NAME]",
    "server_name": "say host = … in a [route:NAME]",
    "proxy_read_timeout": "none is needed, idle sessions are pinged; idle_timeout ends them,"
    " and http_timeout is for plain HTTP",
    "proxy_send_timeout": "none is needed, idle sessions are pinged; idle_timeout ends them,"
    " and http_timeout is for plain HTTP",
    "proxy_connect_timeout": "say connect_timeout",
    "proxy_set_header": "say set_header = Name: value; X-Forwarded-… are set without asking",
    "proxy_http_version": "none is needed; websockets are HTTP/1.1",
    "client_max_body_size": "say max_body_size in a [route:NAME]; of messages max_message_size",
    "root": "say static = DIRECTORY in a [route:NAME]",
    "return": "say redirect = URL in a [route:NAME]",
    "ip_hash": "say balancer = hash key=ip in the [pool:NAME]",
    "least_conn": "say balancer = least-connections, which is the default, in the [pool:NAME]",
    "ssl_certificate": "say certificate in a [listener:NAME]",
    "ssl_certificate_key": "say key in a [listener:NAME]",
    "ssl_protocols": "say min_tls in a [listener:NAME]",
    "server": "name the upstreams in upstreams, one a line, of a [pool:NAME]",
    "bind": "say endpoint = tcp:8080 in a [listener:NAME]",
    "balance": "say balancer in a [pool:NAME]",
    "maxconn": "say max_connections=N behind an upstream",
}
"""What users of nginx and HAProxy write, and where it goes here."""


def kind(name: str, options: Iterable[Option], *, named: bool = False) -> Kind:
    """Make a `Kind` of a table."""
    return Kind(name, named, {option.name: option for option in options})
