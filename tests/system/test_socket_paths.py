"""Unix sockets whose path is as long as an address takes, and longer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support import started_relay
from tests.system.support import (
    LOCAL,
    RawUpstream,
    Stage,
    Wire,
    check_log_is_calm,
    handshake,
)

LONGEST = 107
TOO_LONG = f"a unix socket's path has {LONGEST} bytes at most, and this one has {LONGEST + 1}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that leaves some of the bytes; tmp_path may not."""
    with TemporaryDirectory() as name:
        yield Path(name)


def sized(folder: Path, letter: str, length: int = LONGEST) -> Path:
    return folder / letter.ljust(length - len(str(folder)) - 1, letter)


def test_the_kernel_takes_no_longer_path_than_we_do(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(OSError, match="too long"):
            sock.bind(str(sized(folder, "a", LONGEST + 1)))
        sock.bind(str(sized(folder, "a")))


@pytest.fixture
def upstream(folder: Path) -> Iterator[RawUpstream]:
    listening = RawUpstream.unix(sized(folder, "u"))
    yield listening
    listening.close()


def check_listener(stage: Stage, path: Path) -> None:
    """Check that a client's request comes through the relay's own socket."""
    client = stage.keep(Wire(socket.socket(socket.AF_UNIX)))
    client.sock.connect(str(path))
    client.send(handshake(b"/here"))
    assert stage.accept().read_head().startswith(b"GET /here ")
    stage.close()


def test_the_longest_paths_work_and_longer_ones_are_refused_while_the_relay_runs(
    folder: Path, upstream: RawUpstream
) -> None:
    base = f"[listener:tcp]\nendpoint = {LOCAL}\n[route:r]\npool = p\n[pool:p]\n"
    base = f"{base}upstreams = {upstream.url}\n"
    listener = "[listener:unix]\nendpoint = unix:"
    here, longer = sized(folder, "l"), sized(folder, "x", LONGEST + 1)
    with started_relay(f"{base}{listener}{here.name}", folder) as relay:
        stage = Stage(relay, upstream)
        stage.works()
        check_listener(stage, here)
        for text in (
            f"{base}  unix:{longer.name}",
            f"{base}{listener}{longer.name}",
            f"{base}[admin]\nlisten = unix:{longer}",
        ):
            assert TOO_LONG in relay.reload(text, "reload refused: ")
        check_listener(stage, here)
        found = folder / "found"
        found.write_text(f"unix:{longer} name=x\n")
        text = f"{base}discover = file path=found every=100ms"
        assert TOO_LONG in relay.reload(text, "discovery file: ")
        stage.works()
        found.write_text(f"{upstream.url} name=y\n")
        relay.wait_for_line(lambda line: "discovery file: all is well again" in line)
        stage.works()
        check_log_is_calm(relay.log())
