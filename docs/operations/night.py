"""The processes of docs/operations.rst: upstreams, clients and a relay."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from operations.certificate import write_certificate
from operations.scene import PATIENCE, PROGRAMS, Scene

HERE: Final = Path(__file__).resolve().parent

UPSTREAMS: Final = {"a": 3001, "b": 3002, "c": 3003, "d": 3004, "feed-1": 3010}
CLIENTS: Final = 8080


class Night(Scene):
    """A night with a relay that is steered by a token."""

    def __init__(self, folder: Path, any_ports: bool) -> None:
        super().__init__(folder, any_ports)
        (folder / "admin.token").write_text(f"{self._token}\n")
        (folder / "relay.ini").write_text(self.fill((HERE / "relay.ini").read_text()))
        write_certificate(folder / "chat.pem", issuer="Example CA 1")

    def steps(self) -> dict[str, Callable[..., None]]:
        """Return what the first word of a step stands for."""
        return super().steps() | {
            "start": self._start,
            "begin": self._begin,
            "kill": self._kill,
            "stop": self._stop,
            "tell": self._tell,
            "renew": self._renew,
            "find": self._find,
        }

    # processes

    def _start(self, *names: str) -> None:
        """Start upstreams and wait until they listen."""
        ports = {name: self._port(str(UPSTREAMS[name])) for name in names}
        for name, port in ports.items():
            self._launch(name, sys.executable, HERE / "upstream.py", port)
        for name, port in ports.items():
            self._wait(f"that {name} listens", partial(_accepts, int(port)))

    def _begin(self) -> None:
        """Start the relay and the clients."""
        self._launch("relay", PROGRAMS / "twistd", "-n", "wsrelay", "--config", "relay.ini")
        log = self._folder / "relay.log"
        self._wait("that the relay is up", lambda: "is up;" in log.read_text())
        self._launch("clients", sys.executable, HERE / "clients.py", self._port(str(CLIENTS)))

    def _kill(self, name: str) -> None:
        """End a process as kill -9 and the kernel do."""
        self._signal(name, signal.SIGKILL)

    def _stop(self, name: str) -> None:
        """End a process as an init system does."""
        self._signal(name, signal.SIGTERM)

    # clients

    def _tell(self, *words: str) -> None:
        """Give the clients an order; see clients.py."""
        orders = self._running["clients"].stdin
        assert orders is not None
        print(*words, file=orders, flush=True)

    def _find(self, name: str, client: str, messages: str) -> None:
        """Let *name* stand for the session of a client that has had so many answers."""

        def found() -> bool:
            sessions = self._ask(f"/api/sessions?client={client}")["sessions"]
            self._names[name] = sessions[0]["id"] if sessions else ""
            return [each["messages_down"] for each in sessions] == [int(messages)]

        self._wait(f"{messages} answers to {client}", found)

    def _renew(self) -> None:
        """Put a new certificate into the old one's place."""
        write_certificate(self._folder / "chat.pem", issuer="Example CA 2")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except OSError:
        return False
    return True
