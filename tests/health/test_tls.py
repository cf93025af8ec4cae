"""Checks of upstreams with ``wss://``."""

from __future__ import annotations

import socket
from typing import Any

from tests.health.sockets import (
    OK,
    SocketTestCase,
    answering,
    converse,
    until_gone,
)
from tests.peers.certificates import Authority, names_of
from tests.system.support import Wire

KINDS = ("tcp", "http", "websocket")


class TLSTests(SocketTestCase):
    """Upstreams with ``wss://``."""

    def setUp(self) -> None:
        folder = self.folder()
        self.authority = Authority(folder)
        self.ca = self.authority.certificate()
        self.pair = self.authority.issue("127.0.0.1")
        self.other = Authority(folder, "other")

    async def assert_all_kinds(self, ok: bool, what: str, **options: Any) -> None:
        """Check the same upstream with each kind; *what* is the begin of the result's."""
        pair = options.pop("pair", self.pair)
        client_ca = options.pop("client_ca", None)
        more = {} if client_ca is None else {"client_ca": client_ca}
        for kind, script in (("tcp", until_gone), ("http", answering(OK)), ("websocket", converse)):
            url = self.play_tls(script, pair, **more)
            result = await self.check(url, kind, **options)
            self.assertEqual(result.ok, ok, (kind, result))
            self.assertTrue(result.what.startswith(what), (kind, result))

    async def test_a_certificate_that_verifies(self) -> None:
        await self.assert_all_kinds(True, "", tls_ca=self.ca)

    async def test_a_name_of_its_own(self) -> None:
        pair = self.authority.issue("upstream.test")
        await self.assert_all_kinds(True, "", pair=pair, tls_ca=self.ca, tls_name="upstream.test")

    async def test_a_certificate_that_is_not_looked_at(self) -> None:
        await self.assert_all_kinds(True, "", tls_verify=False)

    async def test_a_certificate_of_an_unknown_authority(self) -> None:
        what = "connection lost before the answer: its certificate is not signed by an authority"
        await self.assert_all_kinds(False, what, tls_ca=self.other.certificate())

    async def test_a_certificate_for_another_host(self) -> None:
        pair = self.authority.issue("upstream.test")
        what = "connection lost before the answer: its certificate is for another host"
        await self.assert_all_kinds(False, what, pair=pair, tls_ca=self.ca)

    async def test_a_certificate_that_names_nobody(self) -> None:
        pair = self.authority.issue_with("nameless.test")
        what = "connection lost before the answer: its certificate names no host"
        await self.assert_all_kinds(False, what, pair=pair, tls_ca=self.ca)
        await self.assert_all_kinds(True, "", pair=pair, tls_verify=False)

    async def test_a_certificate_with_a_name_that_is_none(self) -> None:
        pair = self.authority.issue_with("unreadable.test", names_of(b"upstream.test", b"a\0b"))
        what = "connection lost before the answer: its certificate is not understood: "
        name = "upstream.test"
        await self.assert_all_kinds(False, what, pair=pair, tls_ca=self.ca, tls_name=name)

    async def test_a_certificate_of_the_relays_own(self) -> None:
        mine = self.authority.issue("client.test")
        await self.assert_all_kinds(
            True,
            "",
            client_ca=self.ca,
            tls_ca=self.ca,
            tls_certificate=mine.certificate,
            tls_key=mine.key,
        )

    async def test_an_upstream_that_speaks_no_tls(self) -> None:
        for kind in KINDS:
            url = self.play(lambda wire: [wire.send(OK), wire.wait_until_gone()][1])
            result = await self.check(url.replace("ws:", "wss:"), kind, tls_ca=self.ca)
            self.assertFalse(result.ok)
            self.assertIn("TLS failed: ", result.what)

    async def test_a_handshake_that_never_ends(self) -> None:
        url = self.play(until_gone).replace("ws:", "wss:")
        result = await self.check(url, "tcp timeout=300ms", tls_ca=self.ca)
        self.assertEqual(result.what, "did not finish the TLS handshake within 0.3s")
        url = self.play(until_gone).replace("ws:", "wss:")
        result = await self.check(url, "http timeout=300ms", tls_ca=self.ca)
        self.assertEqual(result.what, "did not answer within 0.3s")

    async def test_an_upstream_that_never_says_goodbye(self) -> None:
        def script(wire: Wire) -> None:
            wire.read_head()
            wire.send(OK)
            plain = socket.socket(fileno=wire.sock.detach())  # below TLS
            Wire(plain).wait_until_gone()
            plain.close()

        url = self.play_tls(script, self.pair)
        result = await self.check(url, "http timeout=1s", tls_ca=self.ca)
        self.assertEqual((result.ok, result.what), (True, "answered 200"))
