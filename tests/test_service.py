"""A service that takes over a new configuration: its listeners, its logs, its timers."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import reactor as real_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override
from zope.interface import implementer

from tests.peers.certificates import Authority, KeyPair
from tests.relay.support import FakeTransport
from tests.relay.world import ROUTE, UPSTREAMS, Reactor, World
from tests.support import free_port
from wsrelay.config.errors import ConfigError, ConfigErrors, ConfigUnreadable
from wsrelay.config.model import (
    ListenerConfig,
    LogConfig,
    PathRule,
    PluginCall,
    PoolConfig,
    Rate,
    RelayConfig,
    RouteConfig,
)
from wsrelay.log import Logger
from wsrelay.observe import ticks
from wsrelay.relay.python_pump import PythonPump
from wsrelay.service import RelayService, ReloadRefused

reactor: Any = real_reactor
MISSING = Path("/none/such")
POOL = PoolConfig("pool", UPSTREAMS[:1], PluginCall("first"))
CHAT = RouteConfig("chat", "pool", path=PathRule("exact", "/chat"), keepalive=None, http=False)
NO_LOG = LogConfig(access="off")


def endpoint(port: int, more: str = "") -> str:
    return f"tcp:{port}:interface=127.0.0.1{more}"


def folder(test: SynchronousTestCase) -> Path:
    """Make a folder that is there until the test ends."""
    made = TemporaryDirectory()
    test.addCleanup(made.cleanup)
    return Path(made.name)


def backlog_of(listening: socket.socket) -> int:
    """Ask the kernel; of a socket that listens, tcpi_sacked is its backlog (tcp(7))."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, 8 + 5 * 4)[0])


@implementer(IOpenSSLClientConnectionCreator)
class AnyCertificate:
    """Makes TLS clients that do not look at the certificate."""

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:  # noqa: N802  Twisted's
        return SSL.Connection(CertificateOptions(verify=False).getContext(), None)


class Asking(Protocol):
    """Sends one plain request, and fires with all that came back, and the certificate."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answer = b""
        self.certificate = ""
        self.done: Deferred[Asking] = Deferred()

    @override
    def connectionMade(self) -> None:
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n".encode()
        )

    @override
    def dataReceived(self, data: bytes) -> None:
        self.answer += data
        peer_certificate = getattr(self.transport, "getPeerCertificate", lambda: None)()
        if peer_certificate is not None:
            self.certificate = peer_certificate.to_cryptography().subject.rfc4514_string()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self)

    @property
    def status(self) -> int:
        return int(self.answer[9:12] or 0)


class ReloadTestCase(TestCase):
    """A service on the real reactor, and the configuration that its file says next."""

    timeout = 30

    def setUp(self) -> None:
        self.patch(Logger, "level", Logger.level)
        self.port = free_port()
        self.next: Callable[[], RelayConfig] = lambda: self.config

    async def start(self, *listeners: ListenerConfig, **options: Any) -> RelayService:
        """Start a service with these listeners, or one that is called web."""
        listeners = listeners or (ListenerConfig("web", endpoint(self.port)),)
        options = {"log": NO_LOG, **options}
        self.config = RelayConfig(listeners, (CHAT,), (POOL,), **options)
        self.service = RelayService(self.config, reactor, load=lambda: self.next())
        self.service.startService()
        self.addCleanup(self.service.stopService)
        return self.service

    async def reload(self, **changes: Any) -> list[str]:
        self.config = evolve(self.config, **changes)
        return await self.service.reload()

    async def refused(self, **changes: Any) -> str:
        """Reload, and return why it was refused; the configuration is as it was then."""
        before = self.config
        with capturedLogs() as events:
            try:
                lines = await self.reload(**changes)
            except ReloadRefused as error:
                why = error
            else:
                self.fail(f"it was not refused: {lines}")
        self.config = before
        told = [each["line"] for each in events if each["log_format"] == "reload refused: {line}"]
        self.assertEqual(told, list(why.errors))
        assert self.service.last_reload is not None
        self.assertEqual(self.service.last_reload.errors, why.errors)
        self.assertIs(self.service.config, before)
        self.assertIs(self.service.relay.config, before)
        return str(why)

    async def ask(self, port: int, path: str = "/chat", tls: Any = None) -> Asking:
        client: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        if tls is not None:
            client = wrapClientTLS(tls, client)
        asking = Asking(path)
        await connectProtocol(client, asking)
        return await asking.done

    async def accepts(self, port: int) -> bool:
        try:
            return (await self.ask(port)).status == 426
        except Refused:
            return False

    def occupy(self) -> int:
        """Return a port that somebody else listens on."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        return int(taken.getsockname()[1])


