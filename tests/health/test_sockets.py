"""Checks of upstreams that fail in all the ways that sockets allow."""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.defer import Deferred

from tests.health.sockets import (
    OK,
    WELL,
    SocketTestCase,
    answer_ping,
    answering,
    converse,
    full_listener,
    open_websocket,
    reactor,
    until_gone,
)
from tests.health.support import pool_with
from tests.support import free_port
from tests.system.support import (
    CLOSE,
    RawUpstream,
    Wire,
    close_payload,
    frame,
    switching,
)
from wsrelay.config.model import UpstreamConfig
from wsrelay.health.check import Result
from wsrelay.health.checker import Checker

KINDS = ("tcp", "http", "websocket")


def close_with_1011(wire: Wire) -> None:
    open_websocket(wire)
    answer_ping(wire)
    assert wire.read_frame().close_code == 1000
    wire.send(frame(CLOSE, close_payload(1011)))
    wire.wait_until_gone()


def never_pong(wire: Wire) -> None:
    open_websocket(wire)
    wire.wait_until_gone()


def garbage(wire: Wire) -> None:
    open_websocket(wire)
    wire.send(b"\xde\xad\xbe\xef" * 10)
    wire.wait_until_gone()


def vanish(wire: Wire) -> None:
    open_websocket(wire)
    wire.read_frame()
    wire.reset()


def trickle(wire: Wire) -> None:
    """Answer well, but a byte at a time with a pause behind each, until the relay has left."""
    with contextlib.suppress(ConnectionError):
        wire.read_head()
        wire.sock.settimeout(0.05)
        for byte in OK:
            wire.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                wire.sock.recv(1)


