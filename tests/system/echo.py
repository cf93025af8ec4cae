"""Echoing upstreams in processes of their own, which end and come back as a test says."""

from __future__ import annotations

import os
import signal

from attrs import define, field

from tests.peers.upstreams import own_url, start_upstream
from tests.support import Process, free_port
from tests.system.support import refuses


@define(eq=False)
class Echo:
    """An echoing upstream in a process of its own, which may come back on the same port."""

    port: int = field(factory=free_port)
    process: Process = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = start_upstream("websockets", "--port", str(self.port))
        own_url(self.process)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self, number: signal.Signals) -> None:
        """End it, and wait until nobody listens there any more."""
        self.signal(number)
        self.process.wait()
        assert refuses(self.port)
        self.process.stop()
