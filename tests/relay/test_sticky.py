"""A pool whose clients come back to the upstream that they had."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import FakeTransport
from tests.relay.world import REQUEST, ROUTE, SWITCHING, UPSTREAMS, World, answer_in
from wsrelay.config.model import ListenerConfig, StickyConfig

PEER = ip_network("192.0.2.7/32")


class StickyTests(SynchronousTestCase):
    """A balancer that always says the last one of those on offer."""

    def setUp(self) -> None:
        self.make()

    def make(self, listener: ListenerConfig | None = None, **options: Any) -> None:
        sticky = StickyConfig(**{"secret": "s3cret", **options})
        self.world = World(
            ROUTE,
            UPSTREAMS[:3],
            listener=listener,
            balancer=lambda offered: offered[-1],
            sticky=sticky,
        )
        assert self.world.balancer is not None
        self.offers = self.world.balancer.offers

    def connect(
        self, cookies: str = "", more: bytes = b"", switching: bytes = SWITCHING
    ) -> tuple[str, list[str], FakeTransport]:
        """Open a session; return its upstream, the cookies that were set, and its request."""
        head = REQUEST[:-2] + more
        if cookies:
            head += f"Cookie: {cookies}\r\n".encode()
        client = self.world.ask(head + b"\r\n")
        upstream = self.world.accept()
        self.world.send(upstream, switching)
        answer = answer_in(client)
        self.assertEqual(answer.status, 101)
        lines = answer.head.decode().split("\r\n")
        cookies_set = [line.partition(": ")[2] for line in lines if line.startswith("Set-Cookie")]
        return self.world.names_dialled()[-1], cookies_set, upstream

    def cookie_of(self, name: str) -> str:
        """Return the cookie that leads to an upstream."""
        for each in self.world.pool.upstreams:
            each.state = "ready" if each.name == name else "drain"
        found, [cookie], _ = self.connect()
        self.assertEqual(found, name)
        for each in self.world.pool.upstreams:
            each.state = "ready"
        self.offers.clear()
        return cookie.partition(";")[0]

    def test_a_new_client_gets_a_cookie_and_comes_back_without_the_balancer(self) -> None:
        cookie = self.cookie_of("b")
        for _ in range(3):
            self.assertEqual(self.connect(cookie)[:2], ("b", []))
        self.assertEqual(self.offers, [])
        self.assertEqual(self.connect()[0], "c")

    def test_who_cannot_go_back_is_given_another_and_a_new_cookie(self) -> None:
        for trouble in ("full", "drain", "down", "failed", "checked", "gone"):
            with self.subTest(trouble=trouble):
                self.make()
                cookie = self.cookie_of("a")
                a, b, c = self.world.pool.upstreams
                match trouble:
                    case "full":
                        a.max_connections = a.active
                    case "failed":
                        a.policy = evolve(a.policy, max_fails=1)
                        a.update(a.config, a.policy, "file")
                        a.failed("refused")
                    case "checked":
                        a.check_found("down", "refused")
                    case "gone":
                        changes = self.world.pool.set_members("file", UPSTREAMS[1:3])
                        self.world.relay.members_changed(self.world.pool, changes)
                    case _:
                        a.state = trouble
                found, [anew], _ = self.connect(cookie)
                self.assertEqual((found, self.offers), ("c", [["b", "c"]]))
                self.assertEqual(self.connect(anew.partition(";")[0])[:2], ("c", []))
                assert b is not c

    def test_who_is_refused_there_goes_elsewhere_with_a_new_cookie(self) -> None:
        cookie = self.cookie_of("a")
        client = self.world.ask(REQUEST[:-2] + f"Cookie: {cookie}\r\n\r\n".encode())
        self.assertEqual(self.world.names_dialled()[-1], "a")
        self.world.refuse()
        self.assertEqual(self.offers, [["b", "c"]])
        self.world.send(self.world.accept(), SWITCHING)
        [anew] = [
            line for line in answer_in(client).head.split(b"\r\n") if line.startswith(b"Set-Cookie")
        ]
        self.assertNotIn(cookie.encode(), anew)

    def test_cookies_of_the_client_and_of_the_upstream_pass(self) -> None:
        cookie = self.cookie_of("b")
        own = b"Set-Cookie: sid=1; Path=/\r\nSet-Cookie: lang=en\r\n\r\n"
        found, cookies_set, upstream = self.connect(
            f"sid=7; {cookie}; theme=dark", switching=SWITCHING[:-2] + own
        )
        self.assertEqual((found, cookies_set), ("b", ["sid=1; Path=/", "lang=en"]))
        request = f"\r\nCookie: sid=7; {cookie}; theme=dark\r\n".encode()
        self.assertIn(request, bytes(upstream.received))
        found, cookies_set, _ = self.connect("sid=7", switching=SWITCHING[:-2] + own)
        self.assertEqual(cookies_set[:2], ["sid=1; Path=/", "lang=en"])
        self.assertTrue(cookies_set[2].startswith("wsrelay=1."))
        self.assertEqual(len(cookies_set), 3)

    def test_a_cookie_that_somebody_made_up_is_as_good_as_none(self) -> None:
        for value in ("", "1", "1.a.b", "1." + "z" * 4000 + ".x", "\xe9", "1.t.\xe9"):
            for ttl in (None, 60.0):
                with self.subTest(value=value[:10], ttl=ttl):
                    self.make(ttl=ttl)
                    found, cookies_set, _ = self.connect(f"wsrelay={value}")
                    self.assertEqual((found, len(cookies_set)), ("c", 1))

    def is_secure(self, listener: ListenerConfig, more: bytes = b"") -> bool:
        self.make(listener)
        _, [cookie], _ = self.connect(more=more)
        return cookie.endswith("; Secure")

    def test_secure_follows_tls_and_the_word_of_a_trusted_proxy(self) -> None:
        plain = ListenerConfig("web", "tcp:8080")
        trusting = evolve(plain, trusted_proxies=(PEER,))
        https = b"X-Forwarded-Proto: https\r\n"
        self.assertFalse(self.is_secure(plain))
        self.assertFalse(self.is_secure(plain, https))
        self.assertTrue(self.is_secure(trusting, https))
        self.assertFalse(self.is_secure(trusting))
        self.assertFalse(self.is_secure(trusting, https.replace(b"https", b"http")))
        tls = evolve(plain, certificate=Path("a.pem"), key=Path("a.key"))
        self.assertTrue(self.is_secure(tls))
        behind = evolve(tls, trusted_proxies=(PEER,))
        self.assertFalse(self.is_secure(behind, https.replace(b"https", b"http")))

    def test_a_pool_that_is_not_sticky_sets_no_cookie(self) -> None:
        world = World()
        client = world.ask()
        world.send(world.accept(), SWITCHING)
        self.assertIsNone(answer_in(client).header(b"Set-Cookie"))
