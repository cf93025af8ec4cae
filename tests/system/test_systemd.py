"""Listeners on sockets that systemd passed on."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.peers.certificates import Authority
from tests.support import PROJECT, Process, free_port, require_program, started_relay
from tests.system.launch import MODE
from tests.system.support import RawUpstream, Wire, check_ended, check_log_is_calm, converse

LAUNCH = PROJECT / "tests" / "system" / "launch.py"
ACTIVATED = "systemd:domain=INET:index=0"
UP = "that the relay is up"


def passing_on(*named: str) -> Sequence[str | Path]:
    return [sys.executable, LAUNCH, "systemd", *named, "--"]


def ini(url: str, **listeners: str) -> str:
    """Return a relay.ini with a listener for each endpoint; options may follow, one a line."""
    sections = [f"[listener:{name}]\nendpoint = {said}" for name, said in listeners.items()]
    rest = f"[route:main]\npool = main\n[pool:main]\nupstreams = {url}\n[log]\nformat = json\n"
    return "\n".join([*sections, rest])


def visit(port: int, upstream: RawUpstream) -> None:
    """Check that a session comes through a port of the loopback."""
    converse(Wire(socket.create_connection(("127.0.0.1", port), 20)), upstream)


def test_a_socket_of_systemds_is_listened_on_and_stays_through_reloads(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    port = free_port()
    text = ini(upstream.url, web=ACTIVATED)
    with started_relay(text, tmp_path, passing_on(f"web=127.0.0.1:{port}")) as relay:
        visit(port, upstream)
        assert f"listener web on 127.0.0.1:{port}" in relay.log()
        assert "nothing changed" in relay.hang_up()
        visit(port, upstream)
        changed = text.replace(ACTIVATED, f"{ACTIVATED}\nmax_header_size = 1KiB")
        assert "listener web: max_header_size changed" in relay.reload(changed)
        visit(port, upstream)
        check_log_is_calm(relay.log())


def test_a_socket_that_was_left_alone_for_a_while_is_still_there(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    port, other = free_port(), free_port()
    elsewhere = f"tcp:{other}:interface=127.0.0.1"
    text = ini(upstream.url, web=ACTIVATED)
    with started_relay(text, tmp_path, passing_on(f"web=127.0.0.1:{port}")) as relay:
        for _ in range(2):
            relay.reload(ini(upstream.url, other=elsewhere), f"opened on {elsewhere}")
            visit(other, upstream)
            relay.reload(text, f"opened on {ACTIVATED}")
            visit(port, upstream)
        check_log_is_calm(relay.log())


def test_sockets_are_found_by_name_and_speak_tls_and_unix(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    port, path = free_port(), tmp_path / "r.sock"
    authority = Authority(tmp_path)
    pair = authority.issue("relay.test")
    tls = f"systemd:domain=INET:name=tls\ncertificate = {pair.certificate}\nkey = {pair.key}"
    text = ini(upstream.url, local="systemd:domain=UNIX:name=local", tls=tls)
    launcher = passing_on(f"tls=127.0.0.1:{port}", f"local={path}")
    with started_relay(text, tmp_path, launcher) as relay:
        context = ssl.create_default_context(cafile=authority.certificate())
        sock = socket.create_connection(("127.0.0.1", port), 20)
        head = converse(Wire(context.wrap_socket(sock, server_hostname="relay.test")), upstream)
        assert b"X-Forwarded-Proto: https" in head
        assert b"X-Forwarded-Port: %d" % port in head
        local = socket.socket(socket.AF_UNIX)
        local.connect(str(path))
        converse(Wire(local), upstream)
        assert f"listener local on unix:{path}" in relay.log()
        assert stat.S_IMODE(path.stat().st_mode) == MODE
        relay.terminate()
        check_ended(relay)
    # systemd listens on, and would not make the file anew.
    assert path.is_socket()
    assert stat.S_IMODE(path.stat().st_mode) == MODE


@pytest.mark.parametrize(
    ("endpoint", "named", "words"),
    [
        (ACTIVATED, [], "systemd passed on no socket for systemd:domain=INET:index=0; start it"),
        ("systemd:domain=INET:index=1", ["a=127.0.0.1:0"], "systemd passed on no socket for"),
        ("systemd:domain=INET:name=b", ["a=127.0.0.1:0"], "systemd passed on no socket for"),
        ("systemd:domain=INET6:index=0", ["a=127.0.0.1:0"], "it is of domain=INET"),
        ("systemd:domain=UNIX:index=0", ["a=pair"], "it listens to nobody: Accept=no"),
    ],
)
def test_what_systemd_did_not_pass_on_is_said_in_one_line(
    endpoint: str, named: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "relay.ini").write_text(ini("ws://127.0.0.1:1", web=endpoint))
    script = Path(sys.executable)
    done = subprocess.run(
        [script.with_name("wsrelay"), "check", "relay.ini"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done  # who checks is not started by systemd
    launcher = passing_on(*named) if named else []
    command = [*launcher, script.with_name("twistd"), "-n", "--pidfile=", "wsrelay"]
    with Process([*command, "--config", "relay.ini"], cwd=tmp_path) as relay:
        assert relay.wait() == 1
        assert words in relay.log()
        assert "(listener web)" in relay.log()
        assert "Traceback" not in relay.log()


def test_a_real_socket_activation(upstream: RawUpstream, tmp_path: Path) -> None:
    program = require_program("systemd-socket-activate")
    port = free_port()
    launcher = [program, f"--listen=127.0.0.1:{port}", "--fdname=web"]
    for name in ("PYTHONPATH", "PYTHONUNBUFFERED", "PATH"):
        if name in os.environ or name == "PYTHONUNBUFFERED":
            launcher.append(f"--setenv={name}")
    (tmp_path / "relay.ini").write_text(ini(upstream.url, web="systemd:domain=INET:name=web"))
    twistd = Path(sys.executable).with_name("twistd")
    command = [*launcher, twistd, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
    with Process(command, cwd=tmp_path) as relay:
        relay.wait_for_words("Listening on")
        visit(port, upstream)  # whom it is started for is not lost
        relay.wait_for_line(lambda line: "is up" in line, what=UP)
        visit(port, upstream)
        check_log_is_calm(relay.log())
