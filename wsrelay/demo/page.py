"""The page of the demo: one HTML file, and the addresses it needs as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from twisted.web.http import Request
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from typing_extensions import override

from wsrelay.page import content_security_policy

__all__ = ["make_site"]


def make_site(relay_url: str, upstreams: Sequence[str]) -> Site:
    """
    Make the site that serves ``/`` and ``/demo.json``.

    :param relay_url: where the page connects to, ``ws://host:port``.
    :param upstreams: the names of the upstreams, in the order of their cards.
    """
    html = resources.files("wsrelay.demo").joinpath("page.html").read_text("utf-8")
    facts = json.dumps({"relay": relay_url, "upstreams": list(upstreams)}).encode()
    headers = {
        "Content-Security-Policy": content_security_policy(html, relay_url),
        "Referrer-Policy": "no-referrer",
    }
    root = _Place()
    root.putChild(b"", _Text(html.encode(), "text/html; charset=utf-8", headers))
    root.putChild(b"demo.json", _Text(facts, "application/json", {}))
    return _Site(root)


class _Site(Site):
    """Logs nothing: the relay in front does."""

    noisy = False

    @override
    def log(self, request: Request) -> None:
        pass


class _Place(Resource):
    """A place with nothing below it but what was put there."""

    @override
    def getChild(self, path: bytes, request: Request) -> IResource:
        return notFound()


class _Text(_Place):
    """A text that stays the same as long as the process lives."""

    def __init__(self, body: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._body = body
        self._headers = {
            "Content-Type": content_type,
            # Another demo may answer on this port a moment later.
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **headers,
        }

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """Answer GET and HEAD."""
        for name, value in self._headers.items():
            request.setHeader(name.encode(), value.encode())
        return self._body
