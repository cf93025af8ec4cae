"""Nobody is let in for whom there may be no descriptor; and nothing is blamed on upstreams."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from typing import Any

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectBindError, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.internet.tcp import Port as TCPPort
from twisted.logger import capturedLogs, eventAsText
from twisted.python.failure import Failure
from typing_extensions import override

from tests.health.test_checker import Watching
from tests.relay.world import REQUEST, Reactor, World, answer_in
from wsrelay import descriptors
from wsrelay.config.model import UpstreamConfig
from wsrelay.descriptors import LOOK_EVERY, PAUSE, Descriptors, is_shortage, lowest_free
from wsrelay.listening import ListenerService, _guard
from wsrelay.sockets import endpoint_from

OWN = 12
"""Descriptors that the process has before anybody comes."""


@define(eq=False)
class FakePort:
    """A listening port."""

    is_read: bool = True
    connected: bool = True
    disconnecting: bool = False

    def startReading(self) -> None:  # noqa: N802  Twisted's
        self.is_read = True

    def stopReading(self) -> None:  # noqa: N802  Twisted's
        self.is_read = False


@define(eq=False)
class Client:
    own: int
    upstream: int | None = None


class Process:
    """A process that has so many descriptors, and a guard that watches them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = set(range(OWN))
        self.clients: list[Client] = []
        self.clock = Clock()
        self.relieved = 0
        self.port = FakePort()
        self.guard = Descriptors(
            self.clock, lambda: 2 * len(self.clients), self._relieve, lambda: self.limit, self.free
        )
        self.guard.start()
        self.guard.watch(self.port)

    def _relieve(self) -> None:
        self.relieved += 1

    def free(self) -> int | None:
        number = next(each for each in range(self.limit + 1) if each not in self.used)
        return number if number < self.limit else None

    def take(self) -> int:
        number = self.free()
        assert number is not None, "there is no descriptor left"
        self.used.add(number)
        return number

    def come(self, count: int = 1) -> int:
        """Let clients come; return how many were let in."""
        came = 0
        while came < count and self.guard.is_accepting:
            number = self.take()
            self.guard.accepted(number)
            self.clients.append(Client(number))
            came += 1
        return came

    def ask(self, client: Client) -> None:
        if client.upstream is None:
            client.upstream = self.take()

    def leave(self, client: Client) -> None:
        self.clients.remove(client)
        self.used -= {client.own, client.upstream}  # type: ignore[arg-type]

    def advance(self, seconds: float) -> None:
        self.clock.pump([LOOK_EVERY] * round(seconds / LOOK_EVERY))


def test_clients_stop_coming_while_the_reserve_and_what_they_will_need_is_still_there() -> None:
    process = Process(1024)
    with capturedLogs() as events:
        came = process.come(1000)
    assert came == process.guard.capacity == (1024 - OWN - 96) // 2
    assert not process.port.is_read
    for client in process.clients:
        process.ask(client)
    assert len(process.used) <= 1024 - process.guard.reserve
    (line,) = map(eventAsText, events)
    assert events[0]["log_level"].name == "error"
    assert "of 1024 file descriptors" in line
    assert "LimitNOFILE" in line
    assert process.relieved == 1


def test_clients_come_again_when_some_have_left_and_the_log_says_both() -> None:
    process = Process(1024)
    with capturedLogs() as events:
        process.come(1000)
        for client in process.clients[:3]:
            process.leave(client)
        process.advance(10)
        assert not process.guard.is_accepting
        for client in process.clients[:3]:
            process.leave(client)
        process.advance(LOOK_EVERY)
        assert process.guard.is_accepting
    assert process.port.is_read
    assert process.clock.getDelayedCalls() == []
    assert "clients are let in again, after 10.2 s" in eventAsText(events[-1])
    assert process.come(1000) == 6


def test_who_comes_and_goes_all_the_time_is_two_lines_a_second_at_most() -> None:
    process = Process(1024)
    with capturedLogs() as events:
        for _ in range(50):
            process.come(1000)
            for client in process.clients[:20]:
                process.leave(client)
            process.advance(LOOK_EVERY)
    assert 6 < len(events) <= 2 * (process.clock.seconds() + 1)


def test_descriptors_that_others_take_are_seen_as_well() -> None:
    process = Process(1024)
    process.used |= set(range(OWN, 1024 - 96 - 20))
    assert process.come(1000) < 20
    process.used -= set(range(OWN, 500))
    process.advance(5)
    assert process.guard.is_accepting


