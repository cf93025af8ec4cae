"""A relay with the rights that deploy/systemd/wsrelay.service leaves it, and that unit."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PROJECT, RelayProcess, require_program, started_relay
from tests.system.support import LOCAL, RawUpstream, Stage
from wsrelay.config.model import RelayConfig
from wsrelay.relay.pumps import why_not_native

UNIT = PROJECT / "deploy" / "systemd" / "wsrelay.service"
LAUNCHER = (sys.executable, PROJECT / "tests" / "system" / "launch.py", "restricted", "--")
CAN_BIND = 1 << 10

PUMPS = ["python"] if why_not_native() else ["native", "python"]


def low_port() -> int:
    """Return a free port that only root may listen on, or an ordinary one for who is not."""
    if os.geteuid() != 0:
        return 0
    for port in range(1023, 900, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port below 1024 is free")


@pytest.fixture(params=PUMPS)
def relay(
    request: pytest.FixtureRequest, upstream: RawUpstream, tmp_path: Path
) -> Iterator[RelayProcess]:
    port = low_port()
    text = f"""
[relay]
data_path = {request.param}
[listener:web]
endpoint = {LOCAL}
[listener:low]
endpoint = {LOCAL.replace("tcp:0", f"tcp:{port}")}
[route:all]
pool = all
[pool:all]
upstreams = {upstream.url}
[log]
access = access.log
"""
    with started_relay(text, tmp_path, LAUNCHER) as started:
        if port:
            started.wait_for_port(port)
        yield started


def status_of(process: RelayProcess) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_a_relay_needs_no_rights_but_low_ports(relay: RelayProcess, stage: Stage) -> None:
    status = status_of(relay)
    assert int(status["CapEff"], 16) & ~CAN_BIND == 0
    assert status["NoNewPrivs"] == "1"
    stage.works()
    assert "nothing changed" in relay.hang_up()
    stage.works()
    assert (relay.file.parent / "access.log").read_text("utf-8").count(" open ") == 2


def section(name: str) -> dict[str, list[str]]:
    """Return a section of the unit: names may stand there more than once."""
    found: dict[str, list[str]] = {}
    text = UNIT.read_text("utf-8").partition(f"[{name}]\n")[2]
    for line in text.splitlines():
        if line.startswith("["):
            break
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_gives_the_relay_time_to_drain() -> None:
    (seconds,) = section("Service")["TimeoutStopSec"]
    drain = RelayConfig((), (), ()).drain_timeout
    assert int(seconds) > drain + 5.0  # and close_timeout


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    """Names and values are right; that /opt/wsrelay is not there is another matter."""
    analyze = require_program("systemd-analyze")
    text = re.sub(r"(?m)^(Exec\w+=)\S+", r"\1/bin/true", UNIT.read_text("utf-8"))
    unit = tmp_path / "wsrelay.service"
    unit.write_text(text, "utf-8")
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    about_it = [line for line in done.stderr.splitlines() if "wsrelay.service" in line]
    assert about_it == []


def test_the_exposure_on_the_page_is_what_systemd_says() -> None:
    analyze = require_program("systemd-analyze")
    command = [analyze, "security", "--offline=yes", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = re.search(r"exposure level for wsrelay\.service: ([\d.]+) (\w+)", done.stdout)
    assert said is not None, done.stderr
    page = (PROJECT / "docs" / "security.rst").read_text("utf-8")
    [shown] = re.findall(r"calls it ([\d.]+),", page)
    assert abs(float(said[1]) - float(shown)) <= 0.3  # versions of systemd weigh differently
