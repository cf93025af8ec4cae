"""The relay of a run, and the upstreams behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any, Final, Self

from attrs import define, field

from bench.certificate import write_certificate
from bench.processes import Child, free_port, resident_bytes
from wsrelay.config import Checks, load

__all__ = ["RelayUnderTest", "UpstreamUnderTest", "open_descriptors"]

PROJECT: Final = Path(__file__).resolve().parent.parent

INI: Final = """\
[relay]
drain_timeout = 1s
data_path = {data_path}

[listener:plain]
endpoint = tcp:{plain}:interface=127.0.0.1

[listener:tls]
endpoint = tcp:{tls}:interface=127.0.0.1
certificate = certificate.pem

[route:main]
pool = main
keepalive = {keepalive}
keepalive_timeout = 10s

[pool:main]
max_fails = 1
fail_timeout = 1s
upstreams =
{upstreams}

[admin]
listen = tcp:{admin}:interface=127.0.0.1

[log]
access = access.log
format = json
"""


def open_descriptors(pid: int) -> int:
    """
    Count the open descriptors of a process, but for pipes.

    The native pump keeps the pipes that it has used, 32 at most, for the next long payloads.
    """
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += not os.readlink(each).startswith("pipe:")
    return count


@define(eq=False)
class UpstreamUnderTest:
    """An upstream in a process of its own, which comes back on the same port."""

    name: str
    folder: Path
    port: int = field(factory=free_port)
    _child: Child = field(init=False)

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "soak.upstream", "--name", self.name]
        self._child = Child(
            [*command, "--port", str(self.port)],
            cores=(),
            cwd=PROJECT,
            log=self.folder / f"{self.name}.log",
        )
        self._child.wait_for_port(self.port)
        return self

    def kill(self) -> None:
        """End it at once, with all that it has."""
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop()

    def stop(self) -> None:
        """End it; it says so to its clients first."""
        self._child.stop()


@define(eq=False)
class RelayUnderTest:
    """
    ``twistd wsrelay`` in a process of its own.

    :ivar upstreams: name -> port.
    """

    folder: Path
    upstreams: dict[str, int]
    data_path: str = "auto"
    ports: dict[str, int] = field(init=False)
    _child: Child = field(init=False)

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        write_certificate(self.folder)
        self.ports = {name: free_port() for name in ("plain", "tls", "admin")}
        self.write(weight=1, keepalive="3s")
        twistd = Path(sys.executable).with_name("twistd")
        self._child = Child(
            [twistd, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"],
            cores=(),
            cwd=self.folder,
            log=self.folder / "relay.log",
            env={"PYTHONPATH": str(PROJECT)},
        )
        for port in self.ports.values():
            self._child.wait_for_port(port)
        return self

    def write(self, *, weight: int, keepalive: str) -> None:
        """Write relay.ini; the first upstream has that *weight*."""
        rows = [f"    ws://127.0.0.1:{port} name={name}" for name, port in self.upstreams.items()]
        rows[0] += f" weight={weight}"
        text = INI.format(
            data_path=self.data_path,
            keepalive=keepalive,
            upstreams="\n".join(rows),
            **self.ports,
        )
        file = self.folder / "relay.ini"
        file.write_text(text, "utf-8")
        load(str(file), os.environ, Checks())

    def hang_up(self) -> None:
        """Have it read relay.ini again."""
        os.kill(self._child.pid, signal.SIGHUP)

    def stop(self) -> None:
        """End it."""
        self._child.stop()

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._child.log.read_text("utf-8", "replace")

    def url(self, *, tls: bool) -> str:
        """Return where clients connect to."""
        scheme, name = ("wss", "tls") if tls else ("ws", "plain")
        return f"{scheme}://127.0.0.1:{self.ports[name]}/"

    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to trust it."""
        return ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))

    def status(self) -> dict[str, Any]:
        """Return what its status page says."""
        return self.held()[0]

    def held(self) -> tuple[dict[str, Any], int]:
        """
        Return what its status page says, and count its open descriptors; see `open_descriptors`.

        Whoever answers has started, with all that it opens for that; and by its second answer
        it has closed what others closed before.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=20)
        try:
            for _ in range(2):
                connection.request("GET", "/status.json")
                found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found, open_descriptors(self._child.pid) - 1  # the one of this connection
        finally:
            connection.close()

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return resident_bytes(self._child.pid)
