"""What is asked of a connection's socket directly, without the reactor."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from tests.relay.support import HUNG_UP, QUIET, is_tuned
from wsrelay.relay.transports import TCPTransport, is_reset, make_lean, unsent, write_now


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

    transport: TCPTransport
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
        yield Wire(TCPTransport(near, ("192.0.2.7", 50123), Protocol(), reactor), far, reactor)


def test_first_bytes_are_sent_without_waiting_for_the_reactor(wire: Wire) -> None:
    write_now(wire.transport, b"hello")
    assert wire.peer.recv(100) == b"hello"
    assert not wire.waits


def test_what_the_socket_does_not_take_follows_in_order(wire: Wire) -> None:
    data = bytes(range(256)) * 8192
    write_now(wire.transport, data)
    assert wire.waits
    received = bytearray()
    while wire.waits:
        received += wire.peer.recv(1 << 20)
        wire.transport.doWrite()
    wire.peer.setblocking(False)
    while len(received) < len(data):
        received += wire.peer.recv(1 << 20)
    assert received == data


def test_what_waits_already_goes_first(wire: Wire) -> None:
    wire.transport.write(b"hello ")
    write_now(wire.transport, b"world")
    wire.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        wire.peer.recv(100)
    wire.transport.doWrite()
    assert wire.peer.recv(100) == b"hello world"


def test_nothing_is_written_to_a_connection_that_is_over(wire: Wire) -> None:
    wire.transport.connectionLost(Failure(CONNECTION_DONE))
    write_now(wire.transport, b"hello")
    assert wire.peer.recv(100) == b""


def test_a_connection_that_is_lost_is_left_to_the_reactor_to_find(wire: Wire) -> None:
    wire.peer.close()
    write_now(wire.transport, b"hello")
    assert wire.waits


def test_what_the_socket_has_not_taken_is_unsent(wire: Wire) -> None:
    assert unsent(wire.transport) == 0
    data = bytes(2**21)
    wire.transport.write(data[:1000])
    wire.transport.write(data[1000:])
    assert unsent(wire.transport) == len(data)
    received = 0
    while wire.waits:
        wire.transport.doWrite()
        wire.peer.setblocking(False)
        left = unsent(wire.transport)
        assert left < len(data) - received
        with suppress(BlockingIOError):
            while True:
                received += len(wire.peer.recv(1 << 20))
        assert received == len(data) - left
    assert unsent(wire.transport) == 0
    assert received == len(data)


def test_of_a_transport_that_says_nothing_of_it_nothing_counts_as_unsent() -> None:
    assert unsent(object()) == 0


def test_a_layer_above_the_socket_is_not_bypassed() -> None:
    """TLS hands every method on that it does not have: that must not write plain text."""

    class Layer:
        written = b""

        def write(self, data: bytes) -> None:
            self.written += data

        def writeSomeData(self, data: bytes) -> int:  # noqa: N802  Twisted's name
            raise AssertionError("past the layer")

    layer = Layer()
    write_now(layer, b"hello")
    assert layer.written == b"hello"


class Ends(Protocol):
    """Remembers which of its ends it was told of."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append("all")


@implementer(IHalfCloseableProtocol)
class HalfEnds(Ends):
    """Wants to know when only the peer has ended."""

    def readConnectionLost(self) -> None:  # noqa: N802  Twisted's name
        self.told.append("read")

    def writeConnectionLost(self) -> None:  # noqa: N802  Twisted's name
        self.told.append("write")


@pytest.mark.parametrize(("kind", "told"), [(Ends, ["all"]), (HalfEnds, ["read"])])
def test_a_peers_end_is_the_end_unless_the_protocol_asks_for_halves(
    wire: Wire, kind: type[Ends], told: list[str]
) -> None:
    wire.transport.protocol = protocol = kind()
    wire.transport.readConnectionLost(Failure(CONNECTION_DONE))
    assert protocol.told == told


def test_a_transport_is_read_at_once_and_knows_its_peer(wire: Wire) -> None:
    assert wire.reactor.getReaders() == [wire.transport]
    peer = wire.transport.getPeer()
    assert (peer.host, peer.port) == ("192.0.2.7", 50123)


def test_a_port_accepts_clients_with_the_relays_transport() -> None:
    reactor = MemoryReactor()
    protocol = Protocol()
    port = tcp.Port(
        0, Factory.forProtocol(lambda: protocol), interface="127.0.0.1", reactor=reactor
    )
    make_lean(port)
    port.startListening()
    try:
        with socket.create_connection(port.socket.getsockname()) as client:
            port.doRead()
            transport = protocol.transport
            assert isinstance(transport, TCPTransport)
            peer = transport.getPeer()
            assert (peer.host, peer.port) == client.getsockname()
            assert transport.getHost() == port.getHost()
            assert is_tuned(transport.socket)
        transport.connectionLost(Failure(CONNECTION_DONE))
    finally:
        port.connectionLost(Failure(CONNECTION_DONE))


def test_closing_a_transport_sends_what_was_written_and_then_the_end(wire: Wire) -> None:
    write_now(wire.transport, b"goodbye")
    wire.transport.connectionLost(Failure(CONNECTION_DONE))
    assert wire.peer.recv(100) == b"goodbye"
    assert wire.peer.recv(100) == b""


def test_a_transport_whose_ends_have_ended_is_closed_and_says_so_once(wire: Wire) -> None:
    wire.transport.protocol = protocol = Ends()
    wire.transport.stopReading()  # as a pump does that reads by itself
    wire.transport.ended()
    assert protocol.told == ["all"]
    assert wire.peer.recv(100) == b""
    wire.transport.connectionLost(Failure(CONNECTION_DONE))
    wire.transport.abortConnection()
    wire.transport.write(b"too late")
    assert protocol.told == ["all"]
    assert not wire.waits


def test_a_unix_port_keeps_its_own_transport() -> None:
    port = unix.Port("/nowhere", Factory(), reactor=MemoryReactor())
    make_lean(port)
    assert port.transport is unix.Server
