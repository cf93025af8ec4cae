"""A request is read in the one way that every other parser reads it, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.request import BadRequest, Request, parse_request


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bool = True) -> bytes:
    hosts = (b"Host: example.com",) if host else ()
    return b"".join(line + b"\r\n" for line in (start, *hosts, *lines, b""))


def refusal(raw: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_request(raw)
    return caught.value


def test_a_request_comes_apart_into_its_values() -> None:
    request = parse_request(
        b"\r\nGET /a%20b/\xe4?x=1?y=%zz HTTP/1.1\r\nHOST: Chat.Example.com:8080\r\nX: 1\r\n\r\n"
    )
    assert request.method == "GET"
    assert request.target == b"/a%20b/\xe4?x=1?y=%zz"
    assert request.path == "/a%20b/\xe4"
    assert request.query == "x=1?y=%zz"
    assert request.version == "1.1"
    assert request.host == "chat.example.com"
    assert request.host_header == b"Chat.Example.com:8080"
    assert list(request.headers) == [(b"HOST", b"Chat.Example.com:8080"), (b"X", b"1")]


def test_a_request_without_query_has_an_empty_one() -> None:
    assert parse_request(head()).query == ""


def test_http_1_0_needs_no_host() -> None:
    request = parse_request(head(start=b"GET / HTTP/1.0", host=False))
    assert (request.version, request.host, request.host_header) == ("1.0", "", b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.0\r\n\n\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        *(
            head(start=line)
            for line in [
                b"GET  / HTTP/1.1",
                b"GET /  HTTP/1.1",
                b" GET / HTTP/1.1",
                b"GET / HTTP/1.1 ",
                b"GET\t/ HTTP/1.1",
                b"GET /",
                b"GET HTTP/1.1",
                b"GET / http/1.1",
                b"GET / HTTP/1.10",
                b"GET / HTTP/11",
                b"GET / HTTP/1.1\x00",
                b"G(T / HTTP/1.1",
                b"/ HTTP/1.1",
                b"GET /a b HTTP/1.1",
                b"GET /a\x00 HTTP/1.1",
                b"GET /a\x0b HTTP/1.1",
                b"GET /a\x7f HTTP/1.1",
                b"GET /a#b HTTP/1.1",
                b"GET / HTTP/1.1\rX: y",
            ]
        ),
    ],
)
def test_a_head_that_two_parsers_could_read_in_two_ways_is_refused(raw: bytes) -> None:
    assert refusal(raw).status == 400


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions_of_http_are_refused_by_name(version: bytes) -> None:
    error = refusal(head(start=b"GET / HTTP/" + version))
    assert error.status == 400
    assert version.decode() in error.reason


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding\t: chunked"],
        [b"Transfer-Encoding\x0b: chunked"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b"Transfer-Encoding: chunked\x00"],
        [b"X: 1", b" Transfer-Encoding: chunked"],
        [b"X: 1\nTransfer-Encoding: chunked"],
        [b"X: 1\rTransfer-Encoding: chunked"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b'Transfer-Encoding: "chunked"'],
        [b"Transfer-Encoding: chunked;a=b"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: +5"],
        [b"Content-Length: -1"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5 6"],
        [b"Content-Length:"],
        [b"Content-Length : 5"],
    ],
)
def test_a_request_cannot_be_smuggled_in_its_framing(lines: list[bytes]) -> None:
    assert refusal(head(*lines)).status == 400


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: Chunked", b"X:"])
def test_plain_framing_passes(line: bytes) -> None:
    assert len(parse_request(head(line, start=b"POST / HTTP/1.1")).headers) == 2


def test_http_1_0_knows_no_transfer_encoding() -> None:
    raw = head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0")
    error = refusal(raw)
    assert error.status == 400
    assert "HTTP/1.0 knows no Transfer-Encoding" in error.reason


def test_200_header_fields_pass_and_201_are_too_many() -> None:
    assert len(parse_request(head(*[b"X: 1"] * 199)).headers) == 200
    assert refusal(head(*[b"X: 1"] * 200)).status == 431


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"example.com", "example.com"),
        (b"EXAMPLE.com.", "example.com"),
        (b"example.com:", "example.com"),
        (b"example.com:65535", "example.com"),
        (b"192.0.2.1:0", "192.0.2.1"),
        (b"[2001:DB8::1]", "[2001:db8::1]"),
        (b"[::1]:8080", "[::1]"),
        (b"a_b~%41!$&'()*+,;=", "a_b~%41!$&'()*+,;="),
    ],
)
def test_host_is_lower_case_without_port(value: bytes, host: str) -> None:
    assert parse_request(head(b"Host: " + value, host=False)).host == host


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Host:"],
        [b"Host: a", b"Host: a"],
        [b"Host: a", b"host: b"],
        *[
            [b"Host: " + value]
            for value in [
                b"a b",
                b"a/b",
                b"a@b",
                b"a?b",
                b"a#b",
                b"a, b",
                b"a:65536",
                b"a:123456",
                b"a:-1",
                b"a:+80",
                b"a:8x",
                b"a:80:80",
                b":80",
                b"%4",
                b"%zz",
                b"[::1",
                b"::1",
                b"[]",
                b"[:::]",
                b"[fe80::1%25eth0]",
                b"[example.com]",
                b"[1.2.3.4]",
                b"[::1]x",
                b"b\xfccher.example",
                b"a\\b",
                b"<a>",
            ]
        ],
    ],
)
def test_a_host_that_is_missing_repeated_or_malformed_is_refused(lines: list[bytes]) -> None:
    error = refusal(head(*lines, host=False))
    assert error.status == 400
    assert error.reason.startswith("Host is ")


def test_host_stands_at_most_once_in_http_1_0_too() -> None:
    raw = head(b"Host: example.com", start=b"GET / HTTP/1.0")
    assert refusal(raw).reason.startswith("Host is missing or there more than once")


@pytest.mark.parametrize(
    ("target", "origin_form"),
    [
        (b"http://example.com", b"/"),
        (b"http://example.com/", b"/"),
        (b"WS://Example.COM/a?b", b"/a?b"),
        (b"https://example.com?b/c", b"/?b/c"),
        (b"wss://example.com//a", b"//a"),
        (b"//evil.example/", b"//evil.example/"),
        (b"/http://evil.example/", b"/http://evil.example/"),
    ],
)
def test_a_target_is_reduced_to_origin_form(target: bytes, origin_form: bytes) -> None:
    assert parse_request(head(start=b"GET %b HTTP/1.1" % target)).target == origin_form


def test_the_target_s_host_and_the_header_s_may_differ_in_case() -> None:
    raw = head(b"Host: EXAMPLE.com", start=b"GET http://example.COM/a HTTP/1.1", host=False)
    request = parse_request(raw)
    assert (request.target, request.host_header) == (b"/a", b"EXAMPLE.com")


@pytest.mark.parametrize(
    "target",
    [
        b"http://evil.example/",
        b"http://example.com:80/",
        b"http://user@example.com/",
        b"http://example.com@evil.example/",
        b"http://example.com\\@evil.example/",
        b"http:///",
        b"http://",
        b"ftp://example.com/",
        b"http:/example.com/",
        b"example.com:443",
        b"example.com",
        b"*",
        b"?a",
    ],
)
def test_a_target_that_is_for_another_place_is_refused(target: bytes) -> None:
    assert refusal(head(start=b"GET %b HTTP/1.1" % target)).status == 400


def test_the_target_names_the_host_when_http_1_0_has_no_header_for_it() -> None:
    raw = head(start=b"GET http://Example.com:81/a HTTP/1.0", host=False)
    request = parse_request(raw)
    assert (request.host, request.host_header) == ("example.com", b"Example.com:81")
    assert refusal(head(start=b"GET http:///a HTTP/1.0", host=False)).status == 400
    assert refusal(head(start=b"GET http://a@b/ HTTP/1.0", host=False)).status == 400


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], False),
        ([b"Connection: Upgrade", b"Upgrade: h2c"], False),
        ([b"Upgrade: h2c, WebSocket"], True),
        ([b"Sec-WebSocket-Key: x"], True),
        ([b"Sec-WebSocket-Version: 8"], True),
        ([b"Sec-WebSocket-Protocol: chat"], False),
        ([b"Upgrade: websocket/13"], False),
    ],
)
def test_a_websocket_handshake_is_told_from_plain_http(lines: list[bytes], wanted: bool) -> None:
    assert parse_request(head(*lines)).wants_websocket is wanted


pieces = st.sampled_from(
    [
        *(b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host", b":", b"a", b"\x00"),
        *(b"Content-Length", b"Transfer-Encoding", b"chunked", b"http://", b"[::1]", b"%41"),
        *(b"\t", b"\xff"),
    ]
)


def outcome(raw: bytes) -> Request | BadRequest:
    try:
        return parse_request(raw)
    except BadRequest as error:
        return error


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(pieces, max_size=20).map(b"".join),
        st.lists(pieces, max_size=12).map(lambda parts: head(b"".join(parts), host=False)),
        st.lists(pieces, max_size=12).map(lambda parts: head(start=b"".join(parts))),
    )
)
def test_any_bytes_are_a_request_or_a_bad_request(raw: bytes) -> None:
    result = outcome(raw)
    if isinstance(result, BadRequest):
        assert result.status == 400
        assert result.reason.endswith(".")
    else:
        assert result.target.startswith(b"/")
        assert not set(result.target) & {*range(33), 127, ord("#")}
        assert result.host or result.version == "1.0"
