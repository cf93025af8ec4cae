"""Plain requests and their answers in memory and on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from tests.relay.support import FakeTransport
from tests.relay.world import ROUTE, World
from wsrelay.config.model import RouteConfig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO_BODY = b"HTTP/1.1 204 No Content\r\n\r\n"


def ask(
    target: str = "/",
    *fields: str,
    method: str = "GET",
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    """Return a request; with a *body* its length is said."""
    lines = [f"{method} {target} HTTP/{version}", "Host: www.example.com", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def in_chunks(*pieces: bytes) -> bytes:
    """Return a whole chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def answer(*fields: str, status: str = "200 OK", body: bytes = b"", version: str = "1.1") -> bytes:
    """Return an answer whose length is said."""
    lines = [f"HTTP/{version} {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@frozen
class Message:
    """A request or an answer as it was read; *body* is without framing."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=lambda body: f"{len(body)}:{body[:60]!r}")

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def target(self) -> str:
        return self.first.split(" ")[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the value of a header that is there at most once."""
        found = self.all(name)
        assert len(found) < 2, found
        return found[0] if found else None


def read_head(data: bytes) -> tuple[Message, bytes]:
    """Read the head at the beginning of *data*; return it without a body, and the rest."""
    head, empty_line, rest = data.partition(b"\r\n\r\n")
    assert empty_line, f"no head is complete: {data!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
    return Message(first, headers, b""), rest


def read_message(data: bytes, *, has_body: bool = True) -> tuple[Message, bytes]:
    """Read one whole message at the beginning of *data*; return it, and the rest."""
    head, rest = read_head(data)
    is_answer = head.first.startswith("HTTP/")
    if not has_body or (is_answer and (head.status < 200 or head.status in (204, 304))):
        return head, rest
    length = head.get("Content-Length")
    if head.get("Transfer-Encoding") is not None:
        assert head.get("Transfer-Encoding") == "chunked"
        assert length is None
        body, rest = _read_chunks(rest)
    elif length is None and is_answer:  # it ends with its connection
        body, rest = rest, b""
    else:
        size = int(length or 0)
        assert len(rest) >= size, f"{len(rest)} bytes of {size} have come"
        body, rest = rest[:size], rest[size:]
    return Message(head.first, head.headers, body), rest


def _read_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        assert end, "the body is cut off"
        size = int(line, 16)
        assert data[size : size + 2] == b"\r\n", "a chunk is cut off, or longer than it says"
        body, data = body + data[:size], data[size + 2 :]
        if size == 0:
            return body, data


def messages_in(data: bytes, methods: Sequence[str] = ()) -> list[Message]:
    """
    Read whole messages, behind which nothing may be.

    :param methods: of the requests that the final answers are for; none: no HEAD is there.
    """
    found = []
    waiting = list(methods)
    while data:
        to_head = bool(waiting) and waiting[0] == "HEAD"
        message, data = read_message(data, has_body=not to_head)
        if waiting and message.status >= 200:
            waiting.pop(0)
        found.append(message)
    assert not waiting, f"no answers to {waiting}"
    return found


def take(transport: FakeTransport, method: str = "GET") -> Message:
    """Return the one message that a peer has got since this was called last."""
    [message] = take_all(transport, [method] if method == "HEAD" else ())
    return message


def take_all(transport: FakeTransport, methods: Sequence[str] = ()) -> list[Message]:
    """Return the whole messages that a peer has got since this was called last."""
    data = bytes(transport.received)
    transport.received.clear()
    return messages_in(data, methods)


def plain_world(route: RouteConfig = ROUTE, **options: object) -> World:
    """Make a relay whose clients come for plain HTTP."""
    return World(route, **options)  # type: ignore[arg-type]


def check_over(world: World) -> None:
    """Let everybody go who waits for another request, and check that nothing is left."""
    world.leave_all()
    world.assert_clean()
