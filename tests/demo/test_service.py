"""The demo knows its addresses at once and listens on loopback only."""

import errno
import socket

import pytest
from twisted.internet import reactor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from tests.demo.support import connect
from wsrelay.demo.service import Demo, free_port, make_demo
from wsrelay.demo.upstreams import NAMES


def ports_of(demo: Demo) -> list[int]:
    urls = [*demo.upstream_urls.values(), demo.page_upstream]
    return [int(url.rpartition(":")[2]) for url in urls]


class ServiceTests(TestCase):
    """On the real reactor, because ports are what this is about."""

    timeout = 20

    def make_demo(self, relay_port: int = 8080) -> Demo:
        demo = make_demo(reactor, relay_port=relay_port)
        self.addCleanup(demo.service.stopService)
        return demo

    def test_every_url_is_final_before_the_service_starts(self) -> None:
        demo = self.make_demo()
        demo.service.startService()
        assert tuple(demo.upstream_urls) == NAMES
        assert 0 not in ports_of(demo)
        assert len(set(ports_of(demo))) == 4

    def test_nobody_can_take_a_port_between_making_and_starting(self) -> None:
        demo = self.make_demo()
        for port in ports_of(demo):
            with pytest.raises(OSError, match="in use") as caught:
                socket.create_server(("127.0.0.1", port)).close()
            assert caught.value.errno == errno.EADDRINUSE
        demo.service.startService()

    def test_only_loopback_is_listened_on(self) -> None:
        demo = self.make_demo()
        demo.service.startService()
        # The same port on another loopback address is free unless 0.0.0.0 is bound.
        for port in ports_of(demo):
            socket.create_server(("127.0.0.2", port)).close()

    async def test_a_client_that_comes_early_is_served_once_the_service_starts(self) -> None:
        demo = self.make_demo()
        waiting = socket.create_connection(("127.0.0.1", ports_of(demo)[0]))
        demo.service.startService()
        client = await connect(demo, "amber", "/echo")
        assert client.state == client.STATE_OPEN
        await client.leave()
        waiting.close()

    async def test_stopping_frees_the_ports(self) -> None:
        demo = make_demo(reactor)
        demo.service.startService()
        await demo.service.stopService()
        for port in ports_of(demo):
            socket.create_server(("127.0.0.1", port)).close()

    def test_the_page_is_told_where_the_relay_is(self) -> None:
        demo = self.make_demo(relay_port=12345)
        demo.service.startService()
        assert demo.relay_url == "ws://127.0.0.1:12345"
        assert demo.page_url == "http://127.0.0.1:12345/"


def test_a_taken_port_is_an_error_and_not_a_second_listener() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        make_demo(MemoryReactorClock(), upstream_ports=(0, taken.getsockname()[1], 0))


def test_there_must_be_a_port_for_every_upstream() -> None:
    with pytest.raises(ValueError, match="shorter"):
        make_demo(MemoryReactorClock(), upstream_ports=(0, 0))


def test_a_free_port_is_kept_and_a_taken_one_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        replacement = free_port(port)
        assert replacement not in (0, port)
    assert free_port(port) == port
