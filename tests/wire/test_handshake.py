"""An opening handshake is one by RFC 6455, or refused with what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.request import BadRequest, Offer, Request, check_handshake, parse_request

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    b"Host": b"example.com",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def head(start: bytes, *fields: tuple[bytes, bytes]) -> bytes:
    return b"%b\r\n%b\r\n" % (start, b"".join(b"%b: %b\r\n" % field for field in fields))


def handshake(
    *more: tuple[bytes, bytes], start: bytes = b"GET / HTTP/1.1", **changed: bytes | None
) -> Request:
    """Parse a good handshake with fields changed, taken out (None) or added."""
    fields = {**HANDSHAKE, **{name.replace("_", "-").encode(): v for name, v in changed.items()}}
    kept = [(name, value) for name, value in fields.items() if value is not None]
    return parse_request(head(start, *kept, *more))


def refusal(request: Request) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        check_handshake(request)
    return caught.value


def test_a_handshake_is_read_into_what_it_offers() -> None:
    request = handshake(
        (b"Sec-WebSocket-Protocol", b"chat, Super"),
        (b"Sec-WebSocket-Protocol", b",v2"),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits=10"),
        (b"sec-websocket-extensions", b'X-Other; a="b"'),
        (b"Content-Length", b"0"),
        Upgrade=b"h2c, WebSocket",
        Connection=b"keep-alive, UPGRADE",
    )
    offer = check_handshake(request)
    assert offer.key == KEY
    assert offer.subprotocols == ("chat", "Super", "v2")
    assert offer.extensions == ("permessage-deflate", "x-other")


def test_a_handshake_may_offer_nothing() -> None:
    offer = check_handshake(handshake((b"Sec-WebSocket-Protocol", b"")))
    assert (offer.subprotocols, offer.extensions) == ((), ())


@pytest.mark.parametrize(
    ("request_", "cause"),
    [
        (handshake(start=b"POST / HTTP/1.1"), "GET of HTTP/1.1"),
        (handshake(start=b"get / HTTP/1.1"), "GET of HTTP/1.1"),
        (handshake(start=b"GET / HTTP/1.0"), "GET of HTTP/1.1"),
        (handshake(Upgrade=None), "Upgrade does not list"),
        (handshake(Upgrade=b"h2c"), "Upgrade does not list"),
        (handshake(Upgrade=b"websocket/13"), "Upgrade does not list"),
        (handshake(Connection=None), "Connection does not list"),
        (handshake(Connection=b"keep-alive"), "Connection does not list"),
        (handshake(Sec_WebSocket_Version=None), "Sec-WebSocket-Version is missing"),
        (handshake(Sec_WebSocket_Key=None), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=b""), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=b"c2hvcnQ="), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=b"A" * 24), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=b"A" * 23 + b"="), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=KEY + b"="), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=b"dGhlIHNhbXBsZSBub25j-Q=="), "Sec-WebSocket-Key is not"),
        (handshake(Sec_WebSocket_Key=b"dGhlIHNhbXBs ZSBub25jQ=="), "Sec-WebSocket-Key is not"),
        (handshake((b"Sec-WebSocket-Key", KEY)), "Sec-WebSocket-Key is not"),
        (handshake((b"Transfer-Encoding", b"chunked")), "has no body"),
        (handshake((b"Content-Length", b"1")), "has no body"),
        (handshake((b"Expect", b"100-continue")), "remove Expect"),
        (handshake((b"Sec-WebSocket-Protocol", b"a b")), "Sec-WebSocket-Protocol is no list"),
        (handshake((b"Sec-WebSocket-Protocol", b"a, a")), "Sec-WebSocket-Protocol is no list"),
        (handshake((b"Sec-WebSocket-Protocol", b"\xe4")), "Sec-WebSocket-Protocol is no list"),
        (
            handshake((b"Sec-WebSocket-Protocol", b"a"), (b"Sec-WebSocket-Protocol", b"b, a")),
            "Sec-WebSocket-Protocol is no list",
        ),
        (handshake((b"Sec-WebSocket-Extensions", b"a; =")), "Sec-WebSocket-Extensions is malf"),
    ],
)
def test_a_malformed_handshake_is_refused_with_its_cause(request_: Request, cause: str) -> None:
    error = refusal(request_)
    assert error.status == 400
    assert cause in error.reason
    assert error.headers == ()


@pytest.mark.parametrize(
    "request_",
    [
        *[
            handshake(Sec_WebSocket_Version=version)
            for version in (b"8", b"0", b"14", b"013", b"13, 8", b"13,13", b"", b"x")
        ],
        handshake((b"Sec-WebSocket-Version", b"13")),
        handshake(Sec_WebSocket_Version=b"8", Sec_WebSocket_Key=None),
    ],
)
def test_another_version_is_told_which_one_is_spoken(request_: Request) -> None:
    error = refusal(request_)
    assert error.status == 426
    assert error.headers == ((b"Sec-WebSocket-Version", b"13"),)


def test_subprotocols_that_differ_in_case_differ() -> None:
    offer = check_handshake(handshake((b"Sec-WebSocket-Protocol", b"chat, Chat")))
    assert offer.subprotocols == ("chat", "Chat")


def outcome(raw: bytes) -> Offer | BadRequest:
    try:
        return check_handshake(parse_request(raw))
    except BadRequest as error:
        return error


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.binary(max_size=2)), min_size=1, max_size=3))
def test_a_damaged_handshake_is_a_handshake_or_a_bad_request(
    damages: list[tuple[int, bytes]],
) -> None:
    raw = head(b"GET / HTTP/1.1", *HANDSHAKE.items())
    for place, damage in damages:
        at = place % (len(raw) - 4)
        raw = raw[:at] + damage + raw[at + 1 :]
    result = outcome(raw)
    if isinstance(result, BadRequest):
        assert result.status in (400, 426)
    else:
        assert len(result.key) == 24
        assert raw.lower().count(b"websocket") >= 3
