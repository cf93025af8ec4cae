"""Everybody comes back at once."""

from __future__ import annotations

import sys
from typing import Any, cast

import pytest
from attrs import define, field

from tests.faults.scene import Scene, Stage
from tests.support import Process, free_port
from tests.system.support import refuses, wait_until

pytestmark = pytest.mark.peers

CLIENTS = 2_000
LONG = 60.0
GROWTH = 12 << 20
"""Bytes, after a first time; after eight more times it is the same."""


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


def kill_upstream(process: Process, port: int) -> Process:
    """End the upstream with all of its sessions, and start another one."""
    process.kill()
    process.stop()
    assert refuses(port)
    again = upstream(port)
    again.wait_for_event(event="listening")
    return again


def all_come_once(scene: Scene) -> None:
    """Let the relay's memory become as large as it takes for so many."""
    flock = Flock(scene.port)
    flock.start()
    flock.is_served()
    flock.leave()


def test_everybody_at_once(stage: Stage) -> None:
    port = free_port()
    process = upstream(port)
    process.wait_for_event(event="listening")
    options = "max_fails = 0\nqueue_timeout = 20s\nqueue_size = 5000"
    with stage.scene(
        f"ws://127.0.0.1:{port}", pool=options, warm_up=all_come_once, growth=GROWTH
    ) as scene:
        flock = Flock(scene.port)
        flock.start()
        flock.is_served()
        scene.harm()
        process = kill_upstream(process, port)
        found = flock.is_served(after=CLIENTS)
        scene.noticed()
        scene.figures.hit = CLIENTS
        assert (found["sessions"], found["refused"]) == (CLIENTS, 0)
        assert found["closes"] == {"1011": CLIENTS}
        assert scene.sessions() == CLIENTS + len(scene.witness.talks)
        flock.leave()
        process.stop()
