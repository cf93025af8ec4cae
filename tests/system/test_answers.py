"""What a client is answered for everything that an upstream can say or fail to say."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    accept_for,
    check_own_answer,
    end_normally,
    frame,
    handshake,
    lines,
    masked,
    read_answer,
    read_data,
    switching,
)


@pytest.fixture(scope="module")
def second() -> Iterator[RawUpstream]:
    listening = RawUpstream.tcp()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def full() -> Iterator[RawUpstream]:
    """Give a port that accepts nothing: its backlog is full."""
    listening = RawUpstream.tcp(backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(("127.0.0.1", listening.port))
    yield listening
    for each in waiting:
        each.close()
    listening.close()


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream,
    second: RawUpstream,
    full: RawUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    closed = f"ws://127.0.0.1:{free_port()}"
    pools = {
        "main": [upstream.url],
        "short": [upstream.url],
        "closed": [closed],
        "full": [full.url],
        "two": [upstream.url, second.url],
        "closedfirst": [closed, second.url],
        "fullfirst": [full.url, second.url],
        "four": [f"{upstream.url} name={name}" for name in "abcd"],
        "none": [f"{upstream.url} name=a", f"{upstream.url} name=b"],
    }
    rows = [f"[listener:main]\nendpoint = {LOCAL}\n[log]\nformat = json"]
    for name, urls in pools.items():
        listed = "\n".join(f"  {url}" for url in urls)
        times = "upstream_handshake_timeout = 10s\n"
        if name in ("short", "two", "full", "fullfirst"):
            times = "upstream_handshake_timeout = 500ms\nconnect_timeout = 400ms\n"
        retries = "retries = 0\n" if name == "none" else ""
        path = "/" if name == "main" else f"/{name}"
        rows.append(
            f"[route:{name}]\npath = {path}\npool = {name}\nhttp = no\n{times}{retries}"
            f"[pool:{name}]\nupstreams =\n{listed}\nbalancer = first\nmax_fails = 0"
        )
    with started_relay("\n".join(rows), tmp_path_factory.mktemp("relay")) as process:
        yield process


def answered(stage: Stage, response: bytes, *, path: bytes = b"/", shut: bool = True) -> Wire:
    """Ask, let the upstream answer *response* and, if *shut*, end; return the client."""
    client = stage.ask(path)
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(response)
    if shut:
        upstream.close()
    return client


def test_the_101_arrives_byte_for_byte(stage: Stage) -> None:
    client = stage.ask(
        b"/",
        b"Sec-WebSocket-Protocol: chat, other",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    )
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(
        lines(
            b"HTTP/1.1 101 As You Like It",
            b"x-first: 1",
            b"CONNECTION: upgrade, X-Hop",
            b"Upgrade: WebSocket",
            b"Set-Cookie: a=1; Path=/",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=1",
            b"Sec-WebSocket-Accept: " + accept_for(),
            b"set-cookie: b=2",
            b"X-Bytes: \xe9\xff",
            b"Empty:",
            b"Sec-WebSocket-Protocol: other",
            b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
            b"Server: it",
        )
    )
    head = client.read_head()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert head.partition(b"\r\n")[2] == lines(
        b"x-first: 1",
        b"CONNECTION: Upgrade",
        b"Upgrade: websocket",
        b"Set-Cookie: a=1; Path=/",
        b"Sec-WebSocket-Accept: " + accept_for(),
        b"set-cookie: b=2",
        b"X-Bytes: \xe9\xff",
        b"Empty: ",
        b"Sec-WebSocket-Protocol: other",
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
        b"Server: it",
    )
    end_normally(client, upstream)


def test_no_subprotocol_of_the_upstream_is_none_for_the_client(stage: Stage) -> None:
    client = stage.ask(b"/", b"Sec-WebSocket-Protocol: chat")
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert b"websocket-protocol" not in client.read_head().lower()
    end_normally(client, upstream)


def test_interim_answers_are_skipped(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 100 Continue"))
    upstream.send(lines(b"HTTP/1.1 103 Early Hints", b"Link: </x>"))
    upstream.send(switching(b"X-A: 1"))
    head = client.read_head()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"X-A: 1" in head
    end_normally(client, upstream)


def test_interim_answers_before_a_refusal_are_skipped(stage: Stage) -> None:
    interim = lines(b"HTTP/1.1 102 Processing")
    client = answered(
        stage, interim + interim + lines(b"HTTP/1.1 403 No", b"Content-Length: 2") + b"no"
    )
    answer = read_answer(client)
    assert (answer.status, answer.body) == (403, b"no")


def test_endless_interim_answers_are_502(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    hint = lines(b"HTTP/1.1 103 Early Hints", b"X-Pad: " + b"p" * 1000)
    upstream.sock.settimeout(5)
    try:
        for _ in range(5000):  # 5 MB of them
            upstream.send(hint)
    except OSError:
        pass  # the relay has had enough
    upstream.close()
    check_own_answer(read_answer(client), 502)


@pytest.mark.parametrize("shut", [True, False], ids=["closing", "staying"])
def test_a_refusal_by_length_arrives_whole(stage: Stage, shut: bool) -> None:
    client = answered(
        stage,
        lines(
            b"HTTP/1.1 401 Who Are You",
            b'WWW-Authenticate: Basic realm="x"',
            b"www-authenticate: Bearer",
            b"Set-Cookie: a=1",
            b"Set-Cookie: b=2",
            b"Content-Type: application/json",
            b"Content-Length: 13",
            b"X-Bytes: \xff",
        )
        + b'{"no": "you"}',
        shut=shut,
    )
    answer = read_answer(client)
    assert answer.status == 401
    assert answer.body == b'{"no": "you"}'
    assert answer.get(b"Content-Length") == b"13"
    assert answer.get(b"Connection") == b"close"
    passed = [
        (b"WWW-Authenticate", b'Basic realm="x"'),
        (b"www-authenticate", b"Bearer"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Type", b"application/json"),
        (b"X-Bytes", b"\xff"),
    ]
    assert [pair for pair in answer.headers if pair in passed] == passed


def dechunked(body: bytes) -> bytes:
    """Decode a whole chunked body; anything behind it fails."""
    data = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert body == b"\r\n"
            return data
        data, end, body = data + body[:length], body[length : length + 2], body[length + 2 :]
        assert end == b"\r\n"


@pytest.mark.parametrize("shut", [True, False], ids=["closing", "staying"])
def test_a_chunked_refusal_arrives_whole(stage: Stage, shut: bool) -> None:
    head = lines(b"HTTP/1.1 503 Busy", b"Transfer-Encoding: chunked", b"Retry-After: 7")
    chunks = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
    answer = read_answer(answered(stage, head + chunks, shut=shut))
    assert answer.status == 503
    assert answer.get(b"Retry-After") == b"7"
    body = answer.body
    if answer.get(b"Transfer-Encoding") == b"chunked":
        body = dechunked(body)
    assert body == b"abc0123456789"


def test_a_chunked_refusal_in_single_bytes_arrives_whole(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    head = lines(b"HTTP/1.1 500 Oops", b"Transfer-Encoding: chunked")
    upstream.send_slowly(head + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    answer = read_answer(client)
    assert dechunked(answer.body) == b"hello!"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_refusal_until_eof_arrives_whole(stage: Stage, version: bytes) -> None:
    body = bytes(range(256)) * 4000
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(version + b" 404 Not Here", b"Content-Type: text/html"))
    upstream.send(body)
    upstream.close()
    answer = read_answer(client)
    assert answer.status == 404
    assert answer.get(b"Content-Length") is None
    assert answer.body == body


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_a_refusal_without_body_by_its_status_ends_at_its_head(stage: Stage, status: bytes) -> None:
    head = lines(b"HTTP/1.1 %b X" % status, b"ETag: x")
    answer = read_answer(answered(stage, head + b"smuggled", shut=False))
    assert answer.status == int(status)
    assert answer.body == b""


@pytest.mark.parametrize("status", [b"200", b"302", b"426", b"500", b"599", b"999"])
def test_any_other_status_is_passed_on(stage: Stage, status: bytes) -> None:
    head = lines(b"HTTP/1.1 %b Some Reason" % status, b"Location: /x", b"Content-Length: 1")
    answer = read_answer(answered(stage, head + b"x"))
    assert answer.status == int(status)
    assert answer.get(b"Location") == b"/x"
    assert answer.body == b"x"


TRUNCATED = {
    "length": lines(b"HTTP/1.1 403 No", b"Content-Length: 100") + b"only this",
    "chunk": lines(b"HTTP/1.1 403 No", b"Transfer-Encoding: chunked") + b"64\r\nonly this",
    "last-chunk": lines(b"HTTP/1.1 403 No", b"Transfer-Encoding: chunked") + b"4\r\nthis\r\n",
    "bad-chunk": lines(b"HTTP/1.1 403 No", b"Transfer-Encoding: chunked") + b"4\r\nthisX\r\n0\r\n",
}


@pytest.mark.parametrize("response", TRUNCATED.values(), ids=TRUNCATED)
def test_a_refusal_that_breaks_off_never_looks_whole(stage: Stage, response: bytes) -> None:
    client = answered(stage, response)
    try:
        data = client.read_to_end()
    except ConnectionResetError:
        return
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        assert not body.endswith(b"0\r\n\r\n")
    else:
        assert b"Content-Length: 100" in head
        assert len(body) < 100


def test_a_body_until_eof_that_is_reset_never_looks_whole(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 403 No") + b"partial")
    assert b"partial" in client.read_head() + client.read(7)
    upstream.reset()
    with pytest.raises(ConnectionResetError):
        client.read_to_end()


def test_what_follows_a_refusal_by_length_is_dropped(stage: Stage) -> None:
    head = lines(b"HTTP/1.1 403 No", b"Content-Length: 2")
    evil = lines(b"HTTP/1.1 200 OK", b"Content-Length: 4") + b"evil"
    answer = read_answer(answered(stage, head + b"no" + evil))
    assert answer.body == b"no"


def test_what_follows_a_chunked_refusal_is_dropped(stage: Stage) -> None:
    head = lines(b"HTTP/1.1 403 No", b"Transfer-Encoding: chunked")
    evil = lines(b"HTTP/1.1 200 OK", b"Content-Length: 4") + b"evil"
    answer = read_answer(answered(stage, head + b"2\r\nno\r\n0\r\n\r\n" + evil))
    assert dechunked(answer.body) == b"no"


def test_what_a_refused_client_sent_early_is_no_second_request(stage: Stage) -> None:
    client = stage.connect()
    client.send(handshake() + masked(TEXT, b"early") + handshake(b"/second"))
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 2") + b"no")
    answer = read_answer(client)
    assert answer.body == b"no"
    assert upstream.read_what_comes() == b""
    assert stage.upstream.is_alone()


BROKEN = {
    "nothing": b"",
    "half-a-head": b"HTTP/1.1 101 Switching Protocols\r\nUpgra",
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "other-protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "http-0.9": b"<html></html>\r\n\r\n",
    "http-2": lines(b"HTTP/2.0 101 X"),
    "no-accept": lines(b"HTTP/1.1 101 X", b"Upgrade: websocket", b"Connection: Upgrade"),
    "wrong-accept": switching(key=b"AAAAAAAAAAAAAAAAAAAAAA=="),
    "accept-twice": switching(b"Sec-WebSocket-Accept: " + accept_for()),
    "accept-in-lower-case": switching().replace(accept_for(), accept_for().lower()),
    "101-without-upgrade": switching().replace(b"Upgrade: websocket\r\n", b""),
    "101-of-http-1.0": switching().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "101-to-h2c": switching().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    "101-without-connection": switching().replace(b"Connection: Upgrade\r\n", b""),
    "101-with-length": switching(b"Content-Length: 5") + b"hello",
    "101-chunked": switching(b"Transfer-Encoding: chunked"),
    "protocol-not-offered": switching(b"Sec-WebSocket-Protocol: chat"),
    "extension-not-offered": switching(b"Sec-WebSocket-Extensions: permessage-deflate"),
    "length-and-chunked": lines(
        b"HTTP/1.1 403 No", b"Content-Length: 5", b"Transfer-Encoding: chunked"
    )
    + b"0\r\n\r\n",
    "two-lengths": lines(b"HTTP/1.1 403 No", b"Content-Length: 5", b"Content-Length: 6")
    + b"hello!",
    "negative-length": lines(b"HTTP/1.1 403 No", b"Content-Length: -5") + b"hello",
    "length-with-plus": lines(b"HTTP/1.1 403 No", b"Content-Length: +5") + b"hello",
    "huge-length": lines(b"HTTP/1.1 403 No", b"Content-Length: " + b"9" * 30),
    "gzip-chunked": lines(b"HTTP/1.1 403 No", b"Transfer-Encoding: gzip, chunked"),
    "folded-header": lines(b"HTTP/1.1 403 No", b"X-A: 1", b" 2", b"Content-Length: 0"),
    "space-before-colon": lines(b"HTTP/1.1 403 No", b"Content-Length : 0"),
    "bare-lf": b"HTTP/1.1 403 No\nContent-Length: 0\n\n",
    "nul": lines(b"HTTP/1.1 403 No", b"X-A: a\0b", b"Content-Length: 0"),
    "bare-cr": lines(b"HTTP/1.1 403 No", b"X-A: a\rSet-Cookie: evil=1", b"Content-Length: 0"),
    "status-of-two-digits": lines(b"HTTP/1.1 40 No", b"Content-Length: 0"),
    "huge-head": lines(b"HTTP/1.1 403 No", b"X-Pad: " + b"p" * 200_000),
}


@pytest.mark.parametrize("response", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_502_and_nothing_of_it_passes(stage: Stage, response: bytes) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    try:
        upstream.send(response)
        upstream.shut()
    except OSError:
        pass  # the relay reads no more of it
    answer = read_answer(client)
    check_own_answer(answer, 502)
    upstream.wait_until_gone()


def test_a_broken_answer_is_not_waited_for(stage: Stage) -> None:
    client = answered(stage, BROKEN["wrong-accept"], shut=False)
    check_own_answer(read_answer(client), 502)


def test_frames_behind_a_broken_101_never_reach_the_client(stage: Stage) -> None:
    client = answered(stage, BROKEN["no-accept"] + frame(TEXT, b"evil"), shut=False)
    answer = read_answer(client)
    check_own_answer(answer, 502)
    assert b"evil" not in answer.body


def test_a_refused_connection_is_502_with_retry_after(stage: Stage) -> None:
    answer = read_answer(stage.ask(b"/closed"))
    check_own_answer(answer, 502)
    assert answer.get(b"Retry-After")


def test_an_upstream_that_hangs_is_504(stage: Stage) -> None:
    client = stage.ask(b"/short")
    upstream = stage.accept()
    upstream.read_head()
    answer = read_answer(client)
    check_own_answer(answer, 504)
    assert answer.get(b"Retry-After")
    upstream.wait_until_gone()


def test_an_upstream_that_trickles_its_head_is_504(stage: Stage) -> None:
    client = stage.ask(b"/short")
    upstream = stage.accept()
    upstream.read_head()
    client.sock.settimeout(0.05)
    received, sent = b"", 0
    head = switching(b"X-Pad: " + b"p" * 1000)
    while not received and sent < 900:
        upstream.send(head[sent : sent + 1])
        sent += 1
        try:
            received = client.sock.recv(4096)
        except TimeoutError:
            continue
    assert received.startswith(b"HTTP/1.1 504 ")


def test_an_upstream_that_never_accepts_is_504(stage: Stage) -> None:
    check_own_answer(read_answer(stage.ask(b"/full")), 504)


FAILURES = ["reset", "close", "wrong-accept", "garbage", "length-and-chunked", "hang"]


@pytest.mark.parametrize("failure", FAILURES)
def test_the_second_upstream_is_used_when_the_first_fails(
    stage: Stage, second: RawUpstream, failure: str
) -> None:
    second.is_alone()
    client = stage.ask(b"/two?q=1", b"X-Request-ID: same")
    first = stage.accept()
    head = first.read_head()
    if failure == "reset":
        first.reset()
    elif failure == "close":
        first.close()
    elif failure != "hang":
        first.send(BROKEN[failure])
    upstream = stage.accept(second)
    assert upstream.read_head() == head
    upstream.send(switching(b"X-From: second"))
    assert b"X-From: second" in client.read_head()
    upstream.send(frame(TEXT, b"hi"))
    assert read_data(client).payload == b"hi"
    end_normally(client, upstream)


@pytest.mark.parametrize("path", [b"/closedfirst", b"/fullfirst"])
def test_the_second_upstream_is_used_when_the_first_takes_no_connection(
    stage: Stage, second: RawUpstream, path: bytes
) -> None:
    second.is_alone()
    client = stage.ask(path)
    upstream = stage.accept(second)
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    end_normally(client, upstream)


def test_a_refusal_is_an_answer_and_not_retried(stage: Stage, second: RawUpstream) -> None:
    second.is_alone()
    client = answered(stage, lines(b"HTTP/1.1 503 Busy", b"Content-Length: 0"), path=b"/two")
    assert read_answer(client).status == 503
    assert second.is_alone()


def test_retries_are_counted(stage: Stage) -> None:
    client = stage.ask(b"/four")
    for _ in range(3):
        upstream = stage.accept()
        upstream.read_head()
        upstream.close()
    check_own_answer(read_answer(client), 502)
    assert stage.upstream.is_alone()


def test_no_retries_means_one_try(stage: Stage) -> None:
    client = stage.ask(b"/none")
    stage.accept().close()
    check_own_answer(read_answer(client), 502)
    assert stage.upstream.is_alone()


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_leaves_takes_the_upstream_connection_with_it(stage: Stage, how: str) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    (client.reset if how == "reset" else client.close)()
    upstream.wait_until_gone()


def test_a_client_that_leaves_is_not_retried_for(stage: Stage, second: RawUpstream) -> None:
    second.is_alone()
    client = stage.ask(b"/two")
    upstream = stage.accept()
    upstream.read_head()
    client.reset()
    upstream.wait_until_gone()
    stage.works()
    assert second.is_alone()


def test_a_client_that_leaves_during_a_refusal_ends_it(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 403 No") + b"x" * 1000)
    client.read_head()
    client.reset()
    upstream.wait_until_gone()


def test_a_body_is_not_gathered_for_a_client_that_does_not_read(stage: Stage) -> None:
    client = stage.connect(rcvbuf=16 * 1024)
    client.send(handshake())
    upstream = stage.accept()
    upstream.read_head()
    size = 256 * 1024 * 1024
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: %d" % size))
    upstream.sock.settimeout(1)
    sent = 0
    try:
        while sent < size:
            sent += upstream.sock.send(b"x" * 65536)
    except TimeoutError:
        pass
    assert sent < 32 * 1024 * 1024
    client.reset()
    upstream.wait_until_gone()


def test_a_stalled_body_is_given_up(stage: Stage) -> None:
    client = stage.ask(b"/short")
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 9") + b"half")
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    upstream.wait_until_gone()


def test_frames_in_the_segment_of_the_101_are_not_lost(stage: Stage) -> None:
    client = stage.ask()
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching() + frame(TEXT, b"one") + frame(TEXT, b"two", fin=False)[:3])
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert read_data(client).payload == b"one"
    upstream.send(frame(TEXT, b"two", fin=False)[3:] + frame(0, b"three"))
    assert [read_data(client).payload for _ in range(2)] == [b"two", b"three"]
    end_normally(client, upstream)
