"""Where a route with ``redirect`` sends a client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.support import header, request
from wsrelay.http.redirect import redirect_answer
from wsrelay.wire.forward import own_answer
from wsrelay.wire.request import parse_request
from wsrelay.wire.response import parse_response

TARGETS = [
    ("https://example.com", "/chat/x?a=b&c", "https://example.com/chat/x?a=b&c"),
    ("https://example.com/", "/chat", "https://example.com/chat"),
    ("https://example.com:8443", "/", "https://example.com:8443/"),
    ("https://example.com", "/a%2Fb%zz;x?%20?/", "https://example.com/a%2Fb%zz;x?%20?/"),
    ("https://example.com/new", "/chat?a", "https://example.com/new"),
    ("https://example.com/new/", "/chat?a", "https://example.com/new/"),
    ("https://example.com?x=y", "/chat?a", "https://example.com?x=y"),
    ("https://example.com#top", "/chat", "https://example.com#top"),
    ("https://{host}", "/x", "https://relay.test/x"),
    ("https://{host}:8443", "/x", "https://relay.test:8443/x"),
    ("https://{host}/to/{host}", "/x", "https://relay.test/to/relay.test"),
    ("https://www.{host}/", "/x?q", "https://www.relay.test/x?q"),
    ("/new", "/chat?a", "/new"),
    ("/", "/chat?a", "/"),
    # What comes from the client stands behind a host that the operator wrote.
    ("https://example.com", "//evil.test/", "https://example.com//evil.test/"),
    ("https://example.com/", "//evil.test/", "https://example.com//evil.test/"),
    ("https://{host}", "/\\evil.test", "https://relay.test/\\evil.test"),
    ("https://example.com", "/@evil.test", "https://example.com/@evil.test"),
    ("/x", "//evil.test/", "/x"),
    ("/", "//evil.test/", "/"),
]


@pytest.mark.parametrize(("url", "target", "location"), TARGETS)
def test_a_client_is_sent_to(url: str, target: str, location: str) -> None:
    assert header(redirect_answer(url, request(target)), "location") == location


def test_bytes_of_the_clients_target_stay_as_they_are() -> None:
    answer = redirect_answer("https://example.com", request(b"/\xfc\xff?\xe2"))
    assert answer.headers == ((b"Location", b"https://example.com/\xfc\xff?\xe2"),)


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("DELETE", 308)]
)
def test_a_method_with_a_body_is_kept(method: str, status: int) -> None:
    assert redirect_answer("https://example.com", request("/", method)).status == status


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("chat.example.com:8080", "https://chat.example.com/"),
        ("[::1]:8080", "https://[::1]/"),
        ("[2001:DB8::1]", "https://[2001:db8::1]/"),
        ("Example.COM.", "https://example.com/"),
    ],
)
def test_the_host_is_the_clients_without_its_port(host: str, location: str) -> None:
    asked = parse_request(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
    assert header(redirect_answer("https://{host}", asked), "location") == location


def test_who_names_no_host_cannot_be_sent_there() -> None:
    asked = parse_request(b"GET /x HTTP/1.0\r\n\r\n")
    assert redirect_answer("https://{host}", asked).status == 400
    assert redirect_answer("https://{host}/x", asked).status == 400


def test_who_names_no_host_can_be_sent_elsewhere() -> None:
    asked = parse_request(b"GET /x HTTP/1.0\r\n\r\n")
    assert header(redirect_answer("https://a.test", asked), "location") == "https://a.test/x"


urls = st.sampled_from(
    ["https://safe.test", "http://safe.test/", "https://safe.test/x", "/x", "https://{host}/x"]
)
targets = st.text("/\\@:?%.a5evil ", max_size=12).map(lambda text: "/" + text.replace(" ", ""))


@given(urls, targets)
def test_no_path_names_another_host(url: str, target: str) -> None:
    location = header(redirect_answer(url, request(target)), "location")
    assert location is not None
    good = ("https://safe.test/", "http://safe.test/", "https://relay.test/x", "/x")
    assert location.startswith(good)


@given(st.binary(max_size=20))
def test_what_is_answered_is_one_head_with_one_location(raw: bytes) -> None:
    target = b"/" + bytes(byte for byte in raw if byte > 32 and byte not in b"\x7f#")
    answer = redirect_answer("https://{host}", request(target))
    head = own_answer(answer.status, answer.reason, answer.headers).partition(b"\r\n\r\n")[0]
    response = parse_response(head + b"\r\n\r\n")
    assert response.headers.raw("location") == (b"https://relay.test" + target,)
