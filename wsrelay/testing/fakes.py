"""What stands in for the relay's own objects, as a plugin sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen
from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from wsrelay.interfaces import Close, IHandshake, ISession, IUpstream
from wsrelay.messages.answers import close_of, message_of
from wsrelay.wire.headers import Headers

__all__ = ["REQUESTS", "FakeHandshake", "FakeSession", "FakeUpstream", "require_provides"]


@implementer(IHandshake)
@frozen
class FakeHandshake:
    """A handshake as bare as a client can make it, unless told otherwise."""

    path: str = "/"
    query: str = ""
    headers: Headers = field(factory=Headers)
    cookies: Mapping[str, str] = field(factory=dict)
    client_address: str = ""
    host: str = ""
    route: str = "default"
    subprotocols: tuple[str, ...] = ()
    method: str = "GET"
    is_websocket: bool = True


@implementer(IUpstream)
@define(eq=False)
class FakeUpstream:
    """An upstream that is whatever a test says it is."""

    name: str
    weight: int = 1
    active: int = 0
    url: str = "ws://127.0.0.1:9000"
    max_connections: int | None = None
    state: str = "ready"
    health: str = "up"
    rtt: float | None = None
    backup: bool = False


@implementer(ISession)
@define(eq=False)
class FakeSession:
    """
    A session that keeps what a filter does to it.

    What the relay would not send raises ValueError here as it does there.
    """

    id: str = "0123456789abcdef"
    route: str = "default"
    pool: str = "default"
    upstream: str = "127.0.0.1:9000"
    client_address: str = ""
    host: str = ""
    path: str = "/"
    query: str = ""
    subprotocol: str = ""
    tags: frozenset[str] = frozenset()
    data: dict[Any, Any] = field(factory=dict)
    sent: list[tuple[str, bytes, bool]] = field(factory=list)
    """What was sent: direction, payload, whether it is binary."""
    closed: Close | None = None
    """How it was closed; None: it was not."""

    def send(self, direction: str, payload: bytes | str, is_binary: bool = False) -> None:
        """Keep a message in `sent`, unless the session was closed."""
        checked = message_of(direction, payload, is_binary=is_binary)
        if self.closed is None:
            self.sent.append((direction, checked, is_binary))

    def close(self, code: int = 1008, reason: str = "") -> None:
        """Keep the first close in `closed`."""
        self.closed = self.closed or close_of(code, reason)

    def tag(self, name: str) -> None:
        """Tag it."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"a tag has to be a text that is not empty, not {name!r}")
        self.tags |= {name}

    def untag(self, name: str) -> None:
        """Remove a tag."""
        self.tags -= {name}


REQUESTS = (
    FakeHandshake(),
    FakeHandshake(client_address="2001:db8::1"),
    FakeHandshake(
        path="/chat/r\xf6\xf6m",
        query="room=blue&room=red&&=x&empty",
        headers=Headers(((b"Host", b"chat.example.com"), (b"X-User", b"\xfcnal"))),
        cookies={"user": "ada", "empty": ""},
        client_address="192.0.2.7",
        host="chat.example.com",
        subprotocols=("chat.v2", "chat.v1"),
    ),
    FakeHandshake(path="/socket.io/", query="EIO=4&transport=polling", is_websocket=False),
    FakeHandshake(
        path="/socket.io/",
        query="EIO=4&transport=polling&sid=%FF_x",
        method="POST",
        is_websocket=False,
    ),
    FakeHandshake(path="/echo/007/abc/xhr", method="POST", is_websocket=False),
)


def require_provides(interface: type[Interface], candidate: object) -> None:
    """Raise AssertionError unless *candidate* provides *interface*, as far as can be seen."""
    try:
        verifyObject(interface, candidate)
    except Invalid as error:
        raise AssertionError(str(error)) from error
