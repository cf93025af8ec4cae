"""deploy/docker/Dockerfile: its steps are carried out, and what they make runs without rights."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.container import Root, build, context, listed, read_stages
from tests.support import PROJECT, Process, free_port, require, require_program, require_pypi
from tests.test_readme import assert_it_echoes, echo_upstream

FIRST, LAST = read_stages()


def test_the_last_stage_is_slim_and_runs_nothing_that_could_fetch_a_compiler() -> None:
    assert f"{FIRST.base.removesuffix(' AS build')}-slim" == LAST.base
    assert LAST.all("RUN") == []
    assert LAST.the("COPY").startswith("--from=build ")


def test_everything_is_started_without_a_shell_and_as_nobody() -> None:
    assert listed(LAST.the("ENTRYPOINT"))[0] == "twistd"
    assert listed(LAST.the("HEALTHCHECK"))[0] == "python"
    uid, _, gid = LAST.the("USER").partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert LAST.the("STOPSIGNAL") == "SIGTERM"


def test_the_context_is_what_a_wheel_is_made_of() -> None:
    names = set(context())
    packages = PROJECT / "wsrelay"
    sources = {p.relative_to(PROJECT).as_posix() for p in packages.rglob("*.[ch]")}
    sources |= {p.relative_to(PROJECT).as_posix() for p in packages.rglob("*.py")}
    assert sources <= names
    assert {"setup.py", "setup.cfg", "pyproject.toml", "twisted/plugins/wsrelay_plugin.py"} <= names
    assert {name.split("/")[0] for name in names} == {
        "LICENSE",
        "README.rst",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
        "twisted",
        "wsrelay",
    }
    assert not [name for name in names if name.endswith((".so", ".pyc", "dropin.cache"))]


@pytest.fixture(scope="module")
def image() -> Iterator[Root]:
    for program in ("unshare", "mount", "chroot", "setpriv"):
        require_program(program)
    require(os.geteuid() == 0, "only root may make a root directory")
    require_pypi()
    # Not below pytest's own folder, which is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="wsrelay-image-"))
    folder.chmod(0o755)
    try:
        yield build(folder)
    finally:
        shutil.rmtree(folder)


def child_of(process: Process) -> int:
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@pytest.mark.peers
def test_the_image_relays_as_nobody_on_a_read_only_root(image: Root) -> None:
    port, admin, folder = free_port(), free_port(), LAST.the("WORKDIR")
    inside = {"user": LAST.the("USER"), "folder": folder, "read_only": True}
    relay = [*listed(LAST.the("ENTRYPOINT")), *listed(LAST.the("CMD"))]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(echo_upstream())
        (image.inside(folder) / "relay.ini").write_text(
            f"[relay]\nlisten = tcp:{port}:interface=127.0.0.1\nupstream = ws://127.0.0.1:{upstream}\n"
            f"data_path = native\nworkers = 2\n[admin]\nlisten = tcp:{admin}:interface=127.0.0.1\n"
        )
        command = image.command(relay, **inside)
        running = stack.enter_context(Process(command, env=image.environment))
        running.wait_for_words("frames go through the native pump")
        assert_it_echoes(f"ws://127.0.0.1:{port}")
        status = Path(f"/proc/{child_of(running)}/status").read_text("utf-8")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split() == [LAST.the("USER").partition(":")[0]] * 4
        assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
        assert facts["NSpid"].split()[-1] == "1"

        image.environment["WSRELAY_ADMIN"] = f"http://127.0.0.1:{admin}"
        image.run(listed(LAST.the("HEALTHCHECK")), **inside)
        assert ", pid 1, " in image.run(["wsrelay", "status"], **inside)
        image.environment["WSRELAY_ADMIN"] = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(AssertionError, match="refused"):
            image.run(listed(LAST.the("HEALTHCHECK")), **inside)

        os.kill(child_of(running), 15)
        assert running.wait() == 0
        assert "Unable to write" not in running.log()
        assert "Traceback" not in running.log()