class SocketTests(SocketTestCase):
    """Plain connections to 127.0.0.1, which are dialled without Twisted's connectors."""

    async def assert_checked(
        self, url: str, line: str, ok: bool, what: str, **options: Any
    ) -> Result:
        result = await self.check(url, line, **options)
        self.assertEqual((result.ok, result.what), (ok, what))
        return result

    async def test_upstreams_that_work(self) -> None:
        await self.assert_checked(self.play(until_gone), "tcp", True, "connected")
        await self.assert_checked(self.play(answering(OK)), "http", True, "answered 200")
        await self.assert_checked(self.play(converse), "websocket", True, WELL)

    async def test_the_tcp_check_ends_its_connection_properly(self) -> None:
        ends: list[bytes] = []
        url = self.play(lambda wire: ends.append(wire.read_to_end()))  # raises for a reset
        await self.assert_checked(url, "tcp", True, "connected")

    async def test_an_upstream_that_accepts_and_never_answers(self) -> None:
        for kind in ("http", "websocket"):
            url = self.play(until_gone)
            await self.assert_checked(
                url, f"{kind} timeout=100ms", False, "did not answer within 0.1s"
            )

    async def test_nobody_listens(self) -> None:
        for kind in KINDS:
            url = f"ws://127.0.0.1:{free_port()}"
            await self.assert_checked(url, kind, False, "connection failed: refused")

    async def test_a_listener_that_is_full(self) -> None:
        listener, crowd = full_listener()
        for each in (listener, *crowd):
            self.addCleanup(each.close)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        what = "did not accept a connection within 0.1s"
        await self.assert_checked(url, "tcp timeout=100ms", False, what)
        before = await self.at_rest()
        _, check = self.begin(url, "http")
        self.assertNotEqual(self.watched(), before)
        check.cancel()
        await self.assert_nothing_left(before)

    async def test_another_port(self) -> None:
        url = self.play(answering(OK))
        port = int(url.rpartition(":")[2])
        line = f"http port={port}"
        await self.assert_checked("ws://127.0.0.1:1", line, True, "answered 200")

    async def test_an_answer_that_is_not_wanted(self) -> None:
        url = self.play(answering(OK.replace(b"200", b"500")))
        await self.assert_checked(url, "http", False, "answered 500 instead of 200-399")
        url = self.play(answering(OK))
        await self.assert_checked(url, "websocket", False, "answered 200 instead of 101")

    async def test_a_body_that_nobody_reads(self) -> None:
        def flood(wire: Wire) -> None:
            wire.read_head()
            wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    wire.send(b"x" * 65536)
            except ConnectionError:
                return

        await self.assert_checked(self.play(flood), "http", True, "answered 200")

    async def test_a_byte_now_and_then(self) -> None:
        for kind in ("http", "websocket"):
            url = self.play(trickle)
            await self.assert_checked(
                url, f"{kind} timeout=300ms", False, "did not answer within 0.3s"
            )

    async def test_a_reset_instead_of_an_answer(self) -> None:
        def script(wire: Wire) -> None:
            wire.read_head()
            wire.reset()

        what = "connection lost before the answer: reset, or cut off"
        await self.assert_checked(self.play(script), "http", False, what)
        await self.assert_checked(self.play(script), "websocket", False, what)

    async def test_an_end_instead_of_an_answer(self) -> None:
        url = self.play(lambda wire: [wire.read_head(), None][1])
        what = "connection lost before the answer: closed by the upstream"
        await self.assert_checked(url, "http", False, what)

    async def test_a_wrong_accept_key(self) -> None:
        url = self.play(answering(switching()))  # for another key
        what = "broke the opening handshake: The 101's Sec-WebSocket-Accept does not answer the"
        await self.assert_checked(url, "websocket", False, what + " key it was sent.")

    async def test_a_wrong_subprotocol(self) -> None:
        def script(wire: Wire) -> None:
            open_websocket(wire, b"Sec-WebSocket-Protocol: chat.v1")
            wire.wait_until_gone()

        what = "broke the opening handshake: The 101's Sec-WebSocket-Protocol is not one of those"
        line = "websocket subprotocol=chat.v2"
        await self.assert_checked(self.play(script), line, False, what + " offered.")
        what = "did not choose the subprotocol chat.v2"
        await self.assert_checked(self.play(never_pong), line, False, what)

    async def test_conversations_that_go_wrong(self) -> None:
        for script, patience, what in (
            (never_pong, "1s", "did not answer the ping within 1s"),
            (garbage, "10s", "broke the websocket protocol: reserved opcode 14"),
            (vanish, "10s", "did not answer the ping: reset, or cut off"),
            (close_with_1011, "10s", "closed with 1011 instead of 1000"),
        ):
            url, line = self.play(script), f"websocket timeout={patience}"
            await self.assert_checked(url, line, False, what)

    async def test_a_check_is_cancelled_in_the_middle(self) -> None:
        for kind in ("http", "websocket"):
            gone: Deferred[None] = Deferred()

            def script(wire: Wire, gone: Deferred[None] = gone) -> None:
                wire.read_head()
                reactor.callFromThread(self.cancel_check)
                wire.wait_until_gone()
                reactor.callFromThread(gone.callback, None)

            before = await self.at_rest()
            waiting, self.running = self.begin(self.play(script), kind)
            await gone
            await self.assert_nothing_left(before)
            self.assertNoResult(waiting)

    def cancel_check(self) -> None:
        self.running.cancel()

    async def test_a_unix_socket(self) -> None:
        path = self.folder() / "s"
        upstream = RawUpstream.unix(path)
        self.addCleanup(upstream.close)
        self.play(until_gone, upstream)
        await self.assert_checked(upstream.url, "tcp port=9", True, "connected")
        self.play(answering(OK), upstream)
        await self.assert_checked(upstream.url, "http", True, "answered 200")
        self.play(converse, upstream)
        await self.assert_checked(upstream.url, "websocket", True, WELL)
        self.play(until_gone, upstream)
        what = "did not answer within 0.1s"
        await self.assert_checked(upstream.url, "websocket timeout=100ms", False, what)
        await self.played
        upstream.close()
        await self.assert_checked(upstream.url, "tcp", False, "connection failed: refused")
        path.unlink()
        what = "connection failed: no such file or directory"
        await self.assert_checked(upstream.url, "tcp", False, what)

    async def test_a_checker_over_sockets(self) -> None:
        upstream = self.listen()
        waiting: Deferred[Any] = Deferred()
        pool = pool_with("tcp interval=20ms rise=1 fall=2")
        reports: list[tuple[bool, str | None]] = []

        def report(result: Result, flipped: str | None) -> None:
            reports.append((result.ok, flipped))
            if flipped == "up":
                upstream.close()
            elif flipped == "down":
                checker.stop()
                waiting.callback(None)

        before = await self.at_rest()
        checker = Checker(reactor, UpstreamConfig("a", upstream.url), pool, report)
        checker.start()
        await waiting
        await self.assert_nothing_left(before)
        self.assertEqual(reports[0], (True, "up"))
        self.assertEqual(reports[-2:], [(False, None), (False, "down")])
