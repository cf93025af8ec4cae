"""Plain HTTP over the sockets of a test."""

from __future__ import annotations

from tests.http.plain import Message, read_head
from tests.system.support import Wire


def receive(wire: Wire, *, has_body: bool = True) -> Message:
    """
    Read one whole message, whose end is in it.

    :param has_body: False for the answer to HEAD.
    """
    head = receive_head(wire)
    if not has_body or (head.first.startswith("HTTP/") and head.status in (103, 204, 304)):
        return head
    if head.get("Transfer-Encoding") is not None:
        assert head.get("Transfer-Encoding") == "chunked"
        pieces = list(iter(lambda: read_chunk(wire), b""))
        return Message(head.first, head.headers, b"".join(pieces))
    length = head.get("Content-Length")
    assert length is not None or not head.first.startswith("HTTP/"), head
    return Message(head.first, head.headers, wire.read(int(length or 0)))


def receive_head(wire: Wire) -> Message:
    """Read a head, and nothing behind it."""
    head, rest = read_head(wire.read_head())
    assert rest == b""
    return head


def read_chunk(wire: Wire) -> bytes:
    """Read one chunk of a body; the last is empty."""
    line = b""
    while not line.endswith(b"\r\n"):
        line += wire.read(1)
    data = wire.read(int(line, 16))
    assert wire.read(2) == b"\r\n"
    return data
