"""What the relay's own machine may do to it: a full disk, no descriptors, another time of day."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from soak.talk import Manner
from tests.faults.scene import Scene, Stage
from tests.faults.upstream import Upstream
from tests.faults.witness import QUIET
from tests.system.support import Wire, wait_until

pytestmark = pytest.mark.peers

HOUR = 3600.0


@define(eq=False)
class Disk:
    """
    A disk that is filled to the last byte, and freed again.

    Root gets a small one of its own; for others the files in the folder cannot grow any more.
    """

    folder: Path
    _is_own: bool = field(init=False)
    _limits: tuple[int, int] = field(init=False)

    def mount(self) -> None:
        self.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True) if shutil.which("mount") else None
        self._is_own = done is not None and done.returncode == 0
        assert self._is_own or os.geteuid() or not os.environ.get("CI"), done

    def unmount(self) -> None:
        if self._is_own:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self, pid: int) -> None:
        if self._is_own:
            filler = self.folder / "filler"
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            return
        self._limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, self._limits[1]))

    def free(self, pid: int) -> None:
        if self._is_own:
            (self.folder / "filler").unlink()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, self._limits)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    given = Disk(tmp_path / "disk")
    given.mount()
    yield given
    given.unmount()


def come_and_go(scene: Scene, count: int = 10) -> None:
    """Have sessions that begin and end."""
    talks = scene.victims.join(count, QUIET, most=3)
    wait_until(lambda: all(each.code == 1000 for each in talks), "the end of these sessions")


def complains_after_a_session(scene: Scene) -> bool:
    come_and_go(scene, 1)
    return "cannot write the access log" in scene.relay.log()


def test_disk_full(stage: Stage, disk: Disk) -> None:
    logs = disk.folder / "access.log", disk.folder / "service.log"
    with stage.scene(Upstream("a"), access=logs[0], log=logs[1]) as scene:
        come_and_go(scene)
        wait_until(lambda: len(scene.records("end")) >= 10, "records of these sessions")
        scene.harm()
        disk.fill(scene.relay.pid)
        # A page that has been begun may still be filled.
        wait_until(lambda: complains_after_a_session(scene), "a word about the disk")
        scene.noticed()
        scene.relay.hang_up()
        come_and_go(scene)
        assert scene.relay.log().count("cannot write the access log") <= 2  # reopened: once more
        disk.free(scene.relay.pid)
        full = len(scene.records("end"))
        come_and_go(scene)
        wait_until(lambda: len(scene.records("end")) >= full + 10, "records again")
        size = logs[1].stat().st_size
        scene.relay.hang_up()
        wait_until(lambda: logs[1].stat().st_size > size, "the service's log again")


def test_descriptors_exhausted(stage: Stage) -> None:
    manner = Manner("brief", pause=0.1)
    with stage.scene(Upstream("a"), nofile=64) as scene:
        scene.harm()
        tries = scene.victims.insist(40, manner, most=6)
        wait_until(lambda: all(each.done() for each in tries), "sessions for everybody", 60)
        scene.noticed()
        assert {each.exception() for each in tries} == {None}
        scene.figures.hit = sum(each.result() > 1 for each in tries)
        talks = scene.victims.talks
        assert sum(each.code == 1000 for each in talks) == len(tries)
        # Who had a session kept it; the others were told, or cut off before they had one.
        scene.were_refused([each for each in talks if each.code is None])
        come_and_go(scene)


def half_a_request(scene: Scene) -> Wire:
    client = Wire(socket.create_connection(("127.0.0.1", scene.port)))
    client.send(b"GET / HTTP/1.1\r\n")
    return client


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR], ids=["ahead", "back"])
def test_clock_set(stage: Stage, jump: float) -> None:
    route = "keepalive = 1s\nkeepalive_timeout = 10s\nidle_timeout = 1h"
    with stage.scene(Upstream("a"), route=route, listener="handshake_timeout = 3s") as scene:
        scene.settle()
        early = half_a_request(scene)
        scene.probe.jump(jump)
        late = half_a_request(scene)
        pings = answered_pings(scene)
        wait_until(lambda: answered_pings(scene) >= pings + 80, "two pings of each leg")
        for each in (early, late):
            assert each.read_head().startswith(b"HTTP/1.1 408 ")
            each.wait_until_gone()
            each.close()
        come_and_go(scene)
        assert 0 <= scene.status()["uptime_s"] < HOUR


def answered_pings(scene: Scene) -> float:
    """Count what came back to the relay."""
    return sum(
        value
        for (name, labels), value in scene.admin.metrics().items()
        if name == "wsrelay_pings_total" and ("result", "answered") in labels
    )
