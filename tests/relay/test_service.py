"""The relay as a service: its listeners, its log, and how it stops."""

from __future__ import annotations

from ipaddress import ip_network

from attrs import evolve
from twisted.logger import capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import FakeTransport, settle
from tests.relay.world import ROUTE, UPSTREAMS, Reactor
from wsrelay import running as start
from wsrelay.config.model import (
    ListenerConfig,
    LogConfig,
    PluginCall,
    PoolConfig,
    RelayConfig,
)
from wsrelay.log import Logger
from wsrelay.service import RelayService

CONFIG = RelayConfig(
    (
        ListenerConfig("web", "tcp:8080", backlog=7),
        ListenerConfig("local", "unix:/run/r.sock"),
        ListenerConfig("own", "tcp:8081:backlog=3"),
    ),
    (ROUTE,),
    (PoolConfig("pool", UPSTREAMS, PluginCall("first")),),
    log=LogConfig(access="off"),
)


class ServiceTests(SynchronousTestCase):
    """A service on a reactor in memory."""

    def setUp(self) -> None:
        self.patch(Logger, "level", Logger.level)
        self.reactor = Reactor()
        self.service = RelayService(CONFIG, self.reactor)
        self.service.privilegedStartService()

    def test_every_listener_is_bound_once_with_its_backlog(self) -> None:
        self.service.startService()
        bound = [(port, backlog) for port, _, backlog, _ in self.reactor.tcpServers]
        self.assertEqual(bound, [(8080, 7), (8081, 3)])
        self.assertEqual(
            [(each[0], each[2]) for each in self.reactor.unixServers], [("/run/r.sock", 1024)]
        )
        self.assertEqual(set(self.service.ports), {"web", "local", "own"})

    def test_a_service_that_was_not_started_with_privileges_binds_at_its_start(self) -> None:
        reactor = Reactor()
        RelayService(CONFIG, reactor).startService()
        self.assertEqual(len(reactor.tcpServers), 2)

    def test_log_lines_are_limited_while_it_runs(self) -> None:
        self.service.startService()
        self.assertIsNotNone(Logger.limit)
        self.service.stopService()
        self.reactor.pump([0.1] * 3)
        self.assertIsNone(Logger.limit)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_limit_of_descriptors_that_was_raised_is_said_once(self) -> None:
        self.patch(start, "raise_limit", lambda: (1024, 4096))
        running = RelayService(CONFIG, Reactor())
        running.relay.descriptors.limit = lambda: 4096
        running.privilegedStartService()
        with capturedLogs() as events:
            running.startService()
        (said,) = [each for each in map(eventAsText, events) if "descriptors" in each]
        self.assertRegex(said, "raised from 1024 to 4096: enough for 19[0-9]{2} clients")

    def connect(self) -> FakeTransport:
        transport = FakeTransport()
        transport.protocol = self.reactor.tcpServers[0][1].buildProtocol(transport.peer)
        transport.protocol.makeConnection(transport)
        return transport

    def test_stopping_without_anybody_is_done_at_once_and_twice_is_harmless(self) -> None:
        self.service.startService()
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.service.hurry()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopping_drops_clients_that_have_not_asked_yet(self) -> None:
        self.service.startService()
        client = self.connect()
        stopped = self.service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        settle(client)
        self.assertTrue(client.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopping_drops_proxies_that_have_not_said_anything_yet(self) -> None:
        trusted = (ip_network("192.0.2.0/24"),)
        first = evolve(CONFIG.listeners[0], proxy_protocol=True, trusted_proxies=trusted)
        reactor = Reactor()
        service = RelayService(evolve(CONFIG, listeners=(first,)), reactor)
        service.startService()
        transport = FakeTransport()
        transport.protocol = reactor.tcpServers[0][1].buildProtocol(transport.peer)
        transport.protocol.makeConnection(transport)
        stopped = service.stopService()
        reactor.advance(0)
        self.successResultOf(stopped)
        settle(transport)
        self.assertTrue(transport.lost)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_hurry_before_stopping_does_nothing(self) -> None:
        self.service.startService()
        self.service.hurry()
        self.assertEqual(set(self.service.ports), {"web", "local", "own"})

    def test_the_level_of_the_log_is_set(self) -> None:
        config = evolve(CONFIG, log=LogConfig(access="off", level="error"))
        RelayService(config, Reactor()).startService()
        self.assertEqual(Logger.level.name, "error")
