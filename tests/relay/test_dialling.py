"""Connections to real sockets on loopback, with a reactor that does only what a test says."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from typing_extensions import override

from tests.relay.support import is_tuned
from wsrelay.relay import dialling
from wsrelay.relay.dialling import connect


@define(eq=False, init=False)
class Connecting(Protocol):
    """Remembers what became of a dial."""

    made: int = 0
    failures: list[Failure] = field(factory=list)
    cancel: Callable[[], object] | None = None

    def __init__(self) -> None:
        self.__attrs_init__()  # type: ignore[attr-defined]

    def dialled(self, cancel: Callable[[], object]) -> None:
        self.cancel = cancel

    def failed_to_connect(self, reason: Failure) -> None:
        self.failures.append(reason)

    @override
    def connectionMade(self) -> None:
        self.made += 1


class Distant(socket.socket):
    """Answers as a socket does whose peer is not on this machine."""

    tries = 0
    undecided = 2

    def connect_ex(self, address: Any) -> int:
        self.tries += 1
        if 1 < self.tries <= self.undecided:
            return errno.EALREADY
        outcome = super().connect_ex(address)
        return errno.EINPROGRESS if self.tries == 1 else outcome


@pytest.fixture
def reactor() -> MemoryReactorClock:
    return MemoryReactorClock()


@pytest.fixture
def upstream() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def nobody() -> tuple[str, int]:
    """Return an address on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    return host, port


@pytest.fixture
def distant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "socket", Distant)


def let_go(connecting: Connecting) -> None:
    transport: Any = connecting.transport
    transport.abortConnection()
    transport.connectionLost(Failure(CONNECTION_LOST))


def waiting(reactor: MemoryReactorClock) -> Any:
    """Return the one attempt that the reactor watches."""
    (attempt,) = reactor.getWriters()
    return attempt


def test_an_upstream_on_this_machine_is_connected_at_once(
    reactor: MemoryReactorClock, upstream: socket.socket
) -> None:
    connecting = Connecting()
    connect(reactor, upstream.getsockname(), connecting)
    transport: Any = connecting.transport
    assert connecting.made == 1
    assert connecting.cancel is None
    assert (reactor.getReaders(), reactor.getWriters()) == ([transport], [])
    assert is_tuned(transport.socket)
    let_go(connecting)


def test_a_transport_knows_both_ends(reactor: MemoryReactorClock) -> None:
    hosts = ["127.0.0.1"] + ["::1"] * socket.has_dualstack_ipv6()
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as server:
            connecting = Connecting()
            connect(reactor, (host, server.getsockname()[1]), connecting)
            accepted, name = server.accept()
            transport: Any = connecting.transport
            with accepted:
                assert (transport.getHost().host, transport.getHost().port) == name[:2]
                assert transport.getPeer().host == host
                assert transport.getPeer().port == server.getsockname()[1]
            let_go(connecting)


def test_a_refusal_is_told_after_the_call(
    reactor: MemoryReactorClock, nobody: tuple[str, int]
) -> None:
    connecting = Connecting()
    connect(reactor, nobody, connecting)
    assert connecting.failures == []
    reactor.advance(0)
    assert [each.type for each in connecting.failures] == [ConnectionRefusedError]
    assert (connecting.made, reactor.getWriters()) == (0, [])


def test_a_process_without_descriptors_fails_the_one_connection(
    reactor: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(dialling, "socket", exhausted)
    connecting = Connecting()
    connect(reactor, ("127.0.0.1", 9), connecting)
    reactor.advance(0)
    (failure,) = connecting.failures
    assert failure.check(ConnectError)
    assert "Too many open files" in failure.getErrorMessage()


@pytest.mark.usefixtures("distant")
def test_a_distant_upstream_is_waited_for(
    reactor: MemoryReactorClock, upstream: socket.socket
) -> None:
    connecting = Connecting()
    connect(reactor, upstream.getsockname(), connecting)
    assert connecting.made == 0
    waiting(reactor).doWrite()
    transport: Any = connecting.transport
    assert connecting.made == 1
    assert (reactor.getReaders(), reactor.getWriters()) == ([transport], [])
    let_go(connecting)


def test_an_event_that_was_meant_for_another_decides_nothing(
    reactor: MemoryReactorClock, upstream: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distant, "undecided", 3)
    monkeypatch.setattr(dialling, "socket", Distant)
    connecting = Connecting()
    connect(reactor, upstream.getsockname(), connecting)
    attempt = waiting(reactor)
    attempt.doWrite()
    assert connecting.made == 0
    assert waiting(reactor) is attempt
    attempt.doWrite()
    assert connecting.made == 1
    let_go(connecting)


@pytest.mark.usefixtures("distant")
def test_a_distant_refusal_is_told(reactor: MemoryReactorClock, nobody: tuple[str, int]) -> None:
    connecting = Connecting()
    connect(reactor, nobody, connecting)
    waiting(reactor).doWrite()
    reactor.advance(0)
    assert [each.type for each in connecting.failures] == [ConnectionRefusedError]
    assert reactor.getWriters() == []


@pytest.mark.usefixtures("distant")
def test_what_the_reactor_says_of_an_attempt_is_its_end(
    reactor: MemoryReactorClock, upstream: socket.socket
) -> None:
    connecting = Connecting()
    connect(reactor, upstream.getsockname(), connecting)
    attempt = waiting(reactor)
    reactor.removeWriter(attempt)  # as a reactor does that reports an error
    attempt.connectionLost(Failure(CONNECTION_LOST))
    assert len(connecting.failures) == 1
    assert attempt.fileno() == -1


@pytest.mark.usefixtures("distant")
def test_a_dial_that_is_called_off_tells_nobody(
    reactor: MemoryReactorClock, upstream: socket.socket
) -> None:
    connecting = Connecting()
    connect(reactor, upstream.getsockname(), connecting)
    attempt = waiting(reactor)
    assert connecting.cancel is not None
    connecting.cancel()
    reactor.advance(0)
    assert attempt.fileno() == -1
    assert (connecting.made, connecting.failures, reactor.getWriters()) == (0, [], [])
