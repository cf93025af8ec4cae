"""Heads: what is accepted says the same to the next one who reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.fuzz.texts import check_said
from wsrelay.wire.body import (
    BodyReader,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
    request_body,
    response_body,
)
from wsrelay.wire.forward import (
    Forwarded,
    answer_head,
    interim_head,
    own_answer,
    switching_head,
    upstream_head,
)
from wsrelay.wire.headers import Headers
from wsrelay.wire.request import BadRequest, Offer, Request, check_handshake, parse_request
from wsrelay.wire.response import BadResponse, Response, check_switching, parse_response

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
"""Which RFC 6455 answers with ``s3pPLMBiTxaQ9kYGzzhZRbK+xOo=``."""

RELAYS_OWN = {
    b"x-forwarded-for": b"192.0.2.7",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"asked.test",
    b"x-forwarded-port": b"443",
    b"x-real-ip": b"192.0.2.7",
    b"x-request-id": b"id-of-the-relay",
}
FORWARDED = Forwarded(
    for_=RELAYS_OWN[b"x-forwarded-for"],
    proto=RELAYS_OWN[b"x-forwarded-proto"],
    host=RELAYS_OWN[b"x-forwarded-host"],
    port=RELAYS_OWN[b"x-forwarded-port"],
    real_ip=RELAYS_OWN[b"x-real-ip"],
    trusted=False,
)
ONE_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
    *(b"proxy-authorization", b"proxy-authenticate", b"http2-settings", b"transfer-encoding"),
}
FEW = 150
"""Fields; beyond that those of the relay's own may be what is too much for the next one."""


def request(data: bytes) -> None:
    """Read *data* as a client's head, write it for an upstream, and read that."""
    try:
        asked = parse_request(data)
    except BadRequest as error:
        check_refusal(error)
        return
    check_pieces(asked)
    offer = offer_of(asked)
    if len(asked.headers) > FEW:
        return
    check_sent(asked, None)
    if offer is not None:
        check_sent(asked, offer)


def check_refusal(error: BadRequest) -> None:
    """A refusal is an answer of one head, and of a sentence."""
    assert error.status in (400, 426, 431)
    assert error.reason.endswith(".")
    assert error.reason.isprintable()
    answer = own_answer(error.status, error.reason, error.headers)
    head, _, said = answer.partition(b"\r\n\r\n")
    parsed = parse_response(head + b"\r\n\r\n")
    assert parsed.status == error.status
    assert parsed.headers.values(b"content-length") == (b"%d" % len(said),)


def check_pieces(asked: Request) -> None:
    assert asked.target.startswith(b"/")
    whole = f"{asked.path}?{asked.query}" if b"?" in asked.target else asked.path
    assert whole.encode("latin-1") == asked.target
    assert asked.host == asked.host.lower()
    assert asked.host_header or asked.version == "1.0"
    assert not set(asked.host) & set("/@\\ \t?#")


def offer_of(asked: Request) -> Offer | None:
    try:
        return check_handshake(asked)
    except BadRequest as error:
        check_refusal(error)
        return None


def check_sent(asked: Request, offer: Offer | None) -> None:
    """
    What an upstream is sent is the same request.

    :param offer: None: it is sent as one that asks for no websocket.
    """
    host = asked.host_header or b"upstream.test"
    sent = upstream_head(
        asked,
        target=asked.target,
        host=host,
        forwarded=FORWARDED,
        request_id=RELAYS_OWN[b"x-request-id"],
        upgrades=offer is not None,
    )
    check_lines(sent)
    again = parse_request(sent)
    assert (again.method, again.target, again.version) == (asked.method, asked.target, "1.1")
    assert again.headers.values(b"host") == (host,)
    assert body_of(request_body(again)) == body_of(request_body(asked))
    check_own_fields(again.headers)
    check_others_pass(asked.headers, again.headers)
    if offer is not None:
        assert check_handshake(again) == offer
        assert again.headers.elements(b"connection") == ("upgrade",)
    else:
        assert not again.headers.values(b"upgrade")
        assert not again.headers.values(b"connection")


