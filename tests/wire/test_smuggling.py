"""No request of the published collections has two ends, wherever one looks for them."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.smuggling import HOST, SMUGGLED, Case, Fate
from tests.wire.smuggling_chunks import corpus
from wsrelay.wire.body import BadBody, request_body
from wsrelay.wire.request import BadRequest, Request, parse_request

CASES = corpus()
SOURCES = sorted({case.source for case in CASES})
NEXT = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"


@frozen
class Reading:
    """What the relay makes of the first request in some bytes."""

    fate: Fate
    request: Request | None = None
    body: bytes = b""
    rest: bytes = b""


def read(data: bytes, size: int) -> Reading:
    """Read *data*, the body in pieces of *size* bytes."""
    # As a client's connection does it: the head ends with the first empty line.
    end = data.find(b"\r\n\r\n", 2 if data.startswith(b"\r\n") else 0) + 4
    assert end > 3, "the head has no end, so the relay would wait for more"
    try:
        request = parse_request(data[:end])
    except BadRequest as error:
        if error.status != 400:
            raise
        return Reading(Fate.HEAD)
    reader = request_body(request)
    body = b""
    while end < len(data) and not reader.done:
        try:
            body += reader.feed(data[end : end + size])
        except BadBody:
            return Reading(Fate.BODY, request, body)
        end += size
    assert reader.done, "the body has no end, so the relay would wait for more"
    return Reading(Fate.PASSES, request, body, reader.rest + data[end:])


def judge(case: Case, size: int) -> str:
    """Return what is wrong with the reading of *case*; nothing when it is as it should be."""
    reading = read(case.data + NEXT, size)
    if case.fate in (Fate.HEAD, Fate.BODY):
        return "" if reading.fate is case.fate else f"{case}: {reading}"
    if reading.fate is not Fate.PASSES or reading.body != case.body:
        return f"{case}: {reading}"
    behind = read(reading.rest, size)
    fate = Fate.HEAD if case.fate is Fate.NEXT else Fate.PASSES
    if behind.fate is not fate or (fate is Fate.PASSES and reading.rest != NEXT):
        return f"{case}: behind it {behind}"
    return ""


@pytest.mark.parametrize("source", SOURCES)
def test_a_case_is_refused_or_reads_as_one_request(source: str) -> None:
    wrong = [judge(case, 1 << 20) for case in CASES if case.source == source]
    assert list(filter(None, wrong)) == []


def test_a_body_reads_the_same_however_it_is_cut() -> None:
    bodies = [case for case in CASES if case.fate is not Fate.HEAD]
    for size in (1, 2, 7):
        assert list(filter(None, (judge(case, size) for case in bodies))) == []


def test_the_collections_are_here() -> None:
    count = Counter(case.fate for case in CASES)
    assert count[Fate.HEAD] > 5000
    assert count[Fate.BODY] > 300
    passing = [case for case in CASES if case.fate in (Fate.PASSES, Fate.NEXT)]
    assert len(passing) < 70
    assert all(case.why for case in passing)
    assert all(b"/front" in case.data or case.fate is Fate.HEAD for case in CASES)


def lines(*rows: bytes) -> bytes:
    return b"".join(row + b"\r\n" for row in rows) + b"\r\n"


CLIENTS = {
    "Chrome": lines(
        b"GET /socket.io/?EIO=4&transport=polling&t=P1 HTTP/1.1",
        b"Host: r.test:8080",
        b"Connection: keep-alive",
        b"Cache-Control: max-age=0",
        b'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"',
        b"sec-ch-ua-mobile: ?0",
        b'sec-ch-ua-platform: "Linux"',
        b"Upgrade-Insecure-Requests: 1",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        b"Accept: text/html,application/xhtml+xml,*/*;q=0.8,application/signed-exchange;v=b3",
        b"Sec-Fetch-Site: none",
        b"Accept-Encoding: gzip, deflate, br, zstd",
        b"Accept-Language: en-US,en;q=0.9",
        b"Cookie: _ga=GA1.1.5; name=%D1%85%20x; json={%22a%22:1}",
        b'If-None-Match: W/"33-18f2"',
    ),
    "Firefox, cross origin": lines(
        b"OPTIONS /api HTTP/1.1",
        HOST.rstrip(),
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
        b"Access-Control-Request-Method: PUT",
        b"Access-Control-Request-Headers: content-type,x-requested-with",
        b"Origin: https://elsewhere.test",
        b"Connection: keep-alive",
        b"Priority: u=4",
    ),
    "Safari, a form": lines(
        b"POST /form HTTP/1.1",
        HOST.rstrip(),
        b"Content-Type: multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
        b"Origin: http://r.test",
        b"Content-Length: 1024",
        b"Referer: http://r.test/form?of=content-length&or=Transfer-Encoding",
        b"Connection: keep-alive",
    ),
    "curl": lines(b"GET / HTTP/1.1", HOST.rstrip(), b"User-Agent: curl/8.9.1", b"Accept: */*"),
    "curl, an upload": lines(
        b"PUT /big HTTP/1.1",
        HOST.rstrip(),
        b"User-Agent: curl/8.9.1",
        b"Accept: */*",
        b"Content-Length: 10485760",
        b"Expect: 100-continue",
    ),
    "curl, an upload from a pipe": lines(
        b"POST /big HTTP/1.1",
        HOST.rstrip(),
        b"Transfer-Encoding: chunked",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Expect: 100-continue",
    ),
    "curl --http2": lines(
        b"GET / HTTP/1.1",
        HOST.rstrip(),
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
    ),
    "curl --tr-encoding": lines(
        b"GET / HTTP/1.1", HOST.rstrip(), b"Connection: TE", b"TE: gzip", b"Accept: */*"
    ),
    "curl by a proxy's rules": lines(
        b"GET http://r.test/ HTTP/1.1", HOST.rstrip(), b"Proxy-Connection: Keep-Alive"
    ),
    "wget": lines(
        b"GET / HTTP/1.1",
        HOST.rstrip(),
        b"User-Agent: Wget/1.24.5",
        b"Accept-Encoding: identity",
        b"Range: bytes=100-",
        b"Connection: Keep-Alive",
    ),
    "node fetch": lines(
        b"POST /api HTTP/1.1",
        b"host: r.test",
        b"connection: keep-alive",
        b"content-type: text/plain;charset=UTF-8",
        b"accept: */*",
        b"sec-fetch-mode: cors",
        b"accept-encoding: gzip, deflate",
        b"content-length: 2",
    ),
    "node http": lines(
        b"POST /api HTTP/1.1", HOST.rstrip(), b"Connection: close", b"Transfer-Encoding: chunked"
    ),
    "python http.client": lines(
        b"POST /api HTTP/1.1",
        HOST.rstrip(),
        b"Accept-Encoding: identity",
        b"Content-Length: 0",
    ),
    "python requests": lines(
        b"PATCH /api HTTP/1.1",
        HOST.rstrip(),
        b"User-Agent: python-requests/2.32.3",
        b"Accept-Encoding: gzip, deflate",
        b"Accept: */*",
        b"Connection: keep-alive",
        b"Content-Length: 7",
        b"Content-Type: application/json",
        b"Authorization: Basic dTpw",
    ),
    "Go": lines(
        b"POST /api HTTP/1.1",
        HOST.rstrip(),
        b"User-Agent: Go-http-client/1.1",
        b"Transfer-Encoding: chunked",
        b"Trailer: X-Checksum",
        b"Accept-Encoding: gzip",
    ),
    "Java": lines(
        b"GET /api HTTP/1.1",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Content-Length: 0",
        HOST.rstrip(),
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        b"Upgrade: h2c",
        b"User-Agent: Java-http-client/21.0.4",
    ),
    "ab, HTTP/1.0": lines(
        b"GET / HTTP/1.0",
        b"Connection: Keep-Alive",
        HOST.rstrip(),
        b"User-Agent: ApacheBench/2.3",
        b"Accept: */*",
    ),
    "a signed request": lines(
        b"PUT /key HTTP/1.1",
        HOST.rstrip(),
        b"Authorization: AWS4-HMAC-SHA256 Credential=A/20260101/eu/s3/aws4_request, "
        b"SignedHeaders=content-length;host;x-amz-date, Signature=fe5f80",
        b"x-amz-decoded-content-length: 66560",
        b"Content-Encoding: gzip, aws-chunked",
        b"Content-Length: 66824",
    ),
    "a resumable upload": lines(
        b"POST /upload HTTP/1.1",
        HOST.rstrip(),
        b"X-Upload-Content-Length: 2000000",
        b"X-Original-Transfer-Encoding: chunked",
        b"Content-Length: 38",
    ),
    "names with underscores and dots": lines(
        b"GET / HTTP/1.1", HOST.rstrip(), b"api_key: x", b"X.Y: z", b"X_Forwarded_Host: y"
    ),
    "a text as a header": lines(
        b"GET / HTTP/1.1",
        HOST.rstrip(),
        "X-Title: Überschrift … хорошо".encode(),
        b"X-Note: the content-length was wrong, and transfer-encoding too",
    ),
    "ModSecurity's health check": lines(b"HEAD /health HTTP/1.1", HOST.rstrip()),
    "an unknown expectation, for 417": lines(b"GET / HTTP/1.1", HOST.rstrip(), b"Expect: tea"),
    "a browser's websocket": lines(
        b"GET /chat HTTP/1.1",
        HOST.rstrip(),
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ),
}


@pytest.mark.parametrize("head", CLIENTS.values(), ids=CLIENTS)
def test_requests_of_ordinary_clients_pass(head: bytes) -> None:
    assert parse_request(head).host == "r.test"


# The HTTP Garden's own way: bytes that mean something, put anywhere, and bytes taken out.

GOOD = [
    b"POST /front HTTP/1.1\r\nHost: r.test\r\nContent-Length: %d\r\nX: y\r\n\r\n%b"
    % (len(SMUGGLED), SMUGGLED),
    b"POST /front HTTP/1.1\r\nHost: r.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
]
MEANINGFUL = (b"\r\n", b"\r", b"\n", b"\x00", b":", b"\t", b" ", b",", b";", b"\x85", b"0")


def mutations(good: bytes) -> list[tuple[str, bytes]]:
    made = [(f"without {at}", good[:at] + good[at + 1 :]) for at in range(len(good))]
    made += [
        (f"{piece!r} at {at}", good[:at] + piece + good[at:])
        for at in range(len(good) + 1)
        for piece in MEANINGFUL
    ]
    return made


def everything(data: bytes) -> list[Reading]:
    """Read one request after the other, until one is refused or breaks off."""
    readings = []
    while data:
        try:
            reading = read(data, 1 << 20)
        except AssertionError:  # it breaks off
            break
        readings.append(reading)
        if reading.fate is not Fate.PASSES:
            break
        data = reading.rest
    return readings


def shows(readings: list[Reading]) -> list[bytes]:
    return [reading.request.target for reading in readings if reading.request is not None]


@pytest.mark.parametrize("good", GOOD, ids=["length", "chunked"])
def test_no_byte_more_or_less_lets_a_request_out_of_a_body(good: bytes) -> None:
    assert shows(everything(good + NEXT)) == [b"/front", b"/next"]
    for name, data in mutations(good):
        if b"/smuggled" in shows(everything(data + NEXT)):
            assert has_no_such_body(data[: data.index(b"\r\n\r\n")]), name


def has_no_such_body(head: bytes) -> bool:
    """Whether a head says, to every reader alike, that the request ends before `SMUGGLED` does."""
    fields = head.split(b"\r\n")[1:]
    if length := [number for each in fields if (number := LENGTH.fullmatch(each))]:
        return len(length) == 1 and int(length[0][1]) < len(SMUGGLED)
    return all(NAME.fullmatch(each.partition(b":")[0]) for each in fields)


LENGTH = re.compile(rb"(?i:content-length):[ \t]*([0-9]+)[ \t]*")
NAME = re.compile(rb"(?i)(?!(?:content-length|transfer-encoding)\Z)[0-9a-z-]+")


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([case for case in CASES if case.fate is Fate.BODY or case.body]),
    st.integers(1, 200),
)
def test_pieces_of_any_size_do_not_change_a_fate(case: Case, size: int) -> None:
    assert judge(case, size) == ""
