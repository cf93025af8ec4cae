"""One check in memory: what is sent, what the answers are worth, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs

from tests.health.support import URL, Checking, Lingering, pool_with
from tests.relay.world import Reactor
from wsrelay import __version__
from wsrelay.config.model import UpstreamConfig
from wsrelay.health.check import Result, Target, begin_check
from wsrelay.relay.upstream import MAX_HEAD, Problem

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
KINDS = ("tcp", "http", "websocket")


class Unhurried(Checking):
    """A check whose upstream takes its time to end a connection."""

    make_transport = Lingering


# what all kinds have in common


@pytest.mark.parametrize("kind", KINDS)
def test_an_upstream_that_refuses_fails(kind: str) -> None:
    checking = Checking(kind)
    assert checking.results == []
    checking.refuse()
    checking.assert_result(False, "connection failed: refused")


@pytest.mark.parametrize("kind", KINDS)
def test_an_upstream_that_accepts_nobody_fails_in_time(kind: str) -> None:
    checking = Checking(f"{kind} timeout=1500ms")
    checking.advance(1.4)
    assert checking.results == []
    checking.advance(0.1)
    checking.assert_result(False, "did not accept a connection within 1.5s", 1.5)
    assert checking.dials[0].called_off


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_upstream_that_never_answers_fails_in_time(kind: str) -> None:
    checking = Checking(kind)
    checking.advance(0.75)
    checking.accept()
    checking.advance(0.125)
    assert checking.results == []
    checking.advance(0.125)
    checking.assert_result(False, "did not answer within 1s", 1.0)
    assert checking.transports[0].aborted


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_answer_that_comes_in_drops_does_not_prolong_the_check(kind: str) -> None:
    checking = Checking(f"{kind} timeout=3s")
    checking.accept()
    for number in range(3):
        assert checking.results == []
        checking.send(OK[number : number + 1])
        checking.advance(1.0)
    checking.assert_result(False, "did not answer within 3s", 3.0)


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_connection_lost_before_the_answer_fails(kind: str) -> None:
    checking = Checking(kind)
    checking.accept()
    checking.send(OK[:20])
    checking.reset()
    checking.assert_result(False, "connection lost before the answer: reset, or cut off")


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_answer_that_is_no_http_fails(kind: str) -> None:
    checking = Checking(kind)
    checking.accept()
    checking.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    checking.assert_result(False, "The status line is not 'HTTP/1.1 status reason'.")


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_head_without_end_fails(kind: str) -> None:
    checking = Checking(kind)
    checking.accept()
    checking.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD)
    checking.assert_result(False, f"answered with a head of over {MAX_HEAD} bytes")


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_that_is_cancelled_while_it_dials_tells_nothing(kind: str) -> None:
    checking = Checking(kind)
    checking.check.cancel()
    checking.settle()
    checking.assert_clean()
    assert checking.dials[0].called_off
    checking.check.cancel()
    checking.advance(10)
    assert checking.results == []


def up_to_the_answer(checking: Checking) -> None:
    checking.accept()


def up_to_the_ping(checking: Checking) -> None:
    checking.accept()
    checking.send(checking.switching())


def up_to_the_end(checking: Checking) -> None:
    checking.accept()
    checking.send(OK)


@pytest.mark.parametrize(
    ("line", "go"),
    [
        ("http", up_to_the_answer),
        ("websocket", up_to_the_ping),
        ("http", up_to_the_end),
        ("tcp", up_to_the_answer),
    ],
)
def test_a_check_that_is_cancelled_tells_nothing(line: str, go: Callable[[Checking], None]) -> None:
    checking = Unhurried(line)
    go(checking)
    assert checking.results == []
    checking.check.cancel()
    checking.settle()
    assert checking.transports[0].aborted
    checking.assert_clean()
    checking.advance(10)
    assert checking.results == []


def test_to_cancel_what_is_over_is_harmless() -> None:
    checking = Checking("tcp")
    checking.accept()
    checking.check.cancel()
    checking.assert_result(True, "connected")


def test_an_upstream_that_does_not_end_the_connection_has_answered_all_the_same() -> None:
    checking = Unhurried("http timeout=2s")
    checking.accept()
    checking.advance(0.5)
    checking.send(OK)
    assert checking.results == []
    assert not checking.transports[0].aborted
    checking.send(b"more" * 100_000)
    checking.advance(1.5)
    checking.assert_result(True, "answered 200", 0.5)


def test_a_connection_that_nobody_else_ends_is_ended_in_time() -> None:
    checking = Unhurried("tcp")
    checking.advance(0.5)
    checking.accept()
    assert checking.results == []
    checking.advance(0.5)
    checking.assert_result(True, "connected", 0.5)


def test_what_comes_when_it_is_over_is_not_told() -> None:
    checking = Checking("http")
    checking.accept()
    checking.send(OK)
    checking.check.fail("broke off")
    checking.check.conclude(False, "answered 500")
    checking.check.upstream_failed(Problem(504, "did not answer in time"))
    checking.assert_result(True, "answered 200")


def test_a_connection_reset_behind_the_answer_does_not_matter() -> None:
    checking = Unhurried("http")
    checking.accept()
    checking.send(OK)
    checking.reset()
    checking.assert_result(True, "answered 200")


def test_what_is_done_with_a_result_may_fail() -> None:
    reactor = Reactor()
    results = []

    def done(result: Result) -> None:
        results.append(result)
        raise RuntimeError("on purpose")

    target = Target.make(reactor, UpstreamConfig("a", URL), pool_with("tcp"))
    check = begin_check(target, done)
    with capturedLogs() as events:
        reactor.advance(10)
    assert [result.ok for result in results] == [False]
    assert [str(event["log_failure"].value) for event in events] == ["on purpose"]
    assert events[0]["id"] == "check of chat/a"
    assert check.is_over
    assert reactor.getDelayedCalls() == []


def test_an_upstream_that_cannot_be_dialled_at_all_fails() -> None:
    class Broken(Reactor):
        def connectTCP(self, *arguments: object, **options: object) -> None:  # noqa: N802
            raise RuntimeError("on purpose")

    reactor, results = Broken(), []
    target = Target.make(reactor, UpstreamConfig("a", URL), pool_with("tcp"))
    with capturedLogs() as events:
        begin_check(target, results.append)
    assert results == [Result(False, "could not be dialled; the log has more", 0.0)]
    assert len(events) == 1
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_goes_to_the_port_that_it_was_given(kind: str) -> None:
    assert Checking(kind).dials[0].port == 9000
    assert Checking(f"{kind} port=9001").dials[0].port == 9001
    assert Checking(f"{kind} port=9001").dials[0].where == "192.0.2.1"
    assert Checking(f"{kind} port=9001", "unix:/run/a.sock").dials[0].where == "/run/a.sock"


# tcp


def test_to_connect_is_enough_and_ends_without_a_reset() -> None:
    checking = Checking("tcp")
    checking.advance(0.25)
    transport = checking.accept()
    assert checking.heard == b""
    assert transport.eof
    assert not transport.aborted
    checking.assert_result(True, "connected", 0.25)


def test_a_unix_socket_is_connected_to() -> None:
    checking = Checking("tcp", "unix:/run/a.sock")
    checking.accept()
    checking.assert_result(True, "connected")


# http


def test_the_request_is_a_whole_one() -> None:
    checking = Checking("http path=/health?deep=1", f"{URL}/base/")
    checking.accept()
    assert checking.heard.split(b"\r\n") == [
        b"GET /base/health?deep=1 HTTP/1.1",
        b"Host: 192.0.2.1:9000",
        f"User-Agent: wsrelay/{__version__} (health check)".encode(),
        b"Accept: */*",
        b"Connection: close",
        b"",
        b"",
    ]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("options", "url", "host"),
    [
        ("host=chat.example.com:81", URL, b"chat.example.com:81"),
        ("", "ws://[2001:db8::1]:9000/base", b"[2001:db8::1]:9000"),
        ("", "unix:/run/a.sock", b"localhost"),
        ("port=9001", URL, b"192.0.2.1:9000"),
    ],
)
def test_host_is_what_was_said_or_the_upstreams_own(
    kind: str, options: str, url: str, host: bytes
) -> None:
    checking = Checking(f"{kind} {options}", url)
    checking.accept()
    assert checking.heard.split(b"\r\n")[1] == b"Host: " + host


@pytest.mark.parametrize(
    ("line", "status", "ok", "what"),
    [
        ("http", 199, None, ""),
        ("http", 200, True, "answered 200"),
        ("http", 399, True, "answered 399"),
        ("http", 400, False, "answered 400 instead of 200-399"),
        ("http", 500, False, "answered 500 instead of 200-399"),
        ("http", 101, False, "answered 101 instead of 200-399"),
        ("http status=204", 204, True, "answered 204"),
        ("http status=204", 200, False, "answered 200 instead of 204"),
        ("http status=500-503", 503, True, "answered 503"),
    ],
)
def test_the_status_decides(line: str, status: int, ok: bool | None, what: str) -> None:
    checking = Checking(line)
    transport = checking.accept()
    checking.send(b"HTTP/1.1 %d Whatever\r\n\r\n" % status)
    if ok is None:  # interim: the answer follows
        assert checking.results == []
        return
    checking.assert_result(ok, what)
    assert not transport.aborted


def test_an_interim_answer_is_not_the_answer() -> None:
    checking = Checking("http")
    checking.accept()
    checking.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    checking.assert_result(True, "answered 200")


def test_an_old_server_may_answer_too() -> None:
    checking = Checking("http")
    checking.accept()
    checking.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
    checking.assert_result(True, "answered 200")