class ListenerTests(ReloadTestCase):
    """Listeners follow the configuration."""

    async def test_a_listener_is_opened_and_closed_and_the_other_goes_on(self) -> None:
        service = await self.start()
        web, other = self.config.listeners[0], free_port()
        port = service.ports["web"]
        added = ListenerConfig("other", endpoint(other))
        self.assertEqual(
            await self.reload(listeners=(web, added)),
            [f"listener other opened on {added.endpoint}"],
        )
        self.assertTrue(await self.accepts(self.port) and await self.accepts(other))
        self.assertEqual(await self.reload(listeners=(web,)), ["listener other closed"])
        self.assertFalse(await self.accepts(other))
        self.assertTrue(await self.accepts(self.port))
        self.assertIs(service.ports["web"], port)
        self.assertEqual(set(service.relay.listeners), {"web"})

    async def test_a_listener_may_move_to_another_port(self) -> None:
        await self.start()
        other = free_port()
        moved = ListenerConfig("web", endpoint(other))
        self.assertEqual(
            await self.reload(listeners=(moved,)),
            ["listener web closed", f"listener web opened on {moved.endpoint}"],
        )
        self.assertFalse(await self.accepts(self.port))
        self.assertTrue(await self.accepts(other))

    async def test_a_listener_that_is_renamed_keeps_its_socket_and_gets_its_routes(self) -> None:
        service = await self.start()
        port = service.ports["web"]
        front = ListenerConfig("front", endpoint(self.port))
        more = evolve(CHAT, name="more", path=PathRule("exact", "/more"), listeners=("front",))
        self.assertEqual(
            await self.reload(listeners=(front,), routes=(CHAT, more)),
            ["listener web is called front now", "route more added"],
        )
        self.assertEqual(service.ports, {"front": port})
        self.assertEqual(set(service.relay.listeners), {"front"})
        self.assertEqual((await self.ask(self.port, "/more")).status, 426)
        self.assertEqual((await self.ask(self.port, "/none")).status, 404)

    async def test_two_listeners_may_exchange_their_names(self) -> None:
        other = free_port()
        web = ListenerConfig("web", endpoint(self.port))
        inside = ListenerConfig("inside", endpoint(other))
        only = evolve(CHAT, listeners=("web",))
        await self.start(web, inside)
        await self.reload(routes=(only,))
        self.assertEqual((await self.ask(other)).status, 404)
        await self.reload(listeners=(evolve(web, name="inside"), evolve(inside, name="web")))
        self.assertEqual((await self.ask(other)).status, 426)
        self.assertEqual((await self.ask(self.port)).status, 404)

    async def test_the_backlog_changes_on_the_socket_itself(self) -> None:
        service = await self.start(ListenerConfig("web", endpoint(self.port), backlog=7))
        listening = service.ports["web"].socket  # type: ignore[attr-defined]
        self.assertEqual(backlog_of(listening), 7)
        web = ListenerConfig("web", endpoint(self.port), backlog=33)
        self.assertEqual(await self.reload(listeners=(web,)), ["listener web: backlog changed"])
        self.assertEqual(backlog_of(listening), 33)
        self.assertTrue(await self.accepts(self.port))

    async def test_other_options_count_for_the_next_client(self) -> None:
        await self.start()
        web = ListenerConfig("web", endpoint(self.port), max_header_size=20)
        self.assertEqual(
            await self.reload(listeners=(web,)), ["listener web: max_header_size changed"]
        )
        self.assertEqual((await self.ask(self.port)).status, 431)

    async def test_nothing_changes_when_the_file_says_the_same(self) -> None:
        service = await self.start()
        port, listener = service.ports["web"], service.relay.listeners["web"]
        self.assertEqual(await self.reload(), [])
        self.assertIs(service.ports["web"], port)
        self.assertIs(service.relay.listeners["web"], listener)
        self.assertTrue(await self.accepts(self.port))
        assert service.last_reload is not None
        self.assertEqual((service.last_reload.changes, service.last_reload.errors), ((), ()))


