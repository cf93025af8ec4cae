"""Heads pass byte for byte, but for what is for one hop and what the relay knows better."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.forward import (
    Forwarded,
    answer_head,
    interim_head,
    own_answer,
    switching_head,
    upstream_head,
)
from wsrelay.wire.headers import Headers
from wsrelay.wire.request import Request, parse_request
from wsrelay.wire.response import Response, parse_response

STRANGER = Forwarded(
    for_=b"192.0.2.1",
    proto=b"https",
    host=b"example.com",
    port=b"443",
    real_ip=b"192.0.2.1",
    trusted=False,
)
SET_BY_RELAY = [
    b"X-Forwarded-For: 192.0.2.1",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: example.com",
    b"X-Forwarded-Port: 443",
    b"X-Real-IP: 192.0.2.1",
    b"X-Request-ID: id",
]
HANDSHAKE = [b"Host: example.com", b"Connection: Upgrade", b"Upgrade: websocket"]


def request(*lines: bytes) -> Request:
    return parse_request(b"\r\n".join([b"GET /client HTTP/1.1", *lines, b"", b""]))


def sent(
    *lines: bytes,
    forwarded: Forwarded = STRANGER,
    set_header: tuple[tuple[str, str], ...] = (),
    remove_header: tuple[str, ...] = (),
) -> list[bytes]:
    """Return the lines that an upstream is sent, without the request line and the empty one."""
    raw = upstream_head(
        request(*lines),
        target=b"/base/client?q",
        host=b"up:1",
        forwarded=forwarded,
        request_id=b"id",
        set_header=set_header,
        remove_header=remove_header,
    )
    start, *fields, last, end = raw.split(b"\r\n")
    assert (start, last, end) == (b"GET /base/client?q HTTP/1.1", b"", b"")
    return fields


def passed(*lines: bytes) -> list[bytes]:
    """Return what a stranger's lines beside those of a bare handshake become."""
    fields = sent(*HANDSHAKE, *lines)
    assert fields[:3] == [b"Host: up:1", b"Connection: Upgrade", b"Upgrade: websocket"]
    assert fields[-6:] == SET_BY_RELAY
    return fields[3:-6]


def response_lines(raw: bytes) -> list[bytes]:
    *lines, last, end = raw.split(b"\r\n")
    assert (last, end) == (b"", b"")
    return lines


def response(*lines: bytes) -> Response:
    return parse_response(b"\r\n".join([*lines, b"", b""]))


def test_the_client_s_headers_keep_their_order_case_and_bytes() -> None:
    assert sent(
        b"user-AGENT: J\xf6rg",
        b"UPGRADE: WebSocket, h2c",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"HOST: example.com",
        b"Cookie: a=1;  b=2",
        b"connection: keep-alive, Upgrade",
        b"Cookie: c=3",
        b"Empty:",
    ) == [
        b"user-AGENT: J\xf6rg",
        b"UPGRADE: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"HOST: up:1",
        b"Cookie: a=1;  b=2",
        b"connection: Upgrade",
        b"Cookie: c=3",
        b"Empty: ",
        *SET_BY_RELAY,
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic x",
        b"Proxy-Authenticate: Basic",
        b"TE: trailers",
        b"Trailer: X",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Upgrade: h2c",
        b"X-Forwarded-For: 198.51.100.1",
        b"x-forwarded-proto: http",
        b"X-FORWARDED-HOST: evil.example",
        b"X-Forwarded-Port: 80",
        b"X-Real-IP: 198.51.100.1",
        b"X-Request-ID: forged",
        b"X_Forwarded_For: 198.51.100.1",
        b"X-Forwarded_Proto: http",
        b"X_Real_IP: 198.51.100.1",
        b"Forwarded: for=198.51.100.1",
        b"X-SSL-Client-Verify: SUCCESS",
        b"x-ssl-client-s-dn: CN=admin",
        b"X_SSL_Client_Verify: SUCCESS",
        b"X-SSL_Client-S_DN: CN=admin",
    ],
)
def test_what_is_for_one_hop_or_for_the_relay_to_say_does_not_pass(line: bytes) -> None:
    assert passed(line, b"X-Other: 1") == [b"X-Other: 1"]


CERTIFICATE = [b"X-SSL-Client-Verify: SUCCESS", b"X-SSL-Client-S-DN: CN=client"]
CLAIMS = [b"x-ssl-client-verify: SUCCESS", b"X_SSL_Client_S_DN: CN=admin"]


