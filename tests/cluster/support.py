"""A real Redis that tests start, end and look into."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import hiredis
from attrs import define, field

from tests.support import Process, RelayProcess, free_port, require_program, started_relay
from tests.system.admin import ADMIN, Admin
from tests.system.support import LOCAL, RawUpstream, Wire, handshake, switching

REDIS = "redis-server"


class RedisServer(Process):
    """A redis-server on a port of the loopback, which keeps nothing when it ends."""

    def __init__(self, port: int, *more: str) -> None:
        self.port = port
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        options += ["--dbfilename", f"none-{port}.rdb"]  # what lies there may be somebody's
        super().__init__([require_program(REDIS), *options, *more], cwd=Path("/tmp"))

    def wait_until_ready(self) -> None:
        """Wait until it takes connections."""
        self.wait_for_words("Ready to accept connections")

    def freeze(self) -> None:
        """Let it do nothing, though the kernel goes on to take what it is sent."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)


@define(eq=False)
class RedisBox:
    """Holds one Redis at a time, always on the same port."""

    port: int = field(factory=free_port)
    more: tuple[str, ...] = ()
    server: RedisServer | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        """Start it, empty."""
        self.server = RedisServer(self.port, *self.more)
        self.server.wait_until_ready()
        return self.server

    def kill(self) -> None:
        """End it at once."""
        assert self.server is not None
        self.server.kill()
        self.server.stop()

    def stop(self) -> None:
        if self.server is not None:
            if self.server.returncode is None:
                self.server.thaw()
            self.server.stop()

    def ask(self, *command: str | bytes | int) -> Any:
        """Send one command, and return the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(hiredis.pack_command(command))
            reader = hiredis.Reader()
            while (answer := reader.gets()) is False:
                data = sock.recv(65536)
                assert data, "Redis has ended the connection"
                reader.feed(data)
        if isinstance(answer, hiredis.ReplyError):
            raise AssertionError(str(answer))
        return answer

    def counts(self, route: str, address: str = "127.0.0.1") -> list[int]:
        """Return what the participants say they have of a client, greatest first."""
        found = self.ask("HVALS", f"wsrelay:count:{route}:{address}")
        return sorted(map(int, found), reverse=True)


@contextmanager
def running_redis(*more: str) -> Iterator[RedisBox]:
    """Run a Redis for as long as the context lasts."""
    box = RedisBox(more=more)
    try:
        box.start()
        yield box
    finally:
        box.stop()
        if box.server is not None:
            print(box.server.log())


def relay_ini(redis: str, routes: Sequence[str], *more: str, cluster: str = "") -> str:
    """Return a relay.ini with one listener, an admin endpoint and a cluster."""
    rows = [
        f"[listener:main]\nendpoint = {LOCAL}\ntrusted_proxies = 127.0.0.1",
        *routes,
        *more,
        ADMIN,
        "[log]\nformat = json",
        f"[cluster]\nredis = {redis}\n{cluster}" if redis else "",
    ]
    return "\n".join(rows) + "\n"


@contextmanager
def several_relays(count: int, text: str, folder: Path) -> Iterator[list[RelayProcess]]:
    """Run so many relays with one relay.ini, each with its own ports."""
    with ExitStack() as stack:
        relays = []
        for number in range(count):
            own = folder / f"relay-{number}"
            own.mkdir()
            relays.append(stack.enter_context(started_relay(text, own)))
        yield relays


def wait_for_cluster(*relays: RelayProcess, start: int = 0) -> None:
    """Wait until relays have found their Redis, for the first time."""
    for relay in relays:
        relay.wait_for_line(
            lambda line: "is there" in line, start=start, what="that Redis is there"
        )


def is_up(relay: RelayProcess) -> bool:
    """Say whether a relay has its Redis, as its metrics say."""
    return Admin.of(relay).metric("wsrelay_cluster_up") == 1


def connected(relay: RelayProcess) -> Wire:
    """Connect to a relay."""
    return Wire(socket.create_connection(("127.0.0.1", relay.ports["main"]), 20))


@define(eq=False)
class Visitor:
    """Comes to relays from an address of its own, and keeps what it gets."""

    upstream: RawUpstream
    address: str = ""
    wires: list[Wire] = field(factory=list, init=False)

    def come(self, relay: RelayProcess, path: bytes) -> int:
        """Try to open a session, and return the status; the upstream takes whoever comes."""
        wire = connected(relay)
        said = [f"X-Forwarded-For: {self.address}".encode()] if self.address else []
        wire.send(handshake(path, *said))
        status = self.status(wire)
        if status == 101:
            self.wires.append(wire)
        else:
            wire.close()
        return status

    def status(self, wire: Wire) -> int:
        """Wait for the answer to a handshake."""
        while not wire.has_data():
            visitor = self.upstream.visitor()
            if visitor is not None:
                self.wires.append(visitor)
                visitor.read_head()
                visitor.send(switching())
        return int(wire.read_head().split(b" ")[1])

    def leave(self) -> None:
        """End all sessions."""
        while self.wires:
            self.wires.pop().close()
