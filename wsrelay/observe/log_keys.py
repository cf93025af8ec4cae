"""The keys of the access log's records; docs/access-log.rst is made of this."""

from __future__ import annotations

from typing import Final

from attrs import frozen

EVENTS: Final = {
    "open": "a session opened",
    "tick": "it goes on; one of each live session every ``tick``",
    "end": "it ended",
    "http": "a plain request was answered, by an upstream or with a file or a redirect",
    "refused": "a client got no session, or no answer of an upstream",
    "refused-more": "refusals that got no record of their own",
}
"""What a record is about: the values of ``event``."""

_ONE = ("open", "tick", "end", "http", "refused")
_ALL = (*_ONE, "refused-more")
_PASSED = ("tick", "end")


@frozen
class Key:
    """One key: in the records of which events it is, and what it says."""

    events: tuple[str, ...]
    help: str


KEYS: Final = {
    "ts": Key(_ALL, "when it was written, in UTC, to the millisecond"),
    "event": Key(_ALL, "what it is about"),
    "id": Key(_ONE, "16 hexadecimal digits: of a session, or of a plain request"),
    "listener": Key(_ONE, "where the client came in"),
    "route": Key(_ONE, "the route that was chosen; empty if it did not get that far"),
    "pool": Key(_ONE, "its pool, likewise"),
    "upstream": Key(_ONE, "the upstream that was asked last, likewise"),
    "client": Key(
        _ALL,
        "the client's address and port, as trusted proxies report it; of ``refused-more`` the "
        "address that was refused most",
    ),
    "host": Key(_ONE, "the Host header"),
    "path": Key(_ONE, "the request's path; with its query if ``redact_query = no``"),
    "origin": Key(_ONE, "the Origin header"),
    "user_agent": Key(_ONE, "the User-Agent header"),
    "subprotocol": Key(_ONE, "what the upstream chose"),
    "extensions": Key(_ONE, "what was agreed on with the client"),
    "status": Key(_ONE, "of the answer; 499 stands for a client that left before there was one"),
    "attempts": Key(_ONE, "how many upstreams were asked"),
    "handshake_ms": Key(
        _ONE, "milliseconds from the request's first byte to the head of the answer"
    ),
    "method": Key(("http", "refused"), "of a plain request"),
    "duration_s": Key(
        (*_PASSED, "http"), "seconds: of the session so far, or to the end of the answer"
    ),
    "messages_up": Key(_PASSED, "complete data messages from the client"),
    "messages_down": Key(_PASSED, "complete data messages from the upstream"),
    "bytes_up": Key(
        (*_PASSED, "http"),
        "from the client: payload bytes of data frames as they were on the wire, or bytes of a "
        "request's body",
    ),
    "bytes_down": Key((*_PASSED, "http"), "from the upstream, likewise"),
    "rtt_ms": Key(_PASSED, "milliseconds of the last ping to the client, or null"),
    "close_code": Key(
        ("end",), "1006 stands for a lost connection, 1005 for a close frame without a code"
    ),
    "close_reason": Key(("end",), "the close frame's, or what happened"),
    "initiator": Key(("end",), "who ended it: ``client``, ``upstream``, or ``relay:`` and why"),
    "reason": Key(
        ("http", "refused", "refused-more"),
        "why: of ``http`` what kept the answer from its end; of ``refused`` a sentence; of "
        "``refused-more`` the `word for it <answers.rst>`_",
    ),
    "count": Key(("refused-more",), "how many of them"),
    "seconds": Key(("refused-more",), "in how many seconds"),
    "client_count": Key(("refused-more",), "how many of them came from ``client``"),
}
"""Name of the key -> what it says."""