class UnusableTests(ReloadTestCase):
    """A reload that is refused leaves everything as it was."""

    async def test_a_port_that_is_taken(self) -> None:
        service = await self.start()
        taken, other = self.occupy(), free_port()
        before = (service.relay.pools["pool"].upstreams, service.access_log, service.ports)
        why = await self.refused(
            listeners=(
                ListenerConfig("web", endpoint(self.port), max_header_size=20),
                ListenerConfig("other", endpoint(other)),
                ListenerConfig("second", endpoint(taken)),
            ),
            pools=(evolve(POOL, upstreams=UPSTREAMS),),
            routes=(evolve(CHAT, path=PathRule("exact", "/moved")),),
            log=LogConfig(access=folder(self) / "log", level="error"),
        )
        self.assertEqual(
            why, f"cannot listen on 127.0.0.1:{taken}: Address already in use (listener second)"
        )
        after = (service.relay.pools["pool"].upstreams, service.access_log, service.ports)
        self.assertEqual(after, before)
        self.assertEqual(set(service.relay.listeners), {"web"})
        self.assertNotEqual(Logger.level, LogLevel.error)
        self.assertTrue(await self.accepts(self.port))
        self.assertFalse(await self.accepts(other))
        self.assertEqual(await self.reload(), [])

    async def test_a_port_that_is_taken_when_another_listener_is_to_be_closed(self) -> None:
        service = await self.start()
        taken, other = self.occupy(), free_port()
        self.assertIn(
            f"127.0.0.1:{taken}",
            await self.refused(
                listeners=(
                    ListenerConfig("other", endpoint(other)),
                    ListenerConfig("second", endpoint(taken)),
                )
            ),
        )
        self.assertEqual(set(service.ports), {"web"})
        self.assertEqual(set(service.relay.listeners), {"web"})
        self.assertTrue(await self.accepts(self.port))
        self.assertFalse(await self.accepts(other))
        self.assertEqual(await self.reload(), [])
        self.assertTrue(await self.accepts(self.port))
        self.assertEqual(await self.reload(listeners=()), ["listener web closed"])
        self.assertFalse(await self.accepts(self.port))

    async def test_a_listener_that_cannot_be_opened_again_leaves_the_others(self) -> None:
        """Somebody takes the port of one while it is free for a moment."""
        second = free_port()
        service = await self.start(
            ListenerConfig("web", endpoint(self.port)), ListenerConfig("second", endpoint(second))
        )
        thief: list[socket.socket] = []
        close = service.listeners._close

        async def close_and_lose(each: Any) -> None:
            await close(each)
            if each.config.name == "web":
                thief.append(socket.create_server(("127.0.0.1", self.port)))
                self.addCleanup(thief[-1].close)

        self.patch(service.listeners, "_close", close_and_lose)
        await self.refused(listeners=(ListenerConfig("new", endpoint(self.occupy())),))
        self.patch(service.listeners, "_close", close)
        self.assertEqual(set(service.ports), {"second"})
        self.assertTrue(await self.accepts(second))
        thief[0].close()
        self.assertEqual(await self.reload(), [f"listener web opened on {endpoint(self.port)}"])
        self.assertTrue(await self.accepts(self.port) and await self.accepts(second))

    async def test_bad_parts_of_a_pool(self) -> None:
        service = await self.start()
        bad = evolve(POOL, balancer=PluginCall("hash", {"key": "nonsense"}))
        other = free_port()
        why = await self.refused(
            pools=(bad,), listeners=(ListenerConfig("other", endpoint(other)),)
        )
        self.assertIn("key=nonsense", why)
        self.assertFalse(await self.accepts(other))
        self.assertTrue(await self.accepts(self.port))
        self.assertEqual(service.relay.pools["pool"].config, POOL)

    async def test_a_file_with_errors_is_told_line_by_line(self) -> None:
        await self.start()
        errors = [ConfigError("relay.ini", n, "pool:pool", "balancer", "no") for n in (3, 5)]

        def broken() -> RelayConfig:
            raise ConfigErrors(errors)

        self.next = broken
        self.assertEqual(await self.refused(), "\n".join(map(str, errors)))
        self.assertTrue(await self.accepts(self.port))

    async def test_a_file_that_cannot_be_read(self) -> None:
        await self.start()

        def unreadable() -> RelayConfig:
            raise ConfigUnreadable("relay.ini: No such file or directory")

        self.next = unreadable
        self.assertEqual(await self.refused(), "relay.ini: No such file or directory")

    async def test_there_is_no_file(self) -> None:
        await self.start()
        self.service._load = None
        self.assertIn("no file to reload", await self.refused())

    async def test_one_process_does_not_become_several(self) -> None:
        await self.start()
        self.assertIn("workers: one process becomes several", await self.refused(workers=2))

    async def test_workers_of_the_file_are_in_no_reloads_way_where_they_have_no_effect(
        self,
    ) -> None:
        await self.start(workers=2)  # as an application does it that has the service in it
        self.assertEqual(await self.reload(drain_timeout=1.0), ["relay: drain_timeout changed"])

    async def test_the_relay_has_stopped(self) -> None:
        service = await self.start()
        await service.stopService()
        other = ListenerConfig("other", endpoint(free_port()))
        self.assertIn("stop", await self.refused(listeners=(other,)))
        self.assertEqual(set(service.relay.listeners), {"web"})

    async def test_a_reload_that_breaks_does_not_stand_in_the_way_of_the_next(self) -> None:
        await self.start()

        def broken() -> RelayConfig:
            raise RuntimeError("a fault")

        self.next = broken
        with self.assertRaisesRegex(RuntimeError, "a fault"):
            await self.service.reload()
        self.next = lambda: self.config
        self.assertEqual(await self.reload(drain_timeout=1.0), ["relay: drain_timeout changed"])


