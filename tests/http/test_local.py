"""Files and redirects on a client's connection."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.world import REQUEST, ROUTE, World, answer_in
from wsrelay.config.model import PathRule, RouteConfig
from wsrelay.relay.relay import routes_for


def get(path: str, *lines: str, method: str = "GET") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: www.example.com", *lines, "", ""]
    return "\r\n".join(head).encode()


class LocalTestCase(SynchronousTestCase):
    """Has a folder with files, and relays that serve it."""

    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        (self.folder / "index.html").write_text("<p>hello")
        (self.folder / "admin").mkdir()
        (self.folder / "admin" / "secret").write_text("secret")
        (self.folder / "big").write_bytes(os.urandom(1_000_000))

    def world(self, *routes: RouteConfig) -> World:
        """Make a relay with these routes, or one for the folder."""
        world = World(RouteConfig("files", static=self.folder))
        config = evolve(world.relay.config, routes=routes or world.relay.config.routes)
        world.relay.config = config
        world.listener.routes = routes_for("web", config)
        self.observer = world.observer
        return world

    def check_over(self, world: World) -> None:
        world.leave_all()
        world.assert_clean()


class FileTests(LocalTestCase):
    """A route with ``static``."""

    def test_a_file_is_the_answer_and_the_connection_goes_on(self) -> None:
        world = self.world()
        client = world.ask(get("/"))
        answer = answer_in(client)
        self.assertEqual((answer.status, answer.body), (200, b"<p>hello"))
        self.assertEqual(answer.header(b"Content-Type"), b"text/html; charset=utf-8")
        self.assertIsNotNone(answer.header(b"Date"))
        self.assertIsNone(answer.header(b"Connection"))
        client.received.clear()
        world.send(client, get("/admin/secret"))
        self.assertEqual(answer_in(client).body, b"secret")
        ((facts, what), _) = self.observer.exchanges
        self.assertEqual((facts.route, facts.status, facts.method), ("files", 200, "GET"))
        self.assertEqual((what.bytes_up, what.bytes_down, what.problem), (0, 8, ""))
        self.check_over(world)

    def test_requests_in_one_read_are_answered_in_their_order(self) -> None:
        world = self.world()
        client = world.ask(get("/admin/secret") + get("/none") + get("/"))
        for _ in range(3):
            world.advance(0)
        received = bytes(client.received)
        places = [received.index(each) for each in (b"secret", b"404 Not Found", b"<p>hello")]
        self.assertEqual(places, sorted(places))
        self.check_over(world)

    def test_head_gets_no_body_be_it_of_a_file_or_of_the_relays_own_words(self) -> None:
        world = self.world()
        for path, status in (("/", 200), ("/none", 404)):
            client = world.ask(get(path, method="HEAD"))
            answer = answer_in(client)
            self.assertEqual((answer.status, answer.body), (status, b""))
            self.assertNotEqual(answer.header(b"Content-Length"), b"0")
        self.assertEqual([what.bytes_down for _, what in self.observer.exchanges], [0, 0])
        self.check_over(world)

    def test_another_spelling_of_a_path_does_not_get_past_the_route_for_it(self) -> None:
        closed = RouteConfig("closed", path=PathRule("prefix", "/admin/"), redirect="/login")
        world = self.world(RouteConfig("files", static=self.folder), closed)
        for path in ("/%61dmin/secret", "//admin/secret", "/admin%2fsecret"):
            self.assertEqual(answer_in(world.ask(get(path))).status, 404, path)
        self.assertEqual(answer_in(world.ask(get("/admin/secret"))).status, 301)
        self.check_over(world)

    def test_no_escape_of_a_path_gets_past_the_route_for_it(self) -> None:
        (self.folder / "café").mkdir()
        (self.folder / "café" / "secret").write_text("secret")
        (self.folder / "@me(1)").mkdir()
        (self.folder / "@me(1)" / "secret").write_text("secret")
        for of_route, others in (
            ("/caf%C3%A9/", ("/caf%c3%a9/", "/caf\xc3\xa9/", "//%63af%C3%a9/")),
            ("/caf%c3%a9/", ("/caf%C3%A9/", "/caf\xc3\xa9/")),
            ("/@me(1)/", ("/%40me(1)/", "/@me%281%29/")),
            ("/%40me(1)/", ("/@me(1)/", "/%40me%281)/")),
        ):
            files = RouteConfig("files", static=self.folder)
            rule = PathRule("prefix", of_route)
            world = self.world(files, RouteConfig("closed", path=rule, redirect="/login"))
            for path in others:
                request = get(f"{path}secret").decode().encode("latin-1")
                self.assertEqual(answer_in(world.ask(request)).status, 404, path)
            self.assertEqual(answer_in(world.ask(get(f"{of_route}secret"))).status, 301)
            self.check_over(world)
            world = self.world(files, RouteConfig("same", path=rule, static=self.folder))
            client = world.ask(get(f"{of_route}secret"))
            self.assertEqual(answer_in(client).body, b"secret")
            self.check_over(world)

    def test_a_websocket_handshake_gets_the_file_as_there_is_nothing_to_upgrade_to(self) -> None:
        world = self.world()
        request = REQUEST.replace(b"/chat?room=1", b"/")
        self.assertEqual(answer_in(world.ask(request)).status, 200)
        self.check_over(world)

    def test_a_request_with_a_body_that_nobody_reads_is_the_last(self) -> None:
        world = self.world()
        client = world.ask(get("/", "Content-Length: 5"))
        self.assertEqual(answer_in(client).header(b"Connection"), b"close")
        self.assertTrue(client.eof)
        self.check_over(world)

    def test_a_client_that_leaves_in_mid_file_is_noted(self) -> None:
        world = self.world()
        client = world.client()
        client.stalled = True
        world.send(client, get("/big"))
        self.assertEqual(len(world.relay.exchanges), 1)
        world.reset(client)
        ((facts, what),) = self.observer.exchanges
        self.assertEqual((facts.status, what.problem), (200, "the client left"))
        self.assertLess(what.bytes_down, 1_000_000)
        self.check_over(world)

    def test_a_client_that_takes_nothing_is_cut_off(self) -> None:
        world = self.world()
        client = world.client()
        client.stalled = True
        world.send(client, get("/big"))
        world.advance(61)
        self.assertTrue(client.aborted)
        self.assertIn("took nothing", self.observer.exchanges[0][1].problem)
        self.check_over(world)

    def test_a_hurry_breaks_the_file_off(self) -> None:
        world = self.world()
        client = world.client()
        client.stalled = True
        world.send(client, get("/big"))
        drained = world.relay.exchanges.drain(30.0)
        self.assertNoResult(drained)
        world.advance(30)
        self.assertTrue(client.aborted)
        self.assertIsNone(self.successResultOf(drained))
        self.check_over(world)


class RedirectTests(LocalTestCase):
    """A route with ``redirect``."""

    def test_a_url_without_a_path_keeps_the_clients(self) -> None:
        world = self.world(RouteConfig("up", redirect="https://{host}"))
        answer = answer_in(world.ask(get("/a%20b?c=d")))
        self.assertEqual(answer.status, 301)
        self.assertEqual(answer.header(b"Location"), b"https://www.example.com/a%20b?c=d")
        self.check_over(world)

    def test_a_request_that_is_no_get_keeps_its_method(self) -> None:
        world = self.world(RouteConfig("up", redirect="https://other.example.com/x"))
        answer = answer_in(world.ask(get("/", "Content-Length: 0", method="POST")))
        self.assertEqual(answer.status, 308)
        self.assertEqual(answer.header(b"Location"), b"https://other.example.com/x")
        self.check_over(world)


class PlainHTTPTests(LocalTestCase):
    """``http = no``."""

    def test_plain_http_is_told_to_upgrade_and_may_do_so_on_the_same_connection(self) -> None:
        world = self.world(evolve(ROUTE, http=False))
        client = world.ask(get("/"))
        answer = answer_in(client)
        self.assertEqual(answer.status, 426)
        self.assertEqual(answer.header(b"Upgrade"), b"websocket")
        self.assertEqual(answer.header(b"Connection"), b"Upgrade")
        world.send(client, REQUEST)
        self.assertEqual(len(world.dials), 1)
        world.reset(client)
        self.check_over(world)
