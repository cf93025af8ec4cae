"""What the kernel says of a connection that the reactor does not look at."""

import socket

from attrs import frozen

from tests.relay.support import HUNG_UP, QUIET
from wsrelay.relay.transports import is_reset


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
