"""Requests that are refused before any upstream hears of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    KEY,
    LOCAL,
    RawUpstream,
    Stage,
    check_own_answer,
    handshake,
    lines,
    read_answer,
)


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    config = f"""
[listener:main]
endpoint = {LOCAL}
max_header_size = 4KiB
[listener:slow]
endpoint = {LOCAL}
handshake_timeout = 300ms
[route:main]
pool = main
path = /
host = r.test
http = no
[route:deep]
listener = main
host = other.test
path = = /only/here
pool = main
http = no
[pool:main]
upstreams = {upstream.url}
max_fails = 0
[log]
format = json
"""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


GOOD = {
    b"line": b"GET / HTTP/1.1",
    b"host": b"Host: r.test",
    b"upgrade": b"Upgrade: websocket",
    b"connection": b"Connection: Upgrade",
    b"key": b"Sec-WebSocket-Key: " + KEY,
    b"version": b"Sec-WebSocket-Version: 13",
}


def changed(*more: bytes, **rows: bytes | None) -> bytes:
    """Return a good handshake with some lines replaced, left out (None) or added."""
    new = {key.encode(): value for key, value in rows.items()}
    merged = GOOD | new
    return lines(*[row for row in merged.values() if row is not None], *more)


BAD_REQUESTS = {
    "garbage": b"\x17\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "lines-end-with-lf": changed().replace(b"\r\n", b"\n"),
    "one-line-ends-with-lf": changed().replace(b"\r\n", b"\n", 1),
    "proxy-v1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "proxy-v2": b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
    "only-spaces": b"    \r\n\r\n",
    "http-0.9": lines(b"GET /"),
    "two-spaces": changed(line=b"GET  / HTTP/1.1"),
    "tab-in-line": changed(line=b"GET\t/ HTTP/1.1"),
    "space-behind-version": changed(line=b"GET / HTTP/1.1 "),
    "space-in-target": changed(line=b"GET /a b HTTP/1.1"),
    "nul-in-target": changed(line=b"GET /a\0b HTTP/1.1"),
    "fragment-in-target": changed(line=b"GET /a#b HTTP/1.1"),
    "no-slash": changed(line=b"GET a HTTP/1.1"),
    "asterisk": changed(line=b"GET * HTTP/1.1"),
    "lower-case-http": changed(line=b"GET / http/1.1"),
    "http-1.2": changed(line=b"GET / HTTP/1.2"),
    "http-2.0": changed(line=b"GET / HTTP/2.0"),
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-1.0-upgrade": changed(line=b"GET / HTTP/1.0"),
    "version-with-plus": changed(line=b"GET / HTTP/1.+1"),
    "method-not-get": changed(line=b"POST / HTTP/1.1"),
    "method-in-lower-case": changed(line=b"get / HTTP/1.1"),
    "other-host-in-target": changed(line=b"GET http://evil.test/ HTTP/1.1"),
    "no-host": changed(host=None),
    "empty-host": changed(host=b"Host:"),
    "two-hosts": changed(b"Host: r.test"),
    "two-different-hosts": changed(b"Host: evil.test"),
    "host-with-slash": changed(host=b"Host: r.test/x"),
    "host-with-user": changed(host=b"Host: me@r.test"),
    "host-with-space": changed(host=b"Host: r.test evil.test"),
    "host-with-bad-port": changed(host=b"Host: r.test:port"),
    "host-with-huge-port": changed(host=b"Host: r.test:70000"),
    "host-list": changed(host=b"Host: r.test, evil.test"),
    "host-bad-ipv6": changed(host=b"Host: [::1"),
    "nul-in-value": changed(b"X-A: a\0b"),
    "control-in-value": changed(b"X-A: a\x01b"),
    "del-in-value": changed(b"X-A: a\x7fb"),
    "bare-cr-in-value": changed(b"X-A: a\rX-B: b"),
    "bare-lf-in-value": changed(b"X-A: a\nX-B: b"),
    "folded": changed(b"X-A: a", b" b"),
    "folded-with-tab": changed(b"X-A: a", b"\tb"),
    "space-first": lines(GOOD[b"line"], b" X: y", *list(GOOD.values())[1:]),
    "space-before-colon": changed(b"X-A : a"),
    "tab-before-colon": changed(b"X-A\t: a"),
    "space-in-name": changed(b"X A: a"),
    "no-colon": changed(b"X-A a"),
    "empty-name": changed(b": a"),
    "non-ascii-name": changed("X-Ä: a".encode()),
    "bracket-in-name": changed(b"X(A): a"),
    "no-upgrade": changed(upgrade=None),
    "other-upgrade": changed(upgrade=b"Upgrade: h2c"),
    "upgrade-with-suffix": changed(upgrade=b"Upgrade: websockets"),
    "no-connection": changed(connection=None),
    "connection-without-upgrade": changed(connection=b"Connection: keep-alive"),
    "no-key": changed(key=None),
    "empty-key": changed(key=b"Sec-WebSocket-Key:"),
    "two-keys": changed(b"Sec-WebSocket-Key: " + KEY),
    "key-of-15-bytes": changed(key=b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"),
    "key-of-17-bytes": changed(key=b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="),
    "key-without-padding": changed(key=b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
    "key-no-base64": changed(key=b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!=="),
    "key-with-space": changed(key=b"Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZQ=="),
    "no-version": changed(version=None),
    "body-by-length": changed(b"Content-Length: 5") + b"hello",
    "body-chunked": changed(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    "both-length-and-chunked": changed(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "two-lengths": changed(b"Content-Length: 0", b"Content-Length: 0"),
    "different-lengths": changed(b"Content-Length: 0", b"Content-Length: 7"),
    "negative-length": changed(b"Content-Length: -1"),
    "plus-length": changed(b"Content-Length: +0"),
    "length-list": changed(b"Content-Length: 0, 0"),
    "transfer-encoding-identity": changed(b"Transfer-Encoding: identity"),
    "transfer-encoding-obscured": changed(b"Transfer-Encoding: \x0bchunked"),
    "transfer-encoding-list": changed(b"Transfer-Encoding: gzip, chunked"),
    "expect": changed(b"Expect: 100-continue"),
    "protocol-twice": changed(b"Sec-WebSocket-Protocol: a, a"),
    "protocol-no-token": changed(b"Sec-WebSocket-Protocol: a b"),
    "extension-malformed": changed(b"Sec-WebSocket-Extensions: permessage-deflate; ="),
    "plain-with-two-encodings": lines(
        b"POST / HTTP/1.1", b"Host: r.test", b"Transfer-Encoding: chunked, chunked"
    ),
    "plain-with-both": lines(
        b"POST / HTTP/1.1",
        b"Host: r.test",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
    ),
}


@pytest.mark.parametrize("request_bytes", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_malformed_request_gets_one_400_and_nothing_behind_it_is_read(
    stage: Stage, request_bytes: bytes
) -> None:
    client = stage.connect()
    client.send(request_bytes + handshake(b"/smuggled", host=b"r.test"))
    answer = read_answer(client)
    check_own_answer(answer, 400)
    assert stage.upstream.is_alone()


@pytest.mark.parametrize("request_bytes", list(BAD_REQUESTS.values())[::9])
def test_a_malformed_request_is_refused_however_it_is_cut(
    stage: Stage, request_bytes: bytes
) -> None:
    client = stage.connect()
    client.send_slowly(request_bytes)
    check_own_answer(read_answer(client), 400)
    assert stage.upstream.is_alone()


@pytest.mark.usefixtures("room_in_log")
def test_a_tls_hello_on_a_plain_port_gets_an_end_and_a_line_in_the_log(
    stage: Stage, relay: RelayProcess
) -> None:
    client = stage.connect()
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)))
    assert client.read_to_end() == b""
    assert stage.upstream.is_alone()
    relay.wait_for_words("This is TLS; this listener speaks plain HTTP.")


@pytest.mark.parametrize("version", [b"12", b"8", b"014", b"13, 8", b"", b"abc"])
def test_another_version_gets_426_that_names_13(stage: Stage, version: bytes) -> None:
    client = stage.connect()
    client.send(changed(version=b"Sec-WebSocket-Version: " + version) + handshake())
    answer = read_answer(client)
    check_own_answer(answer, 426)
    assert answer.get(b"Sec-WebSocket-Version") == b"13"
    assert stage.upstream.is_alone()


def test_the_version_twice_is_refused(stage: Stage) -> None:
    client = stage.connect()
    client.send(changed(b"Sec-WebSocket-Version: 13"))
    assert read_answer(client).status in (400, 426)
    assert stage.upstream.is_alone()


PLAIN = {
    "get": lines(b"GET /page HTTP/1.1", b"Host: r.test", b"Connection: close"),
    "http-1.0": lines(b"GET /page HTTP/1.0", b"Host: r.test"),
    "post": lines(b"POST / HTTP/1.1", b"Host: r.test", b"Content-Length: 5") + b"hello",
    "chunked": lines(b"PUT / HTTP/1.1", b"Host: r.test", b"Transfer-Encoding: chunked")
    + b"5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", PLAIN.values(), ids=PLAIN)
def test_plain_http_gets_426_that_names_websocket(stage: Stage, request_bytes: bytes) -> None:
    client = stage.connect()
    client.send(request_bytes + handshake())
    answer = read_answer(client)
    check_own_answer(answer, 426)
    assert answer.get(b"Upgrade") == b"websocket"
    assert b"upgrade" in (answer.get(b"Connection") or b"").lower()
    assert stage.upstream.is_alone()


def test_head_of_the_exact_limit_passes_and_one_more_byte_gets_431(stage: Stage) -> None:
    room = 4096 - len(changed(b"X-Pad: "))
    client = stage.connect()
    client.send(changed(b"X-Pad: " + b"p" * room))
    stage.accept().read_head()
    client.close()
    stage.upstream.is_alone()
    client = stage.connect()
    client.send(changed(b"X-Pad: " + b"p" * (room + 1)) + handshake())
    check_own_answer(read_answer(client), 431)
    assert stage.upstream.is_alone()


def test_a_head_without_end_gets_431_when_the_limit_is_passed(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: r.test\r\nX-Pad: " + b"p" * 4096)
    check_own_answer(read_answer(client), 431)


def test_a_request_line_without_end_gets_431(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"GET /" + b"p" * 100_000)
    check_own_answer(read_answer(client), 431)


def test_too_many_headers_get_431(stage: Stage) -> None:
    client = stage.connect()
    client.send(changed(*[b"a:b"] * 400))
    check_own_answer(read_answer(client), 431)


@pytest.mark.parametrize("start", [b"", b"GET", handshake()[:-2], handshake()[:-1]])
def test_a_slow_request_gets_408(stage: Stage, start: bytes) -> None:
    client = stage.connect("slow")
    client.send(start)
    check_own_answer(read_answer(client), 408)
    assert stage.upstream.is_alone()


def test_bytes_that_trickle_do_not_extend_the_handshake_timeout(stage: Stage) -> None:
    client = stage.connect("slow")
    client.sock.settimeout(0.05)
    sent = 0
    head = handshake(b"/", *[b"X-Pad: pppppppppppppppppppppp"] * 20)
    received = b""
    while not received and sent < len(head) - 10:
        client.sock.send(head[sent : sent + 1])
        sent += 1
        try:
            received = client.sock.recv(4096)
        except TimeoutError:
            continue
    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("host", [b"nowhere.test", b"r.test.evil", b"xr.test"])
def test_a_host_without_route_gets_404(stage: Stage, host: bytes) -> None:
    client = stage.connect()
    client.send(handshake(host=host) + handshake())
    check_own_answer(read_answer(client), 404)
    assert stage.upstream.is_alone()


@pytest.mark.parametrize("path", [b"/only/here/", b"/only/here2", b"/only%2Fhere", b"//only/here"])
def test_a_path_that_only_resembles_the_exact_one_gets_404(stage: Stage, path: bytes) -> None:
    client = stage.connect()
    client.send(handshake(path, host=b"other.test"))
    check_own_answer(read_answer(client), 404)


def test_a_malformed_handshake_on_no_route_is_never_relayed(stage: Stage) -> None:
    client = stage.connect()
    client.send(changed(host=b"Host: nowhere.test", key=None))
    assert read_answer(client).status in (400, 404)
    assert stage.upstream.is_alone()


GOOD_VARIANTS = {
    "host-case-and-port": changed(host=b"hOST: R.TEST:8080"),
    "host-final-dot": changed(host=b"Host: r.test."),
    "token-case": changed(upgrade=b"Upgrade: WebSocket", connection=b"Connection: UPGRADE"),
    "connection-list": changed(connection=b"Connection: keep-alive ,\t upgrade"),
    "connection-twice": changed(b"Connection: keep-alive"),
    "blank-line-in-front": b"\r\n" + changed(),
    "length-zero": changed(b"Content-Length: 0"),
    "no-space-behind-colon": changed(host=b"Host:r.test"),
    "absolute-form": changed(line=b"GET http://r.test/ HTTP/1.1"),
}


@pytest.mark.parametrize("request_bytes", GOOD_VARIANTS.values(), ids=GOOD_VARIANTS)
def test_an_unusual_but_valid_handshake_reaches_the_upstream(
    stage: Stage, request_bytes: bytes
) -> None:
    client = stage.connect()
    client.send(request_bytes)
    assert stage.accept().read_head().startswith(b"GET / HTTP/1.1\r\n")


def test_a_refused_client_that_ended_its_half_gets_its_answer(stage: Stage) -> None:
    client = stage.connect()
    client.sock.sendall(b"GET / HTTP/1.1\r\nHost: r.test\r\n\r\n")
    client.shut()
    answer = read_answer(client)
    assert (answer.status, answer.get(b"Connection")) == (426, b"Upgrade")
    assert len(answer.body) > 10


def test_after_all_refusals_a_session_still_works(stage: Stage) -> None:
    stage.works()