class SameAddressTests(ReloadTestCase):
    """An endpoint is written anew, and its address is the one that it had."""

    def anew(self) -> ListenerConfig:
        return ListenerConfig("web", endpoint(self.port, ":backlog=50"))

    async def test_it_is_opened_where_it_was(self) -> None:
        service = await self.start()
        old, new = service.ports["web"], self.anew()
        self.assertEqual(
            await self.reload(listeners=(new,)),
            ["listener web closed", f"listener web opened on {new.endpoint}"],
        )
        self.assertIsNot(service.ports["web"], old)
        self.assertTrue(await self.accepts(self.port))
        self.assertEqual(set(service.relay.listeners), {"web"})

    async def test_any_interface_gives_way_to_one(self) -> None:
        service = await self.start(ListenerConfig("web", f"tcp:{self.port}"))
        await self.reload(listeners=(ListenerConfig("web", endpoint(self.port)),))
        self.assertEqual(service.ports["web"].getHost(), IPv4Address("TCP", "127.0.0.1", self.port))
        self.assertTrue(await self.accepts(self.port))

    async def test_what_cannot_be_opened_beside_it_brings_it_back(self) -> None:
        service = await self.start()
        second = ListenerConfig("second", endpoint(self.occupy()))
        listener = service.relay.listeners["web"]
        await self.refused(listeners=(self.anew(), second))
        self.assertEqual(set(service.ports), {"web"})
        self.assertIs(service.relay.listeners["web"], listener)
        self.assertTrue(await self.accepts(self.port))
        self.assertEqual(await self.reload(), [])

    async def test_two_reloads_at_once_run_one_after_the_other(self) -> None:
        service = await self.start()
        seen: list[tuple[str, str]] = []
        files = [
            evolve(self.config, listeners=(self.anew(),)),
            evolve(self.config, drain_timeout=1.0),
            evolve(self.config, drain_timeout=2.0),
        ]
        waiting = iter(files)

        def load() -> RelayConfig:
            seen.append((service.config.listeners[0].endpoint, service.listeners.addresses()[0][1]))
            return next(waiting)

        self.next = load
        reloads = [service.reload() for _ in files]
        self.assertEqual(len(seen), 1)
        lines = [await each for each in reloads]
        old, address = endpoint(self.port), f"127.0.0.1:{self.port}"
        self.assertEqual(seen, [(old, address), (self.anew().endpoint, address), (old, address)])
        self.assertEqual(lines[1][-1], "relay: drain_timeout changed")
        self.assertEqual(lines[2], ["relay: drain_timeout changed"])
        self.assertIs(service.config, files[-1])
        self.assertTrue(await self.accepts(self.port))


