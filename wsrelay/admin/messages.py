"""A request to the admin endpoint, and the answer, without the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from attrs import field, frozen

__all__ = [
    "JSON",
    "LARGEST_BODY",
    "Answer",
    "Call",
    "HandOver",
    "error_answer",
    "html_answer",
    "json_answer",
    "split_path",
    "text_answer",
]

LARGEST_BODY: Final = 64 * 1024
"""Bytes of a request's body."""

JSON: Final = "application/json"


@frozen
class Call:
    """
    One request.

    *path* holds the decoded segments, None if they are no UTF-8; *headers* the values by
    lower-case name, repeated ones joined; *body* is None when there was too much of it.
    """

    method: str
    path: tuple[str, ...] | None
    query: str = ""
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | None = b""
    is_secure: bool = False
    is_unix: bool = False
    client: str = ""

    def header(self, name: str) -> str:
        """Return the value of a header, empty if there is none."""
        return self.headers.get(name, "")

    @property
    def media_type(self) -> str:
        """What the body is said to be, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks, on behalf of a person."""
        return "text/html" in self.header("accept").lower()


def split_path(raw: bytes) -> tuple[str, ...] | None:
    """
    Split a request's path and decode each segment; None if there is no such path.

    A name may hold slashes and colons, as a unix socket's path does: ``%2F`` divides nothing.
    """
    if not raw.startswith(b"/"):
        return None
    try:
        return tuple(unquote(each.decode("ascii"), errors="strict") for each in raw[1:].split(b"/"))
    except UnicodeDecodeError:
        return None


@frozen
class Answer:
    """
    One answer.

    :param delay: seconds before it is given.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(factory=dict)
    delay: float = 0.0


@frozen
class HandOver:
    """The connection goes to *resource*, which answers."""

    resource: Any


def json_answer(status: int, value: Any) -> Answer:
    """Answer with JSON; what is no JSON, such as an infinite number, is an error of ours."""
    return Answer(status, json.dumps(value, allow_nan=False).encode())


def error_answer(
    status: int,
    message: str,
    errors: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    delay: float = 0.0,
) -> Answer:
    """Answer with the sentence that says why not."""
    value: dict[str, Any] = {"error": message}
    if errors:
        value["errors"] = list(errors)
    return Answer(status, json.dumps(value).encode(), JSON, headers or {}, delay)


def text_answer(status: int, body: bytes, version: str = "") -> Answer:
    """Answer with plain text."""
    return Answer(status, body, f"text/plain; {version}charset=utf-8")


def html_answer(
    status: int, html: str, policy: str, headers: Mapping[str, str] | None = None, delay: float = 0
) -> Answer:
    """Answer with a page that *policy* confines."""
    headers = {"Content-Security-Policy": policy, **(headers or {})}
    return Answer(status, html.encode(), "text/html; charset=utf-8", headers, delay)
