"""Starting, draining, signals, and the options of twistd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.certificates import Authority
from tests.support import PATIENCE, Process, free_port, started_relay
from tests.system.support import (
    BINARY,
    RawUpstream,
    Stage,
    Wire,
    answer_close,
    check_ended,
    check_own_answer,
    end_normally,
    fd_count,
    frame_head,
    handshake,
    ini,
    masked,
    read_answer,
    read_data,
    refuses,
    switching,
    wait_until,
)

TWISTD = Path(sys.executable).with_name("twistd")


@pytest.fixture
def drained(upstream: RawUpstream, tmp_path: Path) -> Iterator[Stage]:
    """Give a relay of the test's own, which closes its sessions at once when it drains."""
    config = ini(upstream.url, relay="drain_timeout = 0s", route="close_timeout = 2s")
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        yield stage
        stage.close()


def test_sigterm_closes_with_1012_and_exits(drained: Stage) -> None:
    pairs = [drained.begin() for _ in range(20)]
    drained.relay.terminate()
    for client, upstream in pairs:
        answer_close(client, upstream)
    check_ended(drained.relay)
    assert drained.relay.log().count('"initiator":"relay:drain"') == 20
    assert "Traceback" not in drained.relay.log()


def test_sigint_drains_too(drained: Stage) -> None:
    client, upstream = drained.begin()
    os.kill(drained.relay.pid, signal.SIGINT)
    answer_close(client, upstream)
    check_ended(drained.relay)


def test_without_sessions_sigterm_ends_at_once(upstream: RawUpstream, tmp_path: Path) -> None:
    with started_relay(ini(upstream.url, relay="drain_timeout = 1h"), tmp_path) as relay:
        idle = socket.create_connection(("127.0.0.1", relay.ports["main"]))
        relay.terminate()
        check_ended(relay)
        idle.close()


def test_a_streamed_frame_ends_before_the_close_comes(drained: Stage) -> None:
    client, upstream = drained.begin()
    size = 200_000
    upstream.send(frame_head(0x80 | BINARY, size) + b"s" * 100_000)
    client.read(10 + 100_000)
    drained.relay.terminate()
    assert read_data(upstream).close_code == 1012
    upstream.send(b"s" * 100_000)
    assert client.read(100_000) == b"s" * 100_000
    assert read_data(client).close_code == 1012
    client.close()
    upstream.close()
    check_ended(drained.relay)


def test_peers_that_ignore_the_close_are_dropped_in_time(drained: Stage) -> None:
    client, upstream = drained.begin()
    drained.relay.terminate()
    check_ended(drained.relay)
    client.wait_until_gone()
    upstream.wait_until_gone()


def test_nobody_new_is_let_in_while_it_drains(upstream: RawUpstream, tmp_path: Path) -> None:
    config = ini(upstream.url, relay="drain_timeout = 1h", route="drain_close_code = 4012")
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [stage.begin() for _ in range(2)]
        pending = stage.ask()
        pending_upstream = stage.accept()
        descriptors = fd_count(relay.pid)
        idle = stage.connect()
        idle.send(handshake()[:10])
        wait_until(lambda: fd_count(relay.pid) > descriptors, "the relay to accept")
        relay.terminate()
        wait_until(lambda: refuses(relay.ports["main"]), "the end of the listener")
        answer = read_answer(pending)
        check_own_answer(answer, 503)
        assert answer.get(b"Retry-After")
        pending_upstream.wait_until_gone()
        idle.send(handshake()[10:])
        check_own_answer(read_answer(idle), 503)
        first = wait_until(
            lambda: next((p for p in pairs if p[0].has_data()), None), "the first close"
        )
        assert first[0].read_frame().close_code == 4012
        (other,) = [pair for pair in pairs if pair is not first]
        other[0].send(masked(BINARY, b"still served"))  # its turn is half an hour away
        assert read_data(other[1]).payload == b"still served"
        assert relay.returncode is None
        relay.terminate()
        check_ended(relay)
        other[0].wait_until_gone()
        stage.close()
    assert "Traceback" not in relay.log()


