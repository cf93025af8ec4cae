"""How servers are asked, over real sockets."""

# ruff: noqa: N802  (camelCase here is Twisted's)

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.peers.certificates import Authority, KeyPair
from wsrelay.interfaces import CannotTell
from wsrelay.policies.asking import Asker
from wsrelay.policies.options import web_url

reactor: Any = installed
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-User: ada\r\n\r\nok"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1000\r\n" + bytes(0x1000) + b"\r\n"


class Server(Protocol):
    """Answers every request with the factory's bytes."""

    factory: Any

    def connectionMade(self) -> None:
        self.factory.connected.append(self)
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.factory.received.append(data)
        self.transport.write(self.factory.answer)
        if self.factory.closes:
            self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        self.gone.callback(None)


class AskingTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.server = Factory.forProtocol(Server)
        self.server.noisy = False
        self.server.connected, self.server.received = [], []
        self.server.answer, self.server.closes = OK, False
        self.askers: list[Asker] = []

    async def _end(self) -> None:
        for each in self.askers:
            each.stop()
        for each in self.server.connected:
            if not each.gone.called:
                each.transport.abortConnection()
            await each.gone

    def listen(self, pair: KeyPair | None = None) -> int:
        if pair is None:
            port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        else:
            context = DefaultOpenSSLContextFactory(str(pair.key), str(pair.certificate))
            port = reactor.listenSSL(0, self.server, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self._end()))
        return int(port.getHost().port)

    def asker(self, url: str, ca_file: Path | None = None, timeout: float = 10.0) -> Asker:
        path = None if ca_file is None else str(ca_file)
        asker = Asker(reactor, web_url(url), ca_file=path, timeout=timeout, most=100_000)
        self.askers.append(asker)
        return asker

    async def fails(self, asked: Deferred[Any]) -> str:
        try:
            answer = await asked
        except CannotTell as error:
            return str(error)
        raise AssertionError(f"there was an answer: {answer}")

    async def test_connections_are_kept_for_the_next_question(self) -> None:
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/auth?x=1")
        for _ in range(3):
            answer = await asker.ask([(b"X-Mine", b"1"), (b"X-Mine", b"2")])
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
            self.assertEqual(answer.headers.getRawHeaders(b"x-user"), [b"ada"])
        self.assertEqual(len(self.server.connected), 1)
        lines = self.server.received[0].split(b"\r\n")
        self.assertEqual(lines[0], b"GET /auth?x=1 HTTP/1.1")
        self.assertIn(b"X-Mine: 1", lines)
        self.assertIn(b"X-Mine: 2", lines)

    async def test_a_connection_leaves_no_line_in_the_log(self) -> None:
        said: list[Any] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/")
        await asker.ask([])
        asker.stop()
        await self.server.connected[0].gone
        self.assertEqual([each for each in said if "factory" in str(each.get("log_format"))], [])

    async def test_a_kept_connection_that_was_closed_is_made_anew(self) -> None:
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/")
        await asker.ask([])
        self.server.connected[0].transport.abortConnection()
        await self.server.connected[0].gone
        self.assertEqual((await asker.ask([])).status, 200)
        self.assertEqual(len(self.server.connected), 2)

    async def test_stopped_it_keeps_no_connection(self) -> None:
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/")
        await asker.ask([])
        asker.stop()
        await self.server.connected[0].gone

    async def test_a_body_without_end_is_cut_off(self) -> None:
        self.server.answer = ENDLESS + CHUNK * 100
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/")
        answer = await asker.ask([])
        self.assertEqual((answer.status, answer.body), (200, None))
        await self.server.connected[0].gone

    async def test_a_body_without_end_is_cut_off_over_tls_too(self) -> None:
        authority = Authority(self.folder())
        port = self.listen(authority.issue("127.0.0.1"))
        self.server.answer = ENDLESS + CHUNK * 100
        asker = self.asker(f"https://127.0.0.1:{port}/", authority.certificate())
        self.assertIsNone((await asker.ask([])).body)
        await self.server.connected[0].gone

    async def test_a_body_that_is_cut_off_is_no_answer(self) -> None:
        self.server.answer, self.server.closes = ENDLESS + CHUNK, True
        said = await self.fails(self.asker(f"http://127.0.0.1:{self.listen()}/").ask([]))
        self.assertIn("could not be asked", said)

    async def test_what_is_not_http_is_no_answer(self) -> None:
        self.server.answer = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
        said = await self.fails(self.asker(f"http://127.0.0.1:{self.listen()}/").ask([]))
        self.assertIn("could not be asked", said)

    async def test_who_says_nothing_is_given_up_and_hung_up_on(self) -> None:
        self.server.answer = b""
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/", timeout=0.2)
        self.assertIn("did not answer in 0.2s", await self.fails(asker.ask([])))
        await self.server.connected[0].gone

    async def test_a_body_that_stops_is_given_up_and_hung_up_on(self) -> None:
        self.server.answer = ENDLESS + CHUNK
        asker = self.asker(f"http://127.0.0.1:{self.listen()}/", timeout=0.2)
        self.assertIn("did not answer in 0.2s", await self.fails(asker.ask([])))
        await self.server.connected[0].gone

    async def test_who_does_not_want_to_know_any_more_hangs_up(self) -> None:
        self.server.answer = b""
        asked = self.asker(f"http://127.0.0.1:{self.listen()}/").ask([])
        while not self.server.received:
            await deferLater(reactor, 0.01)
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        await self.server.connected[0].gone

    async def test_nobody_listens(self) -> None:
        port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        url = f"http://127.0.0.1:{number}/"
        said = await self.fails(self.asker(url).ask([]))
        self.assertEqual(said, f"{url} could not be asked: refused")

    # TLS

    def folder(self) -> Path:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    async def test_a_certificate_of_the_authority_is_good_also_after_it_has_changed(self) -> None:
        folder = self.folder()
        one, other = Authority(folder, "one"), Authority(folder, "other")
        first, second = one.issue("127.0.0.1"), other.issue("127.0.0.1")
        ca = one.certificate()
        old = self.asker(f"https://127.0.0.1:{self.listen(first)}/", ca)
        new = self.asker(f"https://127.0.0.1:{self.listen(second)}/", ca)
        self.assertEqual((await old.ask([])).status, 200)
        other.certificate().replace(ca)
        self.assertEqual((await new.ask([])).status, 200)

    async def test_a_certificate_of_another_authority_is_refused(self) -> None:
        folder = self.folder()
        port = self.listen(Authority(folder).issue("127.0.0.1"))
        url = f"https://127.0.0.1:{port}/"
        for ca in (Authority(folder, "other").certificate(), None):
            said = await self.fails(self.asker(url, ca).ask([]))
            self.assertIn("not signed by an authority that is trusted", said)
        self.assertEqual(self.server.received, [])

    async def test_a_certificate_for_another_host_is_refused(self) -> None:
        authority = Authority(self.folder())
        port = self.listen(authority.issue("other.test"))
        asker = self.asker(f"https://127.0.0.1:{port}/", authority.certificate())
        said = await self.fails(asker.ask([]))
        self.assertTrue(said.endswith("its certificate is for another host"), said)
        self.assertEqual(self.server.received, [])
