"""deploy/systemd/wsrelay.socket: systemd takes it, and what it passes on is what relay.ini says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from tests.deploy.support import DEPLOY
from tests.support import Process, free_port, require_program
from tests.test_readme import assert_it_echoes, echo_upstream

SOCKET = DEPLOY / "systemd" / "wsrelay.socket"


def settings() -> ConfigParser:
    parser = ConfigParser(interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(SOCKET, "utf-8")
    return parser


def shown_endpoint() -> str:
    (endpoint,) = re.findall(r"(?m)^#\s+endpoint = (.*)$", SOCKET.read_text("utf-8"))
    found: str = endpoint
    return found


def test_the_unit_is_one_for_systemd() -> None:
    analyze = require_program("systemd-analyze")
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(SOCKET)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    about_it = [line for line in done.stderr.splitlines() if "wsrelay.socket" in line]
    assert about_it == []


def test_the_relay_is_let_to_accept_by_itself() -> None:
    assert settings()["Socket"]["Accept"] == "no"
    assert shown_endpoint() == "systemd:domain=INET6:name=public"  # a bare port is IPv6's, and both
    assert settings()["Socket"]["ListenStream"].isdigit()
    assert settings()["Socket"]["BindIPv6Only"] == "both"


def test_a_relay_that_is_started_so_serves_both_families(tmp_path: Path) -> None:
    program = require_program("systemd-socket-activate")
    port = free_port()
    passed = [f"--listen={port}", f"--fdname={settings()['Socket']['FileDescriptorName']}"]
    kept = [f"--setenv={name}" for name in ("PATH", "PYTHONPATH") if name in os.environ]
    twistd = Path(sys.executable).with_name("twistd")
    relay = [twistd, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
    with echo_upstream() as upstream:
        (tmp_path / "relay.ini").write_text(
            f"[listener:public]\nendpoint = {shown_endpoint()}\n[route:all]\npool = all\n"
            f"[pool:all]\nupstreams = ws://127.0.0.1:{upstream}\n"
        )
        with Process([program, *passed, *kept, *relay], cwd=tmp_path) as running:
            running.wait_for_words("Listening on")
            assert_it_echoes(f"ws://127.0.0.1:{port}")
            assert_it_echoes(f"ws://[::1]:{port}")