def test_closes_are_spread_over_the_drain_timeout(upstream: RawUpstream, tmp_path: Path) -> None:
    with started_relay(ini(upstream.url, relay="drain_timeout = 2s"), tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [stage.begin() for _ in range(20)]
        began = time.monotonic()
        relay.terminate()
        seen: dict[int, float] = {}
        while len(seen) < len(pairs):
            for index, (client, upstream_wire) in enumerate(pairs):
                if index not in seen and client.has_data():
                    seen[index] = time.monotonic() - began
                    answer_close(client, upstream_wire)
            assert time.monotonic() - began < PATIENCE
        check_ended(relay)
        stage.close()
    times = sorted(seen.values())
    # However slow the machine: the relay may be late with a close, but none comes early.
    for place, when in enumerate(times):
        assert when >= place * 2 / 20 - 0.15
    assert list(seen) != sorted(seen)  # in random order


def test_sigterm_through_tls(upstream: RawUpstream, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, ca = authority.issue("relay.test"), authority.certificate()
    config = ini(
        upstream.url,
        relay="drain_timeout = 0s",
        listener=f"certificate = {pair.certificate}\nkey = {pair.key}",
    )
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        plain = stage.connect()
        context = ssl.create_default_context(cafile=str(ca))
        client = stage.keep(Wire(context.wrap_socket(plain.sock, server_hostname="relay.test")))
        client.send(handshake())
        other = stage.accept()
        other.read_head()
        other.send(switching())
        client.read_head()
        relay.terminate()
        answer_close(client, other)
        check_ended(relay)
        stage.close()
    assert "Traceback" not in relay.log()


def test_a_client_that_does_not_end_its_tls_holds_nobody_up(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    """Many clients look at a kept connection only when they have something to ask."""
    authority = Authority(tmp_path)
    pair, ca = authority.issue("relay.test"), authority.certificate()
    config = ini(
        upstream.url,
        relay="drain_timeout = 1h",
        listener=f"certificate = {pair.certificate}\nkey = {pair.key}",
    ).replace("http = no", "")
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        context = ssl.create_default_context(cafile=str(ca))
        plain = stage.connect()
        client = stage.keep(Wire(context.wrap_socket(plain.sock, server_hostname="relay.test")))
        client.send(b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n")
        answering = stage.accept()
        answering.read_head()
        relay.terminate()
        wait_until(lambda: refuses(relay.ports["main"]), "that the relay stops")
        answering.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast")
        assert b"Connection: close" in client.read_head()
        assert client.read(4) == b"last"
        check_ended(relay)
        stage.close()


def test_sighup_reopens_the_access_log(upstream: RawUpstream, tmp_path: Path) -> None:
    config = ini(upstream.url, log="format = json\naccess = access.log")
    file, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        end_normally(*stage.begin(b"/one"))
        wait_until(lambda: file.read_text().count("\n") == 2, "two lines")
        descriptors = fd_count(relay.pid)
        file.rename(old)
        for _ in range(5):
            os.kill(relay.pid, signal.SIGHUP)
            wait_until(file.exists, "a new file")
        client, other = stage.begin(b"/two")
        end_normally(client, other)
        wait_until(lambda: file.read_text().count("\n") == 2, "two lines in the new file")
        assert "/two" not in old.read_text()
        assert "/one" not in file.read_text()
        wait_until(lambda: fd_count(relay.pid) <= descriptors, "no more descriptors than before")
        stage.close()


def run_twistd(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(TWISTD), *map(str, words)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_bad_configuration_exits_1_with_a_line_for_each_error(tmp_path: Path) -> None:
    bad = "[relay]\nlisten = tcp:0\nupstream = ws://127.0.0.1:1\nworkerz = 1\nworkers = many\n"
    (tmp_path / "relay.ini").write_text(bad + "[pool:x]\nbalancer = none\n")
    done = run_twistd(tmp_path, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini")
    assert done.returncode == 1
    said = (done.stdout + done.stderr).splitlines()
    places = [row.partition(" ")[0] for row in said]
    assert "relay.ini:4:" in places
    assert "relay.ini:5:" in places
    assert "Traceback" not in done.stdout + done.stderr
    assert all(row.startswith("relay.ini:") for row in said)


@pytest.mark.parametrize("content", [None, "", "nonsense", "[relay\n", "\0"])
def test_a_file_that_is_none_exits_1_without_traceback(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "relay.ini").write_text(content)
    done = run_twistd(tmp_path, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini")
    assert done.returncode == 1
    assert "relay.ini" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_a_clear_line(upstream: RawUpstream, tmp_path: Path) -> None:
    text = ini("ws://127.0.0.1:1").replace("tcp:0", f"tcp:{upstream.port}")
    (tmp_path / "relay.ini").write_text(text)
    done = run_twistd(tmp_path, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"127.0.0.1:{upstream.port}" in said
    assert "in use" in said
    assert "Traceback" not in said


def test_a_daemon_that_cannot_listen_says_so_and_leaves_nothing(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    text = ini("ws://127.0.0.1:1").replace("tcp:0", f"tcp:{upstream.port}")
    (tmp_path / "relay.ini").write_text(text)
    options = ("--pidfile=relay.pid", "--logfile=relay.log")
    done = run_twistd(tmp_path, *options, "wsrelay", "--config", "relay.ini")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"cannot listen on 127.0.0.1:{upstream.port}: Address already in use" in said
    assert not (tmp_path / "relay.pid").exists()


def test_a_file_without_its_option_is_told_which(tmp_path: Path) -> None:
    done = run_twistd(tmp_path, "-n", "wsrelay", "relay.ini")
    assert done.returncode == 1
    assert "'relay.ini' belongs to no option; say --config relay.ini." in done.stdout + done.stderr


def test_a_socket_that_cannot_be_made_is_named_and_the_pid_file_goes(tmp_path: Path) -> None:
    options = ("-n", "--pidfile=relay.pid", "wsrelay")
    what = ("--listen", "unix:/nonexistent/r.sock", "--upstream", "ws://127.0.0.1:1")
    done = run_twistd(tmp_path, *options, *what)
    assert done.returncode == 1
    said = done.stdout + done.stderr  # twistd's own log has taken standard error by then
    where = "unix:/nonexistent/r.sock: there is no such folder; make it first (listener default)"
    assert f"wsrelay: cannot listen on {where}" in said
    assert "(listener default)" in said
    assert "/nonexistent/r.sock" in said
    assert "Traceback" not in said
    assert not (tmp_path / "relay.pid").exists()


def test_nobody_reads_standard_output_any_more(upstream: RawUpstream, tmp_path: Path) -> None:
    port = free_port()
    text = ini(upstream.url, relay="drain_timeout = 0s").replace("tcp:0", f"tcp:{port}")
    (tmp_path / "relay.ini").write_text(text)
    command = [TWISTD, "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
    relay = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: not refuses(port), "the listening port")
        assert relay.stdout is not None
        relay.stdout.close()
        for _ in range(3):
            client, other = _session(upstream, port)
            client.send(masked(BINARY, b"still here?"))
            assert read_data(other).payload == b"still here?"
            end_normally(client, other)
            client.close()
            other.close()
        with contextlib.closing(Wire(socket.create_connection(("127.0.0.1", port)))) as bad:
            bad.send(b"GET / HTTP/1.1\r\n\r\n")
            check_own_answer(read_answer(bad), 400)
        relay.terminate()
        assert relay.wait(PATIENCE) in (0, 1, -signal.SIGTERM)
    finally:
        relay.kill()
        relay.wait()


def _ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or "State:\tZ" in _status(pid)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "State:\tZ"


def _daemon(
    folder: Path, upstream: RawUpstream, *options: str
) -> tuple[int, int, subprocess.CompletedProcess[str]]:
    """Start a daemonized relay and return its pid and port."""
    port = free_port()
    text = ini(upstream.url, relay="drain_timeout = 0s").replace("tcp:0", f"tcp:{port}")
    (folder / "relay.ini").write_text(text)
    done = run_twistd(
        folder, "--pidfile=relay.pid", "--logfile=relay.log", *options, "wsrelay", "-c", "relay.ini"
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not refuses(port), "the listening port")
    return int((folder / "relay.pid").read_text()), port, done


def _session(upstream: RawUpstream, port: int) -> tuple[Wire, Wire]:
    upstream.is_alone()
    client = Wire(socket.create_connection(("127.0.0.1", port)))
    client.send(handshake())
    other = upstream.accept()
    other.read_head()
    other.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client, other


def test_daemonized_with_pidfile_and_logfile(upstream: RawUpstream, tmp_path: Path) -> None:
    pid, port, done = _daemon(tmp_path, upstream)
    try:
        assert done.stdout == ""
        client, other = _session(upstream, port)
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGTERM)
        answer_close(client, other)
        wait_until(lambda: _ended(pid), "the end of the daemon")
    finally:
        if not _ended(pid):
            os.kill(pid, signal.SIGKILL)
    log = (tmp_path / "relay.log").read_text()
    assert '"event":"open"' in log
    assert '"event":"end"' in log
    assert "Traceback" not in log
    assert not (tmp_path / "relay.pid").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_uid_drops_privileges_after_the_port_and_the_log_are_open(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    os.chmod(tmp_path, 0o755)
    port = free_port()
    text = ini(upstream.url, relay="drain_timeout = 0s", log="access = access.log\nformat = json")
    (tmp_path / "relay.ini").write_text(text.replace("tcp:0", f"tcp:{port}"))
    options = ["-n", "--pidfile=", "--uid=65534"]
    command: list[str | Path] = [TWISTD, *options, "wsrelay", "--config", "relay.ini"]
    with Process(command, cwd=tmp_path) as relay:
        relay.wait_for_port(port)
        client, other = _session(upstream, port)
        assert "Uid:\t65534\t65534" in _status(relay.pid)
        relay.terminate()
        answer_close(client, other)
        check_ended(relay)
        assert "Traceback" not in relay.log()
    assert '"initiator":"relay:drain"' in (tmp_path / "access.log").read_text()


def test_the_short_form_needs_no_file(upstream: RawUpstream, tmp_path: Path) -> None:
    port = free_port()
    listen = f"tcp:{port}:interface=127.0.0.1"
    words = ["-n", "--pidfile=", "wsrelay", "--listen", listen, "--upstream", upstream.url]
    with Process([TWISTD, *words], cwd=tmp_path) as relay:
        relay.wait_for_port(port)
        end_normally(*_session(upstream, port))
