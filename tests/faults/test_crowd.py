"""Everybody comes back at once."""

from __future__ import annotations

import sys
from typing import Any, cast

import pytest
from attrs import define, field

from tests.faults.scene import Stage
from tests.support import Process, free_port
from tests.system.support import refuses, wait_until

pytestmark = pytest.mark.peers

CLIENTS = 2_000
LONG = 60.0


@define(eq=False)
class Flock:
    """The clients of `tests.faults.flock`."""

    port: int
    process: Process = field(init=False)
    _asked: int = field(default=0, init=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.flock", "clients"]
        self.process = Process([*command, "--port", str(self.port), "--count", str(CLIENTS)])

    def ask(self, word: str = "") -> dict[str, Any]:
        self.process.write_line(word)
        self._asked, found = self.process.wait_for_event(self._asked, event="flock")
        self._asked += 1
        return found

    def is_served(self, after: int = 0) -> dict[str, Any]:
        """Wait until everybody has a session, when so many have ended; return what there is."""

        def look() -> dict[str, Any] | None:
            found = self.ask()
            return found if found["served"] == CLIENTS and found["sessions"] >= after else None

        return cast(dict[str, Any], wait_until(look, "a session for everybody", LONG))

    def leave(self) -> None:
        self.ask("leave")
        wait_until(lambda: not self.ask()["served"], "the end of all sessions", LONG)
        assert not self.ask()["wrong"]
        self.process.stop()


def upstream(port: int) -> Process:
    command = [sys.executable, "-m", "tests.faults.flock", "upstream", "--port", str(port)]
    return Process(command)


def kill_upstream(flock: Flock, process: Process, port: int) -> Process:
    """End the upstream with all of its sessions, and start another one."""
    process.kill()
    process.stop()
    assert refuses(port)
    again = upstream(port)
    again.wait_for_event(event="listening")
    return again


def test_everybody_at_once(stage: Stage) -> None:
    port = free_port()
    process = upstream(port)
    process.wait_for_event(event="listening")
    options = "max_fails = 0\nqueue_timeout = 20s\nqueue_size = 5000"
    with stage.scene(f"ws://127.0.0.1:{port}", pool=options, growth=24 << 20) as scene:
        flock = Flock(scene.port)
        flock.start()
        flock.is_served()
        scene.harm()
        process = kill_upstream(flock, process, port)
        found = flock.is_served(after=CLIENTS)
        scene.noticed()
        scene.figures.hit = CLIENTS
        assert found["closes"] == {"1011": CLIENTS}
        assert found["sessions"] == CLIENTS
        assert scene.sessions() == CLIENTS + len(scene.witness.talks)
        flock.leave()
        process.stop()
