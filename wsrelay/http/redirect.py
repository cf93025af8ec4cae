"""What a route with ``redirect = URL`` answers.  Pure."""

from __future__ import annotations

import re

from wsrelay.http.answers import OwnAnswer
from wsrelay.wire.request import Request

__all__ = ["redirect_answer"]

_WITHOUT_PATH = re.compile(r"(https?://[^/?#]+)/?")


def redirect_answer(url: str, request: Request) -> OwnAnswer:
    """
    Answer a request with a place to go.

    A *url* without a path gets the client's path and query, byte for byte, as HAProxy's
    ``redirect prefix`` does; any other one is the target as it stands.  What the client
    sends can only stand behind a scheme and a host that *url* ended with: no path of its
    own making, ``//evil.example`` either, names another host.

    301 for GET and HEAD.  Other methods get 308, because at a 301 clients may turn them
    into GET (RFC 9110, section 15.4.2), and the body would be lost.

    :param url: as relay.ini has it, all printable ASCII; ``{host}`` stands for the host
        that the client asked for, without its port.
    :returns: 400 when ``{host}`` is in *url*, and the client did not name one.
    """
    if "{host}" in url and not request.host:
        return OwnAnswer(400, "Host is missing, and needed here; send it.")
    prefix = _WITHOUT_PATH.fullmatch(url)
    text = (prefix[1] if prefix else url).replace("{host}", request.host)
    location = text.encode("ascii") + (request.target if prefix else b"")
    status = 301 if request.method in ("GET", "HEAD") else 308
    return OwnAnswer(status, "This is elsewhere; see Location.", ((b"Location", location),))
