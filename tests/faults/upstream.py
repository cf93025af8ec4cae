"""The upstreams of a scene."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from attrs import define, field

from tests.support import Process, free_port


@define(eq=False)
class Upstream:
    """
    An upstream of `soak.upstream` in a process of its own.

    :ivar place: where it is started, which is left again at once.
    """

    name: str
    host: str = "127.0.0.1"
    place: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    port: int = field(factory=free_port)
    process: Process = field(init=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "soak.upstream", "--name", self.name]
        with self.place():
            self.process = Process([*command, "--host", self.host, "--port", str(self.port)])

    def is_ready(self) -> None:
        self.process.wait_for_event(event="listening")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def come_back(self) -> None:
        """Start anew, on the same port."""
        self.process.stop()
        self.start()
        self.is_ready()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        self.process.stop()

    @property
    def row(self) -> str:
        return f"ws://{self.host}:{self.port} name={self.name}"
