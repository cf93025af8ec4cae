"""An upstream that writes down every byte, and answers each request by what it says itself."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from attrs import define, field

from tests.support import PATIENCE

_HEAD = re.compile(rb"([A-Z]+) (/[^ ]*) HTTP/1\.1")


@define
class Seen:
    """One request: what the upstream was asked, as far as it came."""

    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    body: bytes = b""
    is_whole: bool = False


@define(eq=False)
class Visit(asyncio.Protocol):
    """One connection: requests one after the other, read by the letter of RFC 9112."""

    recorder: Recorder
    _buffer: bytes = b""
    _transport: asyncio.Transport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and self._read():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        if self._buffer and not _HEAD.match(self._buffer):
            self.recorder.junk.append(self._buffer)

    def _read(self) -> bool:
        """Take a request from what came; False: it is not whole yet."""
        head, empty, rest = self._buffer.partition(b"\r\n\r\n")
        match = _HEAD.match(head)
        if not empty:
            return False
        if match is None:
            self.recorder.junk.append(self._buffer)
            self._transport.abort()
            return False
        rows = (row.partition(b": ") for row in head.split(b"\r\n")[1:])
        fields = {name.lower(): value for name, _, value in rows}
        seen = self.recorder.note(Seen(match[1], match[2], fields))
        seen.body, end = _body(fields, rest)
        if end is None:
            return False
        seen.is_whole = True
        self._buffer = rest[end:]
        self._transport.write(answer_to(seen))
        return True


def _body(fields: dict[bytes, bytes], data: bytes) -> tuple[bytes, int | None]:
    """Return what there is of a body, and where it ends; None: it goes on."""
    if b"transfer-encoding" not in fields:
        length = int(fields.get(b"content-length", b"0"))
        return data[:length], length if len(data) >= length else None
    assert fields[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in fields
    body, at = b"", 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        body += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
        if size == 0:
            return body, at if len(data) >= at else None
    return body, None


def answer_to(seen: Seen) -> bytes:
    """Return an answer that says what it answers."""
    text = b"%b %b" % (seen.method, seen.target)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
    return head if seen.method == b"HEAD" else head + text


@define(eq=False)
class Recorder:
    """
    Listens on a port of its own, in a thread of its own.

    :ivar seen: every request of which a whole head came, by its path.
    :ivar junk: what came that is no request.
    """

    port: int = 0
    seen: dict[bytes, list[Seen]] = field(factory=dict)
    junk: list[bytes] = field(factory=list)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)

    def note(self, seen: Seen) -> Seen:
        """Write down a request, once however often more of it comes."""
        known = self.seen.setdefault(seen.target.partition(b"?")[0], [])
        if known and not known[-1].is_whole:
            return known[-1]
        known.append(seen)
        return seen

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        recorder = cls()
        loop = recorder._loop
        server = loop.run_until_complete(
            loop.create_server(lambda: Visit(recorder), "127.0.0.1", 0, backlog=1000)
        )
        recorder.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield recorder
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)
            loop.close()
