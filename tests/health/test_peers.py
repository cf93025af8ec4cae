"""Checks of real websocket servers, in processes of their own."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.health.sockets import SocketTestCase
from tests.peers.certificates import Authority
from tests.peers.node import require_node
from tests.peers.reporting import SUBPROTOCOL
from tests.peers.upstreams import own_url, start_upstream
from tests.support import Process

pytestmark = pytest.mark.peers

WELL = "opened, answered the ping and closed"


class PeerTestCase(SocketTestCase):
    """Starts the programs of tests/peers."""

    def start(self, kind: str, *arguments: str) -> Process:
        if kind == "node":
            require_node()
        process = start_upstream(kind, *arguments)
        self.addCleanup(process.stop)
        return process

    async def assert_good(self, url: str, line: str, what: str, **options: Any) -> None:
        result = await self.check(url, line, **options)
        self.assertEqual((result.ok, result.what), (True, what))

    async def check_conversation(self, process: Process, url: str, **options: Any) -> None:
        """Check with each option, and that the upstream found nothing wrong with it."""
        line = f"websocket path=/echo?plain subprotocol={SUBPROTOCOL}"
        await self.assert_good(url, line, WELL, **options)
        process.wait_for_event(event="open", path="/echo?plain", subprotocol=SUBPROTOCOL)
        process.wait_for_event(event="ping", path="/echo?plain")
        process.wait_for_event(event="close", path="/echo?plain", code=1000)
        line = "websocket path=/echo?short ping=no"
        await self.assert_good(url, line, "opened and closed", **options)
        process.wait_for_event(event="close", path="/echo?short", code=1000)
        assert "Traceback" not in process.log()

    async def check_kind(self, kind: str) -> None:
        process = self.start(kind)
        url = own_url(process)
        await self.assert_good(url, "tcp", "connected")
        await self.check_conversation(process, url)
        refused = await self.check(url, "websocket path=/refuse/length")
        self.assertEqual(refused.what, "answered 403 instead of 101")
        other = await self.check(url, "websocket path=/echo subprotocol=other")
        self.assertEqual(other.what, "did not choose the subprotocol other")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            await self.check(url, "tcp")
            await self.check(url, "websocket path=/echo")
            await self.check(url, "websocket path=/refuse/length")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class PeerTests(PeerTestCase):
    """One program after the other."""

    async def test_websockets(self) -> None:
        await self.check_kind("websockets")

    async def test_aiohttp(self) -> None:
        await self.check_kind("aiohttp")

    async def test_node(self) -> None:
        await self.check_kind("node")

    async def test_a_page_of_a_web_server(self) -> None:
        url = own_url(self.start("aiohttp"))
        await self.assert_good(url, "http path=/refuse/length status=403", "answered 403")
        await self.assert_good(url, "http path=/refuse/chunked status=403", "answered 403")
        result = await self.check(url, "http path=/nowhere")
        self.assertEqual(result.what, "answered 404 instead of 200-399")

    async def test_a_unix_socket(self) -> None:
        path = str(self.folder() / "s")
        process = self.start("websockets", "--unix", path)
        process.wait_for_event(event="listening")
        await self.assert_good(f"unix:{path}", "tcp", "connected")
        await self.check_conversation(process, f"unix:{path}")

    async def test_tls(self) -> None:
        authority = Authority(self.folder())
        ca, pair = authority.certificate(), authority.issue("127.0.0.1")
        process = self.start(
            "websockets", "--certificate", str(pair.certificate), "--key", str(pair.key)
        )
        url = own_url(process, "wss")
        await self.assert_good(url, "tcp", "connected", tls_ca=ca)
        await self.check_conversation(process, url, tls_ca=ca)