@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_client_s_certificate_proves_is_said_by_the_relay_alone(*, trusted: bool) -> None:
    asked = evolve(STRANGER, client_verify=b"SUCCESS", client_subject=b"CN=client", trusted=trusted)
    assert sent(*HANDSHAKE, *CLAIMS, forwarded=asked)[3:] == [*SET_BY_RELAY, *CERTIFICATE]
    none = evolve(STRANGER, client_verify=b"NONE", trusted=trusted)
    expected = [*SET_BY_RELAY, b"X-SSL-Client-Verify: NONE"]
    assert sent(*HANDSHAKE, *CLAIMS, forwarded=none)[3:] == expected


def test_a_trusted_proxy_may_say_it_where_the_relay_does_not_ask() -> None:
    proxy = evolve(STRANGER, trusted=True)
    assert sent(*HANDSHAKE, *CLAIMS, forwarded=proxy)[3:] == [*CLAIMS, *SET_BY_RELAY]


def test_a_subject_may_be_empty() -> None:
    asked = evolve(STRANGER, client_verify=b"SUCCESS", client_subject=b"")
    assert sent(*HANDSHAKE, forwarded=asked)[-1] == b"X-SSL-Client-S-DN: "


def test_what_connection_lists_does_not_pass() -> None:
    assert passed(b"X-Mine: 1", b"Connection: x-mine, X-Second", b"x-second: 2", b"X-Third: 3") == [
        b"X-Third: 3"
    ]


@pytest.mark.parametrize(
    "name",
    [b"Upgrade", b"Connection", b"X-Forwarded-For", b"X-Real-IP", b"X-Request-ID"],
)
def test_connection_cannot_take_out_what_the_relay_writes(name: bytes) -> None:
    assert passed(b"Connection: " + name) == []


@pytest.mark.parametrize(
    "line",
    [
        b"Sec-WebSocket-Key: x",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: chat",
        b"Sec-WebSocket-Extensions: permessage-deflate",
    ],
)
def test_connection_cannot_take_out_a_field_of_the_handshake(line: bytes) -> None:
    assert passed(b"Connection: " + line.partition(b":")[0], line) == [line]


def test_a_trusted_proxy_s_forwarded_passes_whatever_connection_lists() -> None:
    trusted = evolve(STRANGER, trusted=True)
    lines = [b"Forwarded: for=192.0.2.1", b"X-Forwarded-For: 192.0.2.1"]
    fields = sent(*HANDSHAKE, *lines, b"Connection: forwarded", forwarded=trusted)
    assert fields[3:] == [b"Forwarded: for=192.0.2.1", *SET_BY_RELAY]


def test_what_is_not_known_is_not_sent() -> None:
    unix = evolve(STRANGER, for_=None, port=None, real_ip=None)
    assert sent(*HANDSHAKE, b"X-Real-IP: 198.51.100.1", forwarded=unix)[3:] == [
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: example.com",
        b"X-Request-ID: id",
    ]


def test_a_set_header_replaces_all_of_its_name_with_one_at_the_end() -> None:
    fields = sent(
        *HANDSHAKE,
        b"x-team: a",
        b"X_Team: b",
        b"X-Other: 1",
        b"X-TEAM: c",
        set_header=(("X-Team", "r\xf6d"), ("X-Real-IP", "203.0.113.1"), ("Host", "own")),
    )
    assert fields == [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"X-Other: 1",
        *[line for line in SET_BY_RELAY if not line.startswith(b"X-Real-IP")],
        "X-Team: r\xf6d".encode(),
        b"X-Real-IP: 203.0.113.1",
        b"Host: own",
    ]


def test_a_removed_header_is_left_out_even_if_it_is_the_relay_s() -> None:
    fields = sent(
        *HANDSHAKE, b"cookie: a=1", b"X-Other: 1", remove_header=("Cookie", "X-Forwarded-Host")
    )
    assert fields[3:] == [
        b"X-Other: 1",
        *[line for line in SET_BY_RELAY if not line.startswith(b"X-Forwarded-Host")],
    ]


def test_a_header_may_be_both_set_and_removed_and_is_set() -> None:
    fields = sent(*HANDSHAKE, b"A: 1", set_header=(("A", "2"),), remove_header=("a",))
    assert fields[-1] == b"A: 2"
    assert b"A: 1" not in fields


