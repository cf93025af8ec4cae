"""An upstream that answers with two ends, or more than it was asked, poisons nobody's answer."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    LOCAL,
    RawUpstream,
    Stage,
    Wire,
    check_own_answer,
    lines,
    read_answer,
    wait_until,
)

SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    config = f"""
[listener:main]
endpoint = {LOCAL}
[route:main]
pool = main
retries = 0
[pool:main]
upstreams = {upstream.url}
max_fails = 0
"""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


def request(path: bytes, method: bytes = b"GET", *more: bytes) -> bytes:
    return lines(b"%b %b HTTP/1.1" % (method, path), b"Host: r.test", *more)


def ask(stage: Stage, path: bytes, method: bytes = b"GET", *more: bytes) -> tuple[Wire, Wire]:
    """Ask by a new connection; return it, and the one by which a new upstream is asked."""
    client = stage.connect()
    client.send(request(path, method, *more))
    upstream = stage.accept()
    assert upstream.read_head().startswith(b"%b %b HTTP/1.1\r\n" % (method, path))
    return client, upstream


def read_text(client: Wire) -> bytes:
    """Read a 200 with Content-Length, and return its body."""
    head = client.read_head()
    assert head.startswith(b"HTTP/1.1 200 "), head
    rows = (row.partition(b": ") for row in head.lower().split(b"\r\n"))
    return client.read(next(int(value) for name, _, value in rows if name == b"content-length"))


def pour(upstream: Wire, data: bytes) -> None:
    """Send what the relay may have enough of before it is all there."""
    with contextlib.suppress(ConnectionError):
        upstream.send(data)


def check_next(stage: Stage, poisoned: Wire) -> None:
    """Check that a connection is used no more, and that the next client gets its own answer."""
    client, upstream = ask(stage, b"/next")  # by a new one; not when the relay tires of the old
    poisoned.wait_until_gone()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
    assert read_text(client) == b"mine"
    upstream.close()  # else a later test's request would come by it
    client.close()


def head(*rows: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return lines(start, *rows)


CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
BODY = b"5\r\nhello\r\n0\r\n\r\n"

BROKEN_HEADS = {
    "both lengths": head(CL, TE) + BODY,
    "both lengths, turned": head(TE, CL) + BODY,
    "a zero and chunks": head(b"Content-Length: 0", TE) + BODY,
    "two lengths": head(CL, b"Content-Length: 50") + b"hello",
    "a list of lengths": head(b"Content-Length: 5, 5") + b"hello",
    "an empty length": head(b"Content-Length:") + b"hello",
    "a plus": head(b"Content-Length: +5") + b"hello",
    "a minus": head(b"Content-Length: -5") + b"hello",
    "hexadecimal": head(b"Content-Length: 0x5") + b"hello",
    "an underscore": head(b"Content-Length: 1_0") + b"hellohello",
    "an overflow": head(b"Content-Length: 18446744073709551621") + b"hello",
    "a length with junk": head(b"Content-Length: 5\xa0") + b"hello",
    "identity": head(b"Transfer-Encoding: identity") + BODY,
    "xchunked": head(b"Transfer-Encoding: xchunked") + BODY,
    "a list of codings": head(b"Transfer-Encoding: gzip, chunked") + BODY,
    "chunked not last": head(b"Transfer-Encoding: chunked, gzip") + BODY,
    "chunked twice": head(TE, TE) + BODY,
    "chunked with a parameter": head(b"Transfer-Encoding: chunked;a=b") + BODY,
    "a comma in front": head(b"Transfer-Encoding: ,chunked") + BODY,
    "a vertical tab": head(b"Transfer-Encoding: \x0bchunked") + BODY,
    "HTTP/1.0 with chunks": head(TE, start=b"HTTP/1.0 200 OK") + BODY,
    "a space before the colon": head(b"Content-Length : 5") + b"hello",
    "a fold": head(b"X: y", b" Content-Length: 5") + b"hello",
    "a bare LF": head(b"X: y\nContent-Length: 5") + b"hello",
    "a bare CR": head(b"X: y\rContent-Length: 5") + b"hello",
    "a NUL": head(b"X: y\x00", CL) + b"hello",
    "no colon": head(b"X", CL) + b"hello",
    "an empty name": head(b": y", CL) + b"hello",
    "an empty line in front": b"\r\n" + head(CL) + b"hello",
    "a space in front": b" " + head(CL) + b"hello",
    "HTTP/2": head(CL, start=b"HTTP/2 200 OK") + b"hello",
    "HTTP/1.2": head(CL, start=b"HTTP/1.2 200 OK") + b"hello",
    "ICY": head(CL, start=b"ICY 200 OK") + b"hello",
    "two digits": head(CL, start=b"HTTP/1.1 20 OK") + b"hello",
    "four digits": head(CL, start=b"HTTP/1.1 2000 OK") + b"hello",
    "a status below 100": head(CL, start=b"HTTP/1.1 099 OK") + b"hello",
    "a sign": head(CL, start=b"HTTP/1.1 +20 OK") + b"hello",
    "two spaces": head(CL, start=b"HTTP/1.1  200 OK") + b"hello",
    "a 101 nobody asked for": head(
        b"Upgrade: websocket", b"Connection: Upgrade", start=b"HTTP/1.1 101 Switching Protocols"
    ),
    "too many headers": head(*[b"X: y"] * 201, CL) + b"hello",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 66_000,
    "nothing but interim answers": head(start=b"HTTP/1.1 102 Processing") * 3000,
    "an interim answer, then a broken one": head(start=b"HTTP/1.1 103 Hints") + head(CL, TE) + BODY,
}


def after_interim(client: Wire) -> bytes:
    """Read all that comes, and return what follows the interim answers."""
    data = client.read_to_end()
    while data.startswith((b"HTTP/1.1 102 ", b"HTTP/1.1 103 ")):
        data = data.partition(b"\r\n\r\n")[2]
    return data


@pytest.mark.parametrize("answer", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
def test_an_answer_with_a_broken_head_becomes_a_502(stage: Stage, answer: bytes) -> None:
    client, upstream = ask(stage, b"/first", b"GET", b"Connection: close")
    pour(upstream, answer + SECOND)
    data = after_interim(client)
    assert data.startswith(b"HTTP/1.1 502 "), data[:200]
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"poisoned" not in data
    assert b"hello" not in data
    check_next(stage, upstream)


BROKEN_BODIES = {
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a size that is too big": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rX\r\nhello\r\n0\r\n\r\n",
    "more data than the size": b"5\r\nhello!!\r\n0\r\n\r\n",
    "LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "two bytes for the last line": b"0\r\nXX",
    "LF for the last line": b"0\r\n\n",
    "a trailer that is framing": b"0\r\nContent-Length: 5\r\n\r\n",
    "a malformed trailer": b"0\r\nX : y\r\n\r\n",
    "an answer for a chunk": b"",
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_an_answer_with_a_broken_body_is_cut(stage: Stage, body: bytes) -> None:
    client, upstream = ask(stage, b"/first")
    pour(upstream, head(TE) + body + SECOND)
    data = client.read_what_comes()
    assert data.count(b"HTTP/1.1 ") <= 1
    assert not data.endswith(b"0\r\n\r\n"), "the client takes it for a whole answer"
    assert b"poisoned" not in data
    check_next(stage, upstream)


@pytest.mark.parametrize("framing", [CL, TE, b"X: y"], ids=["length", "chunks", "none, reset"])
def test_an_answer_that_breaks_off_is_cut(stage: Stage, framing: bytes) -> None:
    client, upstream = ask(stage, b"/first")
    upstream.send(head(framing) + (b"2\r\nhe" if framing is TE else b"he"))
    client.read_head()
    upstream.reset()
    assert not client.read_what_comes().endswith(b"0\r\n\r\n")
    client, upstream = ask(stage, b"/next")
    client.close()


TOO_MUCH = {
    "two answers": (b"GET", head(CL) + b"hello" + SECOND, b"hello"),
    "two answers in chunks": (b"GET", head(TE) + BODY + SECOND, b"hello"),
    "more than the length": (b"GET", head(CL) + b"hello, poisoned", b"hello"),
    "a byte too many": (b"GET", head(CL) + b"hello!", b"hello"),
    "a line behind the chunks": (b"GET", head(TE) + BODY + b"\r\n", b"hello"),
    "an answer behind none": (b"GET", head(b"Content-Length: 0") + SECOND, b""),
    "a body for HEAD": (b"HEAD", head(b"Content-Length: 8") + b"poisoned", b""),
    "chunks for HEAD": (b"HEAD", head(TE) + BODY, b""),
    "a body for 204": (b"GET", head(start=b"HTTP/1.1 204 No") + b"poisoned", b""),
    "a length and a body for 304": (b"GET", head(CL, start=b"HTTP/1.1 304 No") + b"hello", b""),
    "an interim answer behind": (
        b"GET",
        head(CL) + b"hello" + head(start=b"HTTP/1.1 100 C"),
        b"hello",
    ),
}


@pytest.mark.parametrize(("method", "answer", "text"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_comes_behind_an_answer_is_nobodys(
    stage: Stage, method: bytes, answer: bytes, text: bytes
) -> None:
    client, upstream = ask(stage, b"/first", method)
    upstream.send(answer)
    assert client.read_head().startswith(answer[:12])
    assert text in (client.read(len(text)) if b"chunked" not in answer else b"hello")
    check_next(stage, upstream)
    # The same client may go on, and gets what is its own, too.
    client.send(request(b"/second"))
    if b"chunked" in answer and text:
        assert client.read(len(BODY)) == BODY
    other = stage.accept()
    other.read_head()
    other.send(head(b"Content-Length: 4") + b"mine")
    assert read_text(client) == b"mine"
    other.close()
    client.close()


def kept(stage: Stage) -> tuple[Wire, Wire]:
    """Return a client with its answer, and the upstream's connection, which the relay keeps."""
    client, upstream = ask(stage, b"/first")
    upstream.send(head(CL) + b"hello")
    assert read_text(client) == b"hello"
    return client, upstream


