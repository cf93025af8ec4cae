"""A client's opening handshake, as a balancer sees it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from attrs import define
from zope.interface import implementer

from wsrelay.interfaces import IHandshake
from wsrelay.wire.headers import Headers


@implementer(IHandshake)
@define(slots=False, eq=False)
class Handshake:
    """What a balancer sees of a client's opening handshake; see `IHandshake`."""

    path: str
    query: str
    headers: Headers
    client_address: str
    host: str
    route: str
    subprotocols: tuple[str, ...]
    method: str = "GET"
    is_websocket: bool = True

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """Parse Cookie (RFC 6265 section 5.4), leniently; the first of a name counts."""
        found: dict[str, str] = {}
        for value in self.headers.get_all("cookie"):
            for pair in value.split(";"):
                name, equals, text = pair.strip().partition("=")
                if equals:
                    found.setdefault(name.strip(), text.strip().strip('"'))
        return found
