"""The page of the demo: one HTML file, and the addresses it needs as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

from twisted.web.http import Request
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from typing_extensions import override

__all__ = ["content_security_policy", "make_site"]

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


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
    site = Site(root)
    site.noisy = False
    return site


def content_security_policy(html: str, relay_url: str) -> str:
    """
    Let the page run its own script and style and reach the relay, and nothing else.

    :param html: the page; its script and style elements have no attributes.
    """
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for element, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[element].append(f"'sha256-{digest}'")
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(sources['script'])}",
            f"style-src {' '.join(sources['style'])}",
            f"connect-src 'self' {relay_url}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


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
