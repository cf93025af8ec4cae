"""Asking for files without a connection."""

from __future__ import annotations

import os
from pathlib import Path

from wsrelay.http.answers import FileAnswer, OwnAnswer, Span
from wsrelay.http.files import file_answer
from wsrelay.wire.headers import Headers
from wsrelay.wire.request import Request, parse_request

NOW = 1_800_000_000
"""Seconds of Unix at which all is asked."""

THEN = NOW - 86_400
"""When the files were written, unless a test says otherwise."""


def request(target: str | bytes, method: str = "GET", **fields: str) -> Request:
    """Make a request; the name of a field is written with underscores."""
    raw = target.encode() if isinstance(target, str) else target
    lines = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in fields.items())
    head = b"%b %b HTTP/1.1\r\nHost: relay.test\r\n%b\r\n"
    return parse_request(head % (method.encode(), raw, lines.encode("latin-1")))


def write(path: Path, content: bytes = b"", modified: float = THEN) -> Path:
    """Write a file, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    return path


def ask(
    root: Path, target: str | bytes, method: str = "GET", prefix: str = "", **fields: str
) -> FileAnswer | OwnAnswer:
    return file_answer(root, request(target, method, **fields), now=NOW, prefix=prefix)


def status_of(root: Path, target: str | bytes, method: str = "GET", **fields: str) -> int:
    """Ask for a file, and for no more than the status."""
    answer = ask(root, target, method, **fields)
    if isinstance(answer, FileAnswer):
        answer.close()
    return answer.status


def get(
    root: Path, target: str | bytes, method: str = "GET", prefix: str = "", **fields: str
) -> tuple[FileAnswer, bytes]:
    """Ask for a file that is there; return the answer, whose file is closed, and its body."""
    answer = ask(root, target, method, prefix, **fields)
    assert isinstance(answer, FileAnswer), answer
    body = body_of(answer)
    answer.close()
    return answer, body


def body_of(answer: FileAnswer) -> bytes:
    content = b""
    if answer.file is not None:
        answer.file.seek(0)
        content = answer.file.readall()
    return b"".join(cut(each, content) for each in answer.pieces)


def cut(piece: bytes | Span, content: bytes) -> bytes:
    if isinstance(piece, bytes):
        return piece
    return content[piece.offset : piece.offset + piece.length]


def header(answer: FileAnswer | OwnAnswer, name: str) -> str | None:
    """Return a header that is there at most once."""
    values = Headers(answer.headers).get_all(name)
    assert len(values) <= 1
    return values[0] if values else None