tokens = st.text("abcXYZ-_0", min_size=1, max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(tokens, tokens), max_size=8), st.lists(tokens, max_size=3))
def test_what_an_upstream_is_sent_is_a_handshake_with_the_end_to_end_fields(
    pairs: list[tuple[str, str]], listed: list[str]
) -> None:
    lines = [f"Z-{name}: {value}".encode() for name, value in pairs]
    connection = ", ".join(["Upgrade", *(f"z-{name}" for name in listed)]).encode()
    sent_lines = sent(b"Host: a", b"Connection: " + connection, b"Upgrade: websocket", *lines)
    again = request(*sent_lines)
    assert again.headers.tokens("connection") == ("upgrade",)
    hidden = {name.lower().replace("_", "-") for name in listed} | {n.lower() for n in listed}
    for name, value in pairs:
        if name.lower().replace("_", "-") not in hidden:
            assert value in again.headers.get_all(f"z-{name}")
        if name.lower() in (n.lower() for n in listed):
            assert f"z-{name}" not in again.headers


def test_a_101_keeps_the_upstream_s_headers_but_for_the_hop_s() -> None:
    raw = switching_head(
        response(
            b"HTTP/1.1 101 Sure",
            b"server: x",
            b"UPGRADE: WebSocket",
            b"Set-Cookie: a=1",
            b"Connection: keep-alive, Upgrade, X-Hop, Sec-WebSocket-Accept, Sec-WebSocket-Protocol",
            b"Keep-Alive: timeout=5",
            b"X-Hop: 1",
            b"Content-Length: 0",
            b"Sec-WebSocket-Accept: abc=",
            b"sec-websocket-protocol: chat",
            b"Set-Cookie: b=2",
        )
    )
    assert response_lines(raw) == [
        b"HTTP/1.1 101 Switching Protocols",
        b"server: x",
        b"UPGRADE: websocket",
        b"Set-Cookie: a=1",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: abc=",
        b"sec-websocket-protocol: chat",
        b"Set-Cookie: b=2",
    ]


def test_a_refusal_by_length_keeps_status_reason_and_headers() -> None:
    refusal = response(
        b"HTTP/1.0 403 Not f\xfcr you",
        b"WWW-Authenticate: Basic",
        b"Connection: X-Hop, close",
        b"X-Hop: 1",
        b"content-length: 005",
        b"content-length: 005",
        b"Proxy-Authenticate: Basic",
        b"Upgrade: websocket",
        b"Set-Cookie: a=1",
    )
    assert response_lines(answer_head(refusal, b"close")) == [
        b"HTTP/1.1 403 Not f\xfcr you",
        b"WWW-Authenticate: Basic",
        b"content-length: 5",
        b"Set-Cookie: a=1",
        b"Connection: close",
    ]


def test_a_chunked_refusal_stays_chunked_without_its_trailers() -> None:
    refusal = response(b"HTTP/1.1 500", b"transfer-encoding: Chunked", b"Trailer: X", b"A: 1")
    assert response_lines(answer_head(refusal, b"close", chunked=True)) == [
        b"HTTP/1.1 500 ",
        b"A: 1",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
    ]


@pytest.mark.parametrize(
    "refusal",
    [
        response(b"HTTP/1.1 404 Not Found", b"A: 1"),
        response(b"HTTP/1.1 204 No Content", b"A: 1", b"Content-Length: 5"),
        response(b"HTTP/1.1 304 Not Modified", b"A: 1", b"Content-Length: x"),
    ],
)
def test_a_refusal_that_ends_with_its_head_or_connection_has_no_framing(
    refusal: Response,
) -> None:
    assert response_lines(answer_head(refusal, b"close"))[1:] == [b"A: 1", b"Connection: close"]


def test_an_answer_on_a_connection_that_stays_says_nothing_of_it() -> None:
    answer = response(b"HTTP/1.1 200 OK", b"A: 1", b"Connection: keep-alive", b"Content-Length: 2")
    more = [(b"Set-Cookie", b"a=1")]
    assert response_lines(answer_head(answer, more=more)) == [
        b"HTTP/1.1 200 OK",
        b"A: 1",
        b"Content-Length: 2",
        b"Set-Cookie: a=1",
    ]


def test_a_304_keeps_the_length_of_what_it_is_about() -> None:
    answer = response(b"HTTP/1.1 304 Not Modified", b"Content-Length: 7")
    assert response_lines(answer_head(answer))[1:] == [b"Content-Length: 7"]


def test_a_body_that_gets_chunks_has_no_length() -> None:
    answer = response(b"HTTP/1.1 200 OK", b"A: 1")
    assert response_lines(answer_head(answer, chunked=True))[1:] == [
        b"A: 1",
        b"Transfer-Encoding: chunked",
    ]