class TLSTests(ReloadTestCase):
    """TLS comes, is renewed and goes on a socket that stays."""

    def listener(self, pair: KeyPair) -> ListenerConfig:
        return ListenerConfig("web", endpoint(self.port), pair.certificate, pair.key)

    async def certificate(self) -> Any:
        asking = await self.ask(self.port, tls=AnyCertificate())
        self.assertEqual(asking.status, 426)
        return asking.certificate

    async def test_it_comes_is_renewed_and_goes(self) -> None:
        authority = Authority(folder(self))
        one, two = authority.issue("one.test"), authority.issue("two.test")
        service = await self.start()
        port = service.ports["web"]
        self.assertEqual(
            await self.reload(listeners=(self.listener(one),)),
            ["listener web: certificate, key changed"],
        )
        self.assertEqual(await self.certificate(), "CN=one.test")
        one.certificate.write_bytes(two.certificate.read_bytes())
        await self.refused()
        self.assertEqual(await self.certificate(), "CN=one.test")
        one.key.write_bytes(two.key.read_bytes())
        self.assertEqual(await self.reload(), ["listener web: certificate renewed"])
        self.assertEqual(await self.certificate(), "CN=two.test")
        self.assertEqual(await self.reload(), [])
        await self.reload(listeners=(ListenerConfig("web", endpoint(self.port)),))
        self.assertTrue(await self.accepts(self.port))
        self.assertIs(service.ports["web"], port)

    async def test_a_file_that_is_not_there_is_refused(self) -> None:
        await self.start()
        self.assertIn(
            str(MISSING), await self.refused(listeners=(self.listener(KeyPair(MISSING, MISSING)),))
        )
        self.assertTrue(await self.accepts(self.port))