def check_lines(head: bytes) -> None:
    """Who ends lines at any CR or LF finds no other lines than who wants both."""
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r")
    assert head.index(b"\r\n\r\n") == len(head) - 4
    assert b"\0" not in head


def body_of(reader: BodyReader) -> tuple[str, int]:
    return type(reader).__name__, reader.length if isinstance(reader, LengthBody) else 0


def check_own_fields(headers: Headers) -> None:
    """What the relay says of the client is there once, also for who reads ``_`` as ``-``."""
    counts = Counter(name.lower().replace(b"_", b"-") for name, _ in headers)
    for name, value in RELAYS_OWN.items():
        assert headers.values(name) == (value,)
        assert counts[name] == 1
    assert counts[b"forwarded"] == 0


def check_others_pass(came: Headers, sent: Headers) -> None:
    """What is neither the relay's nor for one hop passes, in order, and nothing else does."""
    listed = {name.encode("latin-1") for name in came.elements(b"connection")}
    kept = {name for name in listed if name.startswith(b"sec-websocket-")}
    dropped = ONE_HOP | RELAYS_OWN.keys() | {b"forwarded", b"host", b"expect"} | (listed - kept)
    dropped |= {b"x-ssl-client-s-dn", b"x-ssl-client-verify"}
    assert end_to_end(sent, dropped) == end_to_end(came, dropped)


def end_to_end(headers: Iterable[tuple[bytes, bytes]], dropped: set[bytes]) -> list[object]:
    return [
        (name, value)
        for name, value in headers
        if not {name.lower(), name.lower().replace(b"_", b"-")} & dropped
    ]


def response(data: bytes) -> None:
    """Read *data* as an upstream's head, write it for a client, and read that."""
    try:
        answer = parse_response(data)
    except BadResponse as error:
        check_said(error.reason)
        return
    if answer.status == 101:
        check_switch(answer)
    elif answer.status < 200:
        check_same(answer, parse_response(interim_head(answer)))
    else:
        check_answer(answer)


def check_switch(answer: Response) -> None:
    offered = ("chat", "superchat"), ("permessage-deflate", "x-other")
    try:
        agreed = check_switching(answer, KEY, *offered)
    except BadResponse as error:
        check_said(error.reason)
        return
    head = switching_head(answer)
    check_lines(head)
    again = parse_response(head)
    assert check_switching(again, KEY, *offered) == agreed
    assert not again.headers.values(b"content-length")
    check_answers_fields(answer, again)


def check_same(answer: Response, again: Response) -> None:
    assert (again.status, again.reason, again.version) == (answer.status, answer.reason, "1.1")
    check_answers_fields(answer, again)


def check_answers_fields(answer: Response, again: Response) -> None:
    """The fields that pass are those that should, in order."""
    listed = {name.encode("latin-1") for name in answer.headers.elements(b"connection")}
    kept = {name for name in listed if name.startswith(b"sec-websocket-")}
    dropped = ONE_HOP | (listed - kept) | {b"content-length"}
    assert end_to_end(again.headers, dropped) == end_to_end(answer.headers, dropped)
    hops = (ONE_HOP - {b"connection", b"upgrade", b"transfer-encoding"}) & again.headers.names()
    assert not hops


def check_answer(answer: Response) -> None:
    """A client finds the end of the body where the relay does."""
    try:
        reader = response_body(answer)
    except BadResponse as error:
        check_said(error.reason)
        check_headless(answer)
        return
    if len(answer.headers) > FEW:
        return
    chunked = isinstance(reader, (ChunkedBody, UntilCloseBody))
    head = answer_head(answer, b"close", chunked=chunked)
    check_lines(head)
    again = parse_response(head)
    check_same(answer, again)
    assert "close" in again.headers.elements(b"connection")
    expected = ("ChunkedBody", 0) if chunked else body_of(reader)
    assert body_of(response_body(again)) == expected


def check_headless(answer: Response) -> None:
    """As an answer to HEAD it passes all the same, and nobody can be misled by it."""
    if len(answer.headers) > FEW:
        return
    again = parse_response(answer_head(answer, b"close"))
    check_same(answer, again)
    response_body(again)