def test_holes_among_the_low_numbers_do_not_hide_that_the_high_ones_are_taken() -> None:
    process = Process(400)
    process.come(1000)
    for client in process.clients:
        process.ask(client)
    for client in process.clients[:20]:
        process.leave(client)  # the lowest numbers of all
    process.advance(5)
    assert process.come(1000) <= 20
    for client in process.clients:
        process.ask(client)
    assert 400 - len(process.used) >= process.guard.reserve


def test_a_limit_that_is_raised_from_outside_helps_at_once() -> None:
    process = Process(400)
    process.come(1000)
    process.limit = 4000
    process.advance(PAUSE)
    assert process.guard.is_accepting


def test_a_port_that_is_opened_meanwhile_waits_and_one_that_closes_is_left_alone() -> None:
    process = Process(400)
    process.come(1000)
    late, gone, closing = FakePort(), FakePort(), FakePort()
    for port in (late, gone, closing):
        process.guard.watch(port)
        assert not port.is_read
    process.guard.forget(gone)
    process.guard.forget(gone)
    closing.disconnecting = True
    process.clients.clear()
    process.used = set(range(OWN))
    process.advance(PAUSE)
    assert (process.port.is_read, late.is_read) == (True, True)
    assert (gone.is_read, closing.is_read) == (False, False)


def test_a_relay_that_stops_looks_no_more() -> None:
    process = Process(400)
    process.come(1000)
    process.guard.stop()
    assert process.clock.getDelayedCalls() == []


@pytest.mark.parametrize("limit", [16, 40, 64, 256])
def test_a_small_limit_keeps_a_small_reserve(limit: int) -> None:
    assert Process(limit).guard.reserve <= limit // 4


DEEDS = st.sampled_from(["come", "come", "come", "ask", "ask", "leave", "other", "time"])


@given(st.integers(150, 500), st.lists(st.tuples(DEEDS, st.integers(0, 2**16)), max_size=60))
def test_whoever_is_let_in_gets_an_upstream_whatever_else_happens(
    limit: int, deeds: list[tuple[str, int]]
) -> None:
    process = Process(limit)
    others = 0
    for deed, number in deeds:
        chosen = process.clients[number % len(process.clients)] if process.clients else None
        if deed == "come":
            process.come(number % 100)
        elif deed == "other" and others < process.guard.reserve:
            others += 1
            process.take()
        elif deed == "time":
            process.advance(number % 3)
        elif chosen is not None and deed == "ask":
            process.ask(chosen)
        elif chosen is not None and deed == "leave":
            process.leave(chosen)
    for client in process.clients:
        process.ask(client)
    for client in list(process.clients):
        process.leave(client)
    process.used = set(range(OWN))
    process.advance(5)
    assert process.guard.is_accepting


# the system


def test_the_lowest_free_number_is_what_the_next_descriptor_gets() -> None:
    number = lowest_free()
    assert number == lowest_free()
    with open(os.devnull) as file:
        assert file.fileno() == number
        assert lowest_free() != number


RAISES = """
import resource
from wsrelay.descriptors import lowest_free, raise_limit, soft_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
print(raise_limit(), soft_limit(), raise_limit())
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), 128))
print(lowest_free())
"""


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    said = subprocess.run(
        [sys.executable, "-c", RAISES], check=True, capture_output=True, text=True
    ).stdout
    assert said.splitlines() == ["(64, 128) 128 (128, 128)", "None"]


def test_a_limit_that_may_not_be_raised_is_said_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "not today")

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft + 1))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with capturedLogs() as events:
        assert descriptors.raise_limit() == (soft, soft)
    assert "not today" in eventAsText(events[0])


class Listening:
    """A real socket that listens, as a port of a reactor that does only what a test says."""

    def __init__(self) -> None:
        self.reactor: Any = Turning()
        self.guard = Descriptors(self.reactor, lambda: 0, lambda: None, lambda: 10**6)
        self.made: list[Any] = []
        self.port = TCPPort(0, self, interface="127.0.0.1", reactor=self.reactor)  # type: ignore[arg-type]
        self.port.startListening()
        _guard(self.port, self.guard, None)

    def doStart(self) -> None:  # noqa: N802  Twisted's
        """Begin."""

    def buildProtocol(self, address: Any) -> Any:  # noqa: N802  Twisted's
        self.made.append(address)

    def connect(self, count: int) -> list[socket.socket]:
        where = ("127.0.0.1", self.port.getHost().port)
        return [socket.create_connection(where) for _ in range(count)]


