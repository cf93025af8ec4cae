"""An upstream's response is read as strictly as a request, and its 101 is checked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.response import (
    BadResponse,
    Response,
    accept_key,
    check_switching,
    parse_response,
)

# The example of RFC 6455, section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SWITCHING = {
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Accept": b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
}
OK = b"HTTP/1.1 101 Switching Protocols"
DEFLATE = b"permessage-deflate"


def head(start: bytes, *fields: tuple[bytes, bytes]) -> bytes:
    return b"%b\r\n%b\r\n" % (start, b"".join(b"%b: %b\r\n" % field for field in fields))


def switching(*more: tuple[bytes, bytes], start: bytes = OK, **changed: bytes | None) -> Response:
    """Parse a good 101 with fields changed, taken out (None) or added."""
    fields = {**SWITCHING, **{name.replace("_", "-").encode(): v for name, v in changed.items()}}
    kept = [(name, value) for name, value in fields.items() if value is not None]
    return parse_response(head(start, *kept, *more))


def refusal(raw: bytes) -> str:
    with pytest.raises(BadResponse) as caught:
        parse_response(raw)
    return caught.value.reason


def test_a_response_comes_apart_into_its_values() -> None:
    response = parse_response(b"HTTP/1.1 403 Not f\xfcr you\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert response.status == 403
    assert response.reason == b"Not f\xfcr you"
    assert response.version == "1.1"
    assert list(response.headers) == [(b"X-A", b"1"), (b"x-a", b"2")]


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 100 Continue", 100, b"Continue"),
        (b"HTTP/1.1 999 \t", 999, b"\t"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
    ],
)
def test_a_status_line_may_have_an_odd_status_or_no_reason(
    line: bytes, status: int, reason: bytes
) -> None:
    response = parse_response(line + b"\r\n\r\n")
    assert (response.status, response.reason) == (status, reason)


def test_http_1_0_is_read() -> None:
    assert parse_response(b"HTTP/1.0 200 OK\r\n\r\n").version == "1.0"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 1000 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b" HTTP/1.1 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\x7fK",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.1 200 O\rK",
        b"\r\nHTTP/1.1 200 OK",
    ],
)
def test_a_malformed_status_line_is_refused(line: bytes) -> None:
    assert refusal(line + b"\r\n\r\n") == "The status line is not 'HTTP/1.1 status reason'."


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\n\n"])
def test_a_head_without_its_end_is_refused(raw: bytes) -> None:
    assert "does not end with an empty line" in refusal(raw)


@pytest.mark.parametrize(
    "lines",
    [
        b"A : 1\r\n",
        b"A: 1\nB: 2\r\n",
        b" A: 1\r\n",
        b"A\r\n",
        b"A: \x00\r\n",
        b"A: 1\r\n\r\nB: 2\r\n",
    ],
)
def test_header_lines_are_read_as_strictly_as_a_request_s(lines: bytes) -> None:
    assert refusal(b"HTTP/1.1 200 OK\r\n%b\r\n" % lines).startswith("Header line ")


def test_200_header_fields_pass_and_201_are_too_many() -> None:
    start = b"HTTP/1.1 200 OK"
    assert len(parse_response(head(start, *[(b"X", b"1")] * 200)).headers) == 200
    assert "more than 200" in refusal(head(start, *[(b"X", b"1")] * 201))


def test_the_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("response", "agreed"),
    [
        (switching(), ()),
        (switching(Upgrade=b"WebSocket", Connection=b"keep-alive, upgrade"), ()),
        (switching(start=b"HTTP/1.1 101"), ()),
        (switching((b"Content-Length", b"0")), ()),
        (switching((b"Sec-WebSocket-Protocol", b"chat")), ()),
        (switching((b"Sec-WebSocket-Protocol", b"Super")), ()),
        (switching((b"Sec-WebSocket-Extensions", b"")), ()),
        (switching((b"Sec-WebSocket-Extensions", b"x-b, " + DEFLATE)), ("x-b", DEFLATE.decode())),
        (switching((b"Sec-WebSocket-Extensions", b"X-B"), (b"Set-Cookie", b"a=b")), ("x-b",)),
    ],
)
def test_a_valid_101_gives_the_agreed_extensions(
    response: Response, agreed: tuple[str, ...]
) -> None:
    assert check_switching(response, KEY, ("chat", "Super"), (DEFLATE.decode(), "x-b")) == agreed


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (switching(start=b"HTTP/1.1 200 OK"), "no HTTP/1.1 101"),
        (switching(start=b"HTTP/1.0 101 Switching Protocols"), "no HTTP/1.1 101"),
        (switching(Upgrade=None), "Upgrade is not"),
        (switching(Upgrade=b"websocket, h2c"), "Upgrade is not"),
        (switching((b"Upgrade", b"websocket")), "Upgrade is not"),
        (switching(Upgrade=b"h2c"), "Upgrade is not"),
        (switching(Connection=None), "Connection does not"),
        (switching(Connection=b"close"), "Connection does not"),
        (switching(Sec_WebSocket_Accept=None), "Sec-WebSocket-Accept"),
        (switching(Sec_WebSocket_Accept=b"S3PPLMBITXAQ9KYGZZHZRBK+XOO="), "Sec-WebSocket-Accept"),
        (switching(Sec_WebSocket_Accept=accept_key(b"other")), "Sec-WebSocket-Accept"),
        (switching((b"Sec-WebSocket-Accept", accept_key(KEY))), "Sec-WebSocket-Accept"),
        (switching((b"Content-Length", b"1")), "announces a body"),
        (switching((b"Content-Length", b"x")), "Content-Length"),
        (switching((b"Transfer-Encoding", b"chunked")), "announces a body"),
        (switching((b"Sec-WebSocket-Protocol", b"other")), "Sec-WebSocket-Protocol"),
        (switching((b"Sec-WebSocket-Protocol", b"super")), "Sec-WebSocket-Protocol"),
        (switching((b"Sec-WebSocket-Protocol", b"")), "Sec-WebSocket-Protocol"),
        (switching((b"Sec-WebSocket-Protocol", b"chat, Super")), "Sec-WebSocket-Protocol"),
        (switching(*[(b"Sec-WebSocket-Protocol", b"chat")] * 2), "Sec-WebSocket-Protocol"),
        (switching((b"Sec-WebSocket-Extensions", b"x-other")), "was not offered"),
        (switching((b"Sec-WebSocket-Extensions", b"a b")), "malformed"),
        (switching((b"Sec-WebSocket-Extensions", DEFLATE + b"," + DEFLATE)), "twice"),
        (switching(*[(b"Sec-WebSocket-Extensions", DEFLATE)] * 2), "twice"),
    ],
)
def test_an_invalid_101_is_refused_with_its_cause(response: Response, cause: str) -> None:
    with pytest.raises(BadResponse, match=cause):
        check_switching(response, KEY, ("chat", "Super"), (DEFLATE.decode(), "x-b"))


def test_nothing_can_be_agreed_that_was_not_offered() -> None:
    for name in (b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions"):
        with pytest.raises(BadResponse, match=name.decode()):
            check_switching(switching((name, b"chat")), KEY, (), ())


def outcome(raw: bytes) -> Response | BadResponse:
    try:
        response = parse_response(raw)
        check_switching(response, KEY, (), ())
    except BadResponse as error:
        return error
    return response


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(lambda lines: b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % lines),
        st.binary(max_size=9).map(lambda damage: head(OK + damage, *SWITCHING.items())),
        st.binary(max_size=9).map(lambda damage: head(OK, *SWITCHING.items(), (b"X", damage))),
    )
)
def test_any_bytes_are_a_response_or_a_bad_response(raw: bytes) -> None:
    result = outcome(raw)
    if isinstance(result, BadResponse):
        assert result.reason.endswith(".")
    else:
        assert raw.startswith(b"HTTP/1.1 %d" % result.status)
