"""The file of a unix listener: its mode, whose it is, and who takes it over."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT, Process, started_relay
from tests.system.support import RawUpstream, Wire, check_log_is_calm, converse

LAUNCH = PROJECT / "tests" / "system" / "launch.py"


def ini(url: str, endpoint: str = "unix:r.sock") -> str:
    return (
        f"[listener:main]\nendpoint = {endpoint}\n[route:main]\npool = main\n"
        f"[pool:main]\nupstreams = {url}\n[log]\nformat = json\n"
    )


def visit(path: Path, upstream: RawUpstream) -> None:
    """Check that a session comes through a socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    converse(Wire(sock), upstream)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failing(folder: Path) -> Process:
    """Start a relay that must not come up, and wait until it has ended."""
    twistd = Path(sys.executable).with_name("twistd")
    command = [twistd, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
    with Process(command, cwd=folder) as relay:
        assert relay.wait() == 1
    assert "Traceback" not in relay.log()
    return relay


@pytest.mark.parametrize(
    ("words", "mode"), [("", 0o666), (":mode=660", 0o660), (":mode=0600", 0o600)]
)
def test_the_mode_is_what_relay_ini_says_whatever_the_umask(
    words: str, mode: int, upstream: RawUpstream, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        with started_relay(ini(upstream.url, f"unix:r.sock{words}"), tmp_path) as relay:
            assert mode_of(tmp_path / "r.sock") == mode
            assert f"listener main on unix:{tmp_path / 'r.sock'}" in relay.log()
            visit(tmp_path / "r.sock", upstream)
    finally:
        os.umask(before)


def test_a_reload_changes_the_mode(upstream: RawUpstream, tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with started_relay(ini(upstream.url, "unix:r.sock:mode=600"), tmp_path) as relay:
        for mode in ("660", "600"):
            relay.reload(ini(upstream.url, f"unix:r.sock:mode={mode}"), f"mode={mode}")
            assert mode_of(path) == int(mode, 8)
            visit(path, upstream)
        check_log_is_calm(relay.log())


def test_the_socket_of_a_relay_that_was_killed_is_taken_over(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "r.sock"
    with started_relay(ini(upstream.url), tmp_path) as relay:
        relay.kill()
    assert path.is_socket()
    with started_relay(ini(upstream.url, "unix:r.sock:mode=640"), tmp_path):
        assert mode_of(path) == 0o640
        visit(path, upstream)
    assert not path.exists()


def test_so_is_that_of_one_with_the_same_process_id(upstream: RawUpstream, tmp_path: Path) -> None:
    """In a container that was killed and starts again, every relay is process 1."""
    path = tmp_path / "r.sock"
    launcher = [sys.executable, LAUNCH, "former", path, "--"]
    with started_relay(ini(upstream.url), tmp_path, launcher):
        visit(path, upstream)


def test_the_socket_of_a_relay_that_runs_is_its_own(upstream: RawUpstream, tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with started_relay(ini(upstream.url), tmp_path):
        other = failing(tmp_path)
        where = f"unix:{path}: its .lock belongs to a process that runs (listener main)"
        assert f"cannot listen on {where}" in other.log()
        visit(path, upstream)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    path.write_text("dear diary")
    (tmp_path / "relay.ini").write_text(ini("ws://127.0.0.1:1"))
    relay = failing(tmp_path)
    assert f"cannot listen on unix:{path}: Address already in use (listener main)" in relay.log()
    assert path.read_text() == "dear diary"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "relay.ini").write_text(ini("ws://127.0.0.1:1", "unix:run/r.sock"))
    where = f"unix:{tmp_path}/run/r.sock: there is no such folder; make it first (listener main)"
    assert f"cannot listen on {where}" in failing(tmp_path).log()


@pytest.mark.parametrize("mode", ["999", "rw"])
def test_a_bad_mode_is_found_before_the_start(mode: str, tmp_path: Path) -> None:
    (tmp_path / "relay.ini").write_text(ini("ws://127.0.0.1:1", f"unix:r.sock:mode={mode}"))
    wsrelay = Path(sys.executable).with_name("wsrelay")
    done = subprocess.run(
        [wsrelay, "check", "relay.ini"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout + done.stderr == (
        f"relay.ini:2: [listener:main] endpoint: 'mode={mode}' makes no sense;"
        " expected three digits from 0 to 7, as chmod has them: mode=660\n"
    )