def test_an_interim_answer_keeps_its_headers_but_for_the_hop_s() -> None:
    answer = response(b"HTTP/1.1 103 Early Hints", b"Link: </a.css>", b"Connection: X", b"X: 1")
    assert response_lines(interim_head(answer)) == [b"HTTP/1.1 103 Early Hints", b"Link: </a.css>"]


def test_a_request_that_is_no_handshake_asks_for_no_other_protocol() -> None:
    raw = upstream_head(
        parse_request(
            b"POST /a HTTP/1.1\r\nHost: b\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: x\r\nTE: trailers\r\nExpect: 100-continue\r\n"
            b"transfer-encoding: Chunked\r\nKeep-Alive: 5\r\nA: 1\r\n\r\n"
        ),
        target=b"/a",
        host=b"b",
        forwarded=STRANGER,
        request_id=b"id",
        upgrades=False,
    )
    assert raw.split(b"\r\n")[:5] == [
        b"POST /a HTTP/1.1",
        b"Host: b",
        b"Expect: 100-continue",
        b"transfer-encoding: chunked",
        b"A: 1",
    ]
    assert raw.split(b"\r\n")[5:-2] == SET_BY_RELAY


def test_a_request_of_http_1_0_gets_a_host_and_expects_nothing() -> None:
    raw = upstream_head(
        parse_request(b"PUT /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
        target=b"/a",
        host=b"b",
        forwarded=STRANGER,
        request_id=b"id",
        upgrades=False,
    )
    assert raw.split(b"\r\n")[:3] == [b"PUT /a HTTP/1.1", b"Content-Length: 3", b"Host: b"]


def test_a_request_of_http_1_0_gets_a_host_if_only_its_target_names_one() -> None:
    raw = upstream_head(
        parse_request(b"GET http://b:81/a HTTP/1.0\r\n\r\n"),
        target=b"/a",
        host=b"b:81",
        forwarded=STRANGER,
        request_id=b"id",
        upgrades=False,
    )
    assert raw.split(b"\r\n")[:2] == [b"GET /a HTTP/1.1", b"Host: b:81"]
    assert parse_request(raw).host == "b"


def test_a_426_keeps_its_upgrade_and_connection_lists_it() -> None:
    refusal = Response(
        426,
        b"Upgrade Required",
        Headers(((b"upgrade", b"a"), (b"X", b"1"), (b"Upgrade", b"b"))),
        "1.1",
    )
    assert response_lines(answer_head(refusal, b"close")) == [
        b"HTTP/1.1 426 Upgrade Required",
        b"upgrade: a, b",
        b"X: 1",
        b"Connection: close, Upgrade",
    ]


def test_a_426_without_upgrade_gets_none() -> None:
    refusal = Response(426, b"", Headers(), "1.1")
    assert response_lines(answer_head(refusal, b"close"))[1:] == [b"Connection: close"]


def test_the_relay_s_own_answer_is_whole() -> None:
    raw = own_answer(503, "No upst\u00f6ream.", ((b"Retry-After", b"1"),))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: 15",
        b"Retry-After: 1",
        b"Connection: close",
    ]
    assert body == "No upst\u00f6ream.\n".encode()


def test_the_relay_s_own_426_names_the_protocol() -> None:
    head = own_answer(426, "x", ((b"Sec-WebSocket-Version", b"13"),)).partition(b"\r\n\r\n")[0]
    assert head.split(b"\r\n")[3:] == [
        b"Sec-WebSocket-Version: 13",
        b"Upgrade: websocket",
        b"Connection: close, Upgrade",
    ]


def test_the_relay_s_own_answer_to_head_has_no_body() -> None:
    raw = own_answer(404, "x", connection=b"", to_head=True)
    assert raw == (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 2\r\n\r\n"
    )


def test_a_status_without_a_standard_phrase_has_none() -> None:
    assert own_answer(499, "x").startswith(b"HTTP/1.1 499 \r\n")


@pytest.mark.parametrize("claimed", [b"X-User", b"x_user", b"X_USER"])
@pytest.mark.parametrize("name", ["X-User", "X_User"])
def test_what_a_header_is_set_to_is_all_that_goes_upstream(name: str, claimed: bytes) -> None:
    """Many applications cannot tell an underscore from a hyphen."""
    request = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + claimed + b": root\r\n\r\n")
    head = upstream_head(
        request,
        target=b"/",
        host=b"a",
        forwarded=Forwarded(None, b"http", None, None, None, trusted=False),
        request_id=b"1",
        set_header=((name, "ada"),),
        upgrades=False,
    )
    assert b"root" not in head
    assert f"{name}: ada".encode() in head
