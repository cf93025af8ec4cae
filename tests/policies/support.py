"""Stand-ins for servers that policies ask, and short ways to ask policies."""

# ruff: noqa: N802  (camelCase here is Twisted's: these stand in for its objects)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers as WebHeaders
from twisted.web.iweb import IAgent
from zope.interface import implementer

from wsrelay.testing import FakeHandshake
from wsrelay.wire.headers import Headers


@define(eq=False)
class FakeResponse:
    code: int
    headers: WebHeaders
    body: bytes = b""
    holds: bool = False
    reader: Protocol | None = None

    def deliverBody(self, protocol: Protocol) -> None:
        self.reader = protocol
        protocol.dataReceived(self.body)
        if not self.holds:
            protocol.connectionLost(Failure(ResponseDone()))


@define(eq=False)
class Asked:
    """One request to a fake server."""

    url: str
    headers: WebHeaders
    deferred: Deferred[Any]
    cancelled: bool = False

    def answer(
        self, status: int = 204, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> FakeResponse:
        found = WebHeaders({name: [value] for name, value in (headers or {}).items()})
        response = FakeResponse(status, found, body)
        self.deferred.callback(response)
        return response

    def fields(self) -> dict[str, list[str]]:
        return {
            name.decode().lower(): [value.decode("latin-1") for value in values]
            for name, values in self.headers.getAllRawHeaders()
        }


@implementer(IAgent)
@define(eq=False)
class FakeAgent:
    """Keeps what is asked until a test answers."""

    asked: list[Asked] = field(factory=list)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: WebHeaders | None = None,
        bodyProducer: Any = None,  # noqa: N803
    ) -> Deferred[Any]:
        assert method == b"GET"
        assert bodyProducer is None

        def cancel(_: object) -> None:
            one.cancelled = True

        one = Asked(uri.decode(), headers or WebHeaders(), Deferred(cancel))
        self.asked.append(one)
        return one.deferred

    @property
    def last(self) -> Asked:
        return self.asked[-1]


def handshake(*fields: tuple[str, str], **facts: Any) -> FakeHandshake:
    """Return a handshake with these header fields, beside those that each has."""
    sent = (
        ("Host", "chat.example.com:8080"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        *fields,
    )
    headers = Headers(
        tuple((name.encode("latin-1"), text.encode("latin-1")) for name, text in sent)
    )
    cookies = dict(
        each.strip().split("=", 1) for text in headers.get_all("cookie") for each in text.split(";")
    )
    known = {
        "path": "/chat",
        "query": "room=1",
        "client_address": "192.0.2.7",
        "host": "chat.example.com",
        **facts,
    }
    return FakeHandshake(headers=headers, cookies=cookies, **known)


def result_of(answer: Any) -> Any:
    """Return what a policy answered, which must be there; what it raised is raised."""
    if not isinstance(answer, Deferred):
        return answer
    fired: list[Any] = []
    answer.addBoth(fired.append)
    assert fired, "there is no answer yet"
    if isinstance(fired[0], Failure):
        fired[0].raiseException()
    return fired[0]


def header_of(denial: Any, name: str) -> str:
    """Return the only header of that name."""
    [value] = [text for key, text in denial.headers if key.lower() == name.lower()]
    return str(value)