def test_a_clean_answer_keeps_the_connection(stage: Stage) -> None:
    client, upstream = kept(stage)
    other = stage.connect()
    other.send(request(b"/other"))
    assert upstream.read_head().startswith(b"GET /other ")
    upstream.send(head(b"Content-Length: 4") + b"mine")
    assert read_text(other) == b"mine"
    upstream.close()
    client.close()


@pytest.mark.parametrize(
    "unasked", [SECOND, b"\r\n", b"\x00", head(start=b"HTTP/1.1 100 Continue"), SECOND * 1000]
)
def test_what_an_idle_upstream_says_unasked_is_nobodys(stage: Stage, unasked: bytes) -> None:
    client, upstream = kept(stage)
    pour(upstream, unasked)
    check_next(stage, upstream)
    client.close()


def test_what_came_unasked_just_before_a_request_is_nobodys(stage: Stage) -> None:
    client, upstream = kept(stage)
    os.kill(stage.relay.pid, signal.SIGSTOP)
    try:  # both are there when the relay looks, and it looks at the client first
        client.send(request(b"/second"))
        upstream.send(SECOND)
    finally:
        os.kill(stage.relay.pid, signal.SIGCONT)
    fresh = stage.accept()
    assert fresh.read_head().startswith(b"GET /second ")
    upstream.wait_until_gone()
    fresh.send(head(b"Content-Length: 4") + b"mine")
    assert read_text(client) == b"mine"
    fresh.close()
    client.close()