class Turning(Clock):
    """Notes who is to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:  # noqa: N802  Twisted's
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: N802  Twisted's
        self.readers.discard(reader)


def close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


def test_a_port_stops_in_the_middle_of_a_crowd_and_the_others_wait() -> None:
    listening = Listening()
    clients = listening.connect(20)
    limit = [0]
    listening.guard.limit = lambda: 10**6 if len(listening.made) < 4 else limit[0]
    listening.port.doRead()
    assert len(listening.made) == 5  # the fifth was accepted before it was clear
    assert listening.port not in listening.reactor.readers
    listening.port.doRead()
    assert len(listening.made) == 5
    limit[0] = 10**6
    listening.reactor.advance(PAUSE)
    assert listening.port in listening.reactor.readers
    listening.port.doRead()
    listening.port.doRead()
    assert len(listening.made) == 20
    close(*clients, listening.port.socket)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_an_accept_that_fails_for_want_of_something_is_tried_again_later(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = Listening()
    clients = listening.connect(3)

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with capturedLogs() as events, monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", fail)
        for _ in range(1000):
            listening.port.doRead()
    (line,) = map(eventAsText, events)
    assert os.strerror(number) in line
    assert listening.made == []
    listening.reactor.advance(PAUSE)
    for _ in clients:
        listening.port.doRead()
    assert len(listening.made) == 3
    close(*clients, listening.port.socket)


def test_a_listener_is_guarded_and_the_admin_endpoint_is_not() -> None:
    for guard, is_guarded in ((Descriptors(Clock(), lambda: 0, lambda: None), True), (None, False)):
        reactor: Any = Turning()
        port = TCPPort(0, Front(), interface="127.0.0.1", reactor=reactor)
        port.startListening()
        service = ListenerService("x", endpoint_from(Reactor(), "tcp:1"), Front(), guard)
        service._listens(port)
        assert hasattr(port.socket, "descriptors") is is_guarded
        port.socket.close()


class Front:
    """A factory that is never asked."""

    def doStart(self) -> None:  # noqa: N802  Twisted's
        """Begin."""


# upstreams that cannot be connected to for want of a descriptor


def short(number: int = errno.EMFILE) -> ConnectBindError:
    return ConnectBindError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (short(), True),
        (short(errno.ENFILE), True),
        (OSError(errno.EMFILE, "x"), True),
        (short(errno.EACCES), False),
        (Refused(), False),
        (DNSLookupError(), False),
        (ValueError(), False),
    ],
)
def test_a_want_of_descriptors_is_told_from_faults_of_upstreams(
    error: Exception, is_ours: bool
) -> None:
    assert is_shortage(error) is is_ours


def test_a_name_that_cannot_be_looked_up_for_want_of_a_descriptor_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descriptors, "lowest_free", lambda: None)
    assert is_shortage(DNSLookupError())


PLAIN = b"GET /chat HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"


@pytest.mark.parametrize("request_", [REQUEST, PLAIN])
def test_a_client_is_told_that_the_relay_is_full_and_no_upstream_is_blamed(request_: bytes) -> None:
    world = World(max_fails=1)
    client = world.ask(request_)
    world.dials[-1].fail(short())
    world.settle()
    answer = answer_in(client)
    assert (answer.status, answer.header(b"Retry-After")) == (503, b"5")
    assert world.observer.refused_facts[0].refusal == "full"
    assert world.observer.refusals[0] == (503, "connection failed: too many open files")
    assert len(world.dials) == 1
    assert all(not each.failures and not each.looks_down for each in world.pool.upstreams)
    world.leave_all()
    world.assert_clean()


class NoUnixReactor(Reactor):
    @override
    def connectUNIX(self, *_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_unix_socket_that_cannot_be_made_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.relay.world.Reactor", NoUnixReactor)
    world = World(upstreams=[UpstreamConfig("u", "unix:/run/chat.sock")], max_fails=1)
    client = world.ask()
    world.advance(0)
    assert answer_in(client).status == 503
    assert world.observer.refused_facts[0].refusal == "full"
    assert not world.pool.upstreams[0].failures


def test_a_client_that_leaves_before_a_unix_socket_failed_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.relay.world.Reactor", NoUnixReactor)
    world = World(upstreams=[UpstreamConfig("u", "unix:/run/chat.sock")])
    world.reset(world.ask())
    world.assert_clean()


def test_an_upstream_that_could_not_be_checked_stays_what_it_was() -> None:
    watching = Watching("tcp interval=3s fall=1")
    watching.wait_for_dial()
    watching.dials[-1].fail(short())
    watching.wait_for_dial()
    watching.dials[-1].factory.clientConnectionFailed(None, Failure(Refused()))
    results = [(result.ok, result.counts, flipped) for result, flipped in watching.reports]
    assert results == [(False, False, None), (False, True, "down")]
    assert watching.reports[0][0].what == "connection failed: too many open files"
    watching.checker.stop()
