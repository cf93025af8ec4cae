"""Checks over real sockets, with the reactor that runs the test."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.health.support import pool_with
from tests.peers.certificates import KeyPair
from tests.support import PATIENCE
from tests.system.support import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    RawUpstream,
    Wire,
    close_payload,
    frame,
    switching,
)
from wsrelay.config.model import UpstreamConfig
from wsrelay.health.check import Check, Result, Target, begin_check

reactor: Any = installed_reactor

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
WELL = "opened, answered the ping and closed"

Script = Callable[[Wire], None]


class SocketTestCase(TestCase):
    """Makes checks, and upstreams that do what a script says, each in a thread of its own."""

    timeout = 3 * PATIENCE
    played: Deferred[None]
    """When the last script has ended."""

    def folder(self) -> Path:
        """Return a new folder, with a path that is short enough for a unix socket's."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def listen(self) -> RawUpstream:
        upstream = RawUpstream.tcp()
        self.addCleanup(upstream.close)
        return upstream

    def play(self, script: Script, upstream: RawUpstream | None = None) -> str:
        """Let an upstream serve one connection by *script*; return its URL."""
        upstream = upstream or self.listen()
        self.played = played = deferToThread(_serve, upstream, script)
        self.addCleanup(lambda: played)  # what a script raises fails the test
        return upstream.url

    def play_tls(self, script: Script, pair: KeyPair, **context: Any) -> str:
        """Let a TLS upstream serve one connection by *script*."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pair.certificate, pair.key)
        if "client_ca" in context:
            server.load_verify_locations(context["client_ca"])
            server.verify_mode = ssl.CERT_REQUIRED

        def serve(plain: Wire) -> None:
            # The relay may find the certificate wrong, and break off.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                secure = server.wrap_socket(plain.sock, server_side=True)
                with contextlib.closing(Wire(secure)) as wire:
                    script(wire)

        return self.play(serve).replace("ws:", "wss:")

    async def check(self, url: str, line: str, **options: Any) -> Result:
        """Check once, and see that nothing is left of it."""
        before = await self.at_rest()
        waiting, _ = self.begin(url, line, **options)
        result = await waiting
        await self.assert_nothing_left(before)
        return result

    def begin(self, url: str, line: str, **options: Any) -> tuple[Deferred[Result], Check]:
        if "timeout=" not in line:
            line += " timeout=10s"  # how long things take says nothing but how busy a machine is
        waiting: Deferred[Result] = Deferred()
        target = Target.make(reactor, UpstreamConfig("a", url), pool_with(line, **options))
        # A second result would raise AlreadyCalled, which is logged, and so fails the test.
        return waiting, begin_check(target, waiting.callback)

    def watched(self) -> set[Any]:
        """Return all that the reactor watches or waits for."""
        return {*reactor.getReaders(), *reactor.getWriters(), *reactor.getDelayedCalls()}

    async def at_rest(self) -> set[Any]:
        """Return what is `watched` after some turns of the reactor; an abort takes it one."""
        for _ in range(3):
            await deferLater(reactor, 0, lambda: None)
        return self.watched()

    async def assert_nothing_left(self, before: set[Any]) -> None:
        """Check that the reactor watches no more than *before*."""
        self.assertEqual(await self.at_rest() - before, set())


def _serve(upstream: RawUpstream, script: Script) -> None:
    with contextlib.closing(upstream.accept()) as wire:
        script(wire)


def until_gone(wire: Wire) -> None:
    """Say nothing for as long as the relay stays."""
    wire.wait_until_gone()


def answering(data: bytes) -> Script:
    """Answer the request with these bytes."""

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(data)
        wire.wait_until_gone()

    return script


def open_websocket(wire: Wire, *more: bytes) -> None:
    match = re.search(rb"Sec-WebSocket-Key: (\S+)", wire.read_head())
    assert match
    wire.send(switching(*more, key=match[1]))


def answer_ping(wire: Wire) -> None:
    ping = wire.read_frame()
    assert ping.opcode == PING
    assert ping.mask
    wire.send(frame(PONG, ping.payload))


def converse(wire: Wire) -> None:
    """Do all that the websocket check wants, and see that it does so, too."""
    open_websocket(wire)
    wire.send(frame(TEXT, b"welcome"))
    answer_ping(wire)
    assert wire.read_frame().close_code == 1000
    wire.send(frame(CLOSE, close_payload(1000)))
    assert wire.read_to_end() == b""  # no reset


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """Return a listener that takes no more connections, and who fills it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    crowd = []
    for _ in range(4):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(listener.getsockname())
        crowd.append(each)
    return listener, crowd