class LogTests(ReloadTestCase):
    """The access log follows the configuration."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = folder(self) / "one", folder(self) / "two"

    async def ask_for(self, path: str) -> None:
        self.assertEqual((await self.ask(self.port, path)).status, 404)

    async def test_another_file_gets_the_lines_from_now_on(self) -> None:
        await self.start(log=LogConfig(access=self.one))
        await self.ask_for("/first")
        self.assertEqual(await self.reload(log=LogConfig(access=self.two)), ["log changed"])
        await self.ask_for("/second")
        self.assertEqual(await self.reload(log=NO_LOG), ["log changed"])
        await self.ask_for("/third")
        await self.reload(log=LogConfig(access=self.one))
        await self.ask_for("/fourth")
        paths = [
            [line.partition("path=")[2].split()[0] for line in file.read_text().splitlines()]
            for file in (self.one, self.two)
        ]
        self.assertEqual(paths, [["/first", "/fourth"], ["/second"]])

    async def test_a_file_that_cannot_be_opened_is_refused_and_the_old_one_goes_on(self) -> None:
        service = await self.start(log=LogConfig(access=self.one))
        why = await self.refused(log=LogConfig(access=MISSING), drain_timeout=1.0)
        self.assertIn(str(MISSING), why)
        await self.ask_for("/first")
        self.assertIn("path=/first", self.one.read_text())
        await service.stopService()

    async def test_the_same_file_in_another_format_is_not_opened_again(self) -> None:
        service = await self.start(log=LogConfig(access=self.one))
        log = service.access_log
        await self.reload(log=LogConfig(access=self.one, format="json", redact_query=False))
        self.assertIs(service.access_log, log)
        await self.ask_for("/first?q=1")
        self.assertEqual(json.loads(self.one.read_text())["path"], "/first?q=1")

    async def test_the_level_changes(self) -> None:
        await self.start()
        await self.reload(log=evolve(NO_LOG, level="error"))
        self.assertEqual(Logger.level, LogLevel.error)

    async def test_a_refused_reload_closes_the_file_that_it_opened(self) -> None:
        await self.start(log=LogConfig(access=self.one))
        taken = ListenerConfig("second", endpoint(self.occupy()))
        before = set(_open_files())
        await self.refused(
            listeners=(*self.config.listeners, taken), log=LogConfig(access=self.two)
        )
        self.assertEqual(set(_open_files()), before)
        await self.ask_for("/first")
        self.assertIn("path=/first", self.one.read_text())

    async def test_other_options_of_the_relay_are_named(self) -> None:
        service = await self.start()
        self.assertEqual(
            await self.reload(drain_rate=Rate(3.0), data_path="python", drain_timeout=2.0),
            ["relay: drain_timeout, drain_rate, data_path changed"],
        )
        self.assertIs(service.relay.make_pump, PythonPump)
        self.assertEqual(service.pumps.words, "the python pump")


def _open_files() -> list[str]:
    return [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]


class ServiceWorld(World):
    """The world of a whole service in memory."""

    def __init__(self, log: LogConfig) -> None:
        self.reactor = Reactor()
        config = RelayConfig(
            (ListenerConfig("web", "tcp:8080"),), (ROUTE,), (POOL,), log=log, data_path="python"
        )
        self.now = config
        self.service = RelayService(config, self.reactor, load=lambda: self.now)
        self.relay = self.service.relay
        self.pool = self.relay.pools["pool"]
        self.listener = self.relay.listeners["web"]
        self.transports: list[FakeTransport] = []
        self.service.startService()
        self.reactor.advance(0)


class TickTests(SynchronousTestCase):
    """Every ``tick``, each session has a line in the access log."""

    def setUp(self) -> None:
        self.patch(Logger, "level", Logger.level)
        self.path = folder(self) / "log"
        self.world = ServiceWorld(LogConfig(access=self.path, format="json", tick=10.0))
        self.addCleanup(lambda: self.world.service.access_log.close())

    def ticks(self) -> list[str]:
        """Return the ids of the sessions that had a line since the last time."""
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        self.path.write_text("")
        return [line["id"] for line in lines if line["event"] == "tick"]

    def reload(self, **changes: Any) -> list[str]:
        self.world.now = evolve(self.world.now, log=evolve(self.world.now.log, **changes))
        return self.successResultOf(self.world.service.reload())

    def stop(self) -> None:
        stopped = self.world.service.stopService()
        self.world.leave_all()
        self.world.advance(0)
        self.successResultOf(stopped)
        self.world.leave_all()
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def test_each_session_is_written_in_each_of_them(self) -> None:
        for _ in range(3):
            self.world.establish()
        ids = list(self.world.relay.sessions)
        self.world.advance(9.9)
        self.assertEqual(self.ticks(), [])
        self.world.advance(0.2)
        self.assertEqual(self.ticks(), ids)
        self.world.advance(10)
        self.assertEqual(self.ticks(), ids)
        self.stop()
        self.assertEqual(self.ticks(), [])

    def test_many_are_written_over_several_turns_and_those_that_end_meanwhile_are_not(self) -> None:
        self.patch(ticks, "AT_ONCE", 3)
        pairs = [self.world.establish() for _ in range(5)]
        ids = list(self.world.relay.sessions)
        first: list[str] = []

        def between() -> None:
            first.extend(self.ticks())
            for leg in pairs[-1]:
                self.world.end(leg)

        self.world.reactor.callLater(10, between)
        self.world.reactor.advance(10)
        self.assertEqual((first, self.ticks()), (ids[:3], ids[3:-1]))

    def test_a_reload_sets_and_takes_away_the_tick(self) -> None:
        self.world.establish()
        ids = list(self.world.relay.sessions)
        self.assertEqual(self.reload(tick=None), ["log changed"])
        self.world.advance(60)
        self.assertEqual(self.ticks(), [])
        self.reload(tick=3.0)
        self.world.advance(3.1)
        self.assertEqual(self.ticks(), ids)
        self.reload(level="debug")
        self.world.advance(3.1)
        self.assertEqual(self.ticks(), ids)
        self.stop()
        self.world.advance(60)
        self.assertEqual(self.ticks(), [])

    def test_a_reload_that_changes_nothing_does_not_put_the_next_tick_off(self) -> None:
        self.world.establish()
        for _ in range(3):
            self.world.advance(4)
            self.assertEqual(self.reload(), [])
        self.assertEqual(len(self.ticks()), 1)

    def test_a_session_begun_before_a_reload_is_written_where_the_new_one_says(self) -> None:
        client, upstream = self.world.establish()
        other = folder(self) / "log"
        self.reload(access=other)
        for leg in (client, upstream):
            self.world.end(leg)
        self.assertEqual(json.loads(other.read_text())["event"], "end")
