"""The load program, an upstream, and a proxy that must not go unnoticed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.loadtool import LoadProgram, build
from bench.processes import Tool
from tests.support import require


@pytest.fixture(scope="session")
def program() -> LoadProgram:
    require(shutil.which("cc"), "there is no C compiler")
    return build()


@pytest.fixture
def upstream(program: LoadProgram) -> Iterator[tuple[Tool, int]]:
    """Give the upstream and its port."""
    with Tool([program.path, "serve"], cores=()) as tool:
        yield tool, tool.answer(10)["port"]


@pytest.fixture
def corrupting_proxy(upstream: tuple[Tool, int]) -> Iterator[int]:
    """Give the port of a proxy for one session that flips a bit of the first echo."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_corrupt, args=(listener, upstream[1]))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def _corrupt(listener: socket.socket, upstream_port: int) -> None:
    near, _ = listener.accept()
    with near, socket.create_connection(("127.0.0.1", upstream_port)) as far:
        for each in (near, far):
            each.settimeout(10)
        far.sendall(near.recv(65536))
        near.sendall(far.recv(65536))
        far.sendall(near.recv(65536))
        echo = bytearray(far.recv(65536))
        echo[-1] ^= 1
        near.sendall(echo)
        with contextlib.suppress(ConnectionResetError):
            near.recv(65536)
