"""Checks of upstreams with names, which go through Twisted's endpoint."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

from tests.health.sockets import (
    WELL,
    SocketTestCase,
    converse,
    reactor,
    until_gone,
)
from tests.support import free_port

KINDS = ("tcp", "http", "websocket")


@implementer(IHostnameResolver)
class Silent:
    """A resolver that does not answer before a test wants it to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def resolveHostName(self, receiver: Any, *arguments: Any, **options: Any) -> Any:  # noqa: N802
        receiver.resolutionBegan(self)
        self.asked.append(receiver)
        return self

    def cancel(self) -> None:
        """Do nothing: a thread cannot be stopped either."""


class NameTests(SocketTestCase):
    """Upstreams with names, which go through Twisted's endpoint."""

    async def test_a_name(self) -> None:
        port = self.play(until_gone).rpartition(":")[2]
        result = await self.check(f"ws://localhost:{port}", "tcp")
        self.assertEqual((result.ok, result.what), (True, "connected"))
        port = self.play(converse).rpartition(":")[2]
        result = await self.check(f"ws://localhost:{port}", "websocket")
        self.assertEqual((result.ok, result.what), (True, WELL))

    async def test_a_name_behind_which_nobody_listens(self) -> None:
        result = await self.check(f"ws://localhost:{free_port()}", "http")
        self.assertEqual((result.ok, result.what), (False, "connection failed: refused"))

    async def test_a_resolver_that_never_answers(self) -> None:
        resolver = Silent()
        former = reactor.installNameResolver(resolver)
        self.addCleanup(reactor.installNameResolver, former)
        result = await self.check("ws://upstream.test:1", "tcp timeout=100ms")
        self.assertEqual(result.what, "did not accept a connection within 0.1s")
        before = await self.at_rest()
        waiting, check = self.begin("ws://upstream.test:1", "tcp")
        check.cancel()
        for receiver in resolver.asked:
            receiver.resolutionComplete()
        await self.assert_nothing_left(before)
        self.assertNoResult(waiting)