def test_an_answer_before_the_whole_request_ends_both_connections(stage: Stage) -> None:
    client, upstream = ask(stage, b"/first", b"POST", b"Content-Length: 100")
    client.send(b"half of it")
    upstream.send(head(CL) + b"hello")
    assert b"close" in client.read_head().lower()
    assert client.read(5) == b"hello"
    # What is still to come of the body is no request.
    client.send(request(b"/smuggled"))
    assert client.read_to_end() == b""
    check_next(stage, upstream)


def test_a_crowd_gets_each_its_own_answer_from_an_upstream_that_says_all_twice(
    stage: Stage,
) -> None:
    for number in range(30):
        path = b"/%d" % number
        client, upstream = ask(stage, path)
        answer = head(b"Content-Length: %d" % len(path)) + path
        upstream.send(answer * 2)
        assert read_text(client) == path
        client.send(request(b"/again"))
        other = stage.accept()
        assert other.read_head().startswith(b"GET /again ")
        other.send(head(b"Content-Length: 5") + b"again")
        assert read_text(client) == b"again"
        for wire in (client, upstream, other):
            wire.close()


def test_the_relay_lets_go_of_an_upstream_that_goes_on_for_ever(stage: Stage) -> None:
    client, upstream = ask(stage, b"/first", b"GET", b"Connection: close")
    client.sock.setblocking(True)
    upstream.sock.settimeout(0.2)
    interim = head(start=b"HTTP/1.1 100 Continue")

    def is_cut() -> bool:
        try:
            upstream.sock.sendall(interim * 1000)
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    wait_until(is_cut, "the end of a flood")
    data = client.read_to_end()
    assert b"HTTP/1.1 502 " in data
    assert len(data) < 200_000
    check_next(stage, upstream)


def test_the_relay_s_own_502_says_what_it_is(stage: Stage) -> None:
    client, upstream = ask(stage, b"/first", b"GET", b"Connection: close")
    upstream.send(BROKEN_HEADS["both lengths"])
    check_own_answer(read_answer(client), 502)
    check_next(stage, upstream)
