"""What is asked of a connection's socket directly, without the reactor."""

import socket
from collections.abc import Iterator

import pytest
from attrs import frozen
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection as SocketTransport
from twisted.internet.testing import MemoryReactor

from tests.relay.support import HUNG_UP, QUIET
from wsrelay.relay.transports import is_reset, write_first


@frozen
class Descriptor:
    number: int

    def fileno(self) -> int:
        return self.number


def test_a_connection_that_was_reset_is_seen() -> None:
    assert is_reset(Descriptor(HUNG_UP))


def test_a_quiet_connection_is_not_reset() -> None:
    assert not is_reset(Descriptor(QUIET))


def test_a_unix_peer_that_closed_behind_its_last_bytes_is_not_reset() -> None:
    """They can still be read; the end is seen behind them."""
    near, far = socket.socketpair()
    with near:
        with far:
            far.sendall(b"last words")
        assert not is_reset(Descriptor(near.fileno()))
        assert near.recv(100) == b"last words"


def test_a_tcp_peer_that_ended_its_half_is_not_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        far.sendall(b"last words")
        far.shutdown(socket.SHUT_WR)
        assert near.recv(4) == b"last"
        assert not is_reset(Descriptor(near.fileno()))


@frozen
class Wire:
    """A transport of Twisted's on a real socket, and the socket of its peer."""

    transport: SocketTransport
    peer: socket.socket
    reactor: MemoryReactor

    @property
    def waits(self) -> bool:
        """Whether the reactor has to say when more can be written."""
        return self.transport in self.reactor.getWriters()


@pytest.fixture
def wire() -> Iterator[Wire]:
    near, far = socket.socketpair()
    reactor = MemoryReactor()
    with near, far:
        transport = SocketTransport(near, Protocol(), reactor)
        transport.connected = 1
        yield Wire(transport, far, reactor)


def test_first_bytes_are_sent_without_waiting_for_the_reactor(wire: Wire) -> None:
    write_first(wire.transport, b"hello")
    assert wire.peer.recv(100) == b"hello"
    assert not wire.waits


def test_what_the_socket_does_not_take_follows_in_order(wire: Wire) -> None:
    data = bytes(range(256)) * 8192
    write_first(wire.transport, data)
    assert wire.waits
    received = bytearray()
    while wire.waits:
        received += wire.peer.recv(1 << 20)
        wire.transport.doWrite()
    wire.peer.setblocking(False)
    while len(received) < len(data):
        received += wire.peer.recv(1 << 20)
    assert received == data


def test_a_connection_that_is_lost_is_left_to_the_reactor_to_find(wire: Wire) -> None:
    wire.peer.close()
    write_first(wire.transport, b"hello")
    assert wire.waits


def test_a_layer_above_the_socket_is_not_bypassed() -> None:
    """TLS hands every method on that it does not have: that must not write plain text."""

    class Layer:
        written = b""

        def write(self, data: bytes) -> None:
            self.written += data

        def writeSomeData(self, data: bytes) -> int:  # noqa: N802  Twisted's name
            raise AssertionError("past the layer")

    layer = Layer()
    write_first(layer, b"hello")
    assert layer.written == b"hello"
