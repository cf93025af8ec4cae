"""What is listened on: sockets that systemd passed on, and what a killed relay has left."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from wsrelay import sockets
from wsrelay.sockets import endpoint_from

MAX_BACKLOG = 28
"""Where a listening socket's TCP_INFO says how many may wait (tcpi_sacked), in four bytes."""


def backlog_of(listening: socket.socket) -> int:
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    return int.from_bytes(info[MAX_BACKLOG : MAX_BACKLOG + 4], "little")


class SystemdTests(TestCase):
    """A socket of this process, as if systemd had passed it on."""

    async def test_the_backlog_is_the_listeners_and_the_socket_can_be_had_again(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=3) as passed:
            found = SimpleNamespace(fileno=passed.fileno(), addressFamily=socket.AF_INET)
            self.patch(sockets, "serverFromString", lambda *_: found)
            endpoint = endpoint_from(reactor, "systemd:domain=INET:index=0", 77)
            for _ in range(2):
                port: Any = await endpoint.listen(Factory())
                self.assertEqual(backlog_of(port.socket), 77)
                self.assertEqual(port.getHost().port, passed.getsockname()[1])
                await port.stopListening()


def lock(path: Path, pid: int) -> Path:
    lock = path.with_name(f"{path.name}.lock")
    lock.symlink_to(str(pid))
    return lock


def test_a_process_forgets_what_one_with_its_id_has_left(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    locked = lock(path, os.getpid())
    sockets._forget_former_self(str(path))
    assert not path.exists()
    assert not locked.is_symlink()


def test_it_forgets_nothing_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    locked = lock(path, os.getppid())
    sockets._forget_former_self(str(path))
    assert path.is_socket()
    assert locked.is_symlink()


def test_it_forgets_nothing_where_it_listens_itself(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        locked = lock(path, os.getpid())
        sockets._forget_former_self(str(path))
        assert path.is_socket()
        assert locked.is_symlink()


def test_it_forgets_a_lock_that_is_left_alone(tmp_path: Path) -> None:
    locked = lock(tmp_path / "r.sock", os.getpid())
    sockets._forget_former_self(str(tmp_path / "r.sock"))
    assert not locked.is_symlink()


def test_it_removes_no_file_that_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    path.write_text("dear diary")
    locked = lock(path, os.getpid())
    sockets._forget_former_self(str(path))
    assert path.read_text() == "dear diary"
    assert locked.is_symlink()
