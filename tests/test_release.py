"""``make dist`` makes what could be uploaded, and an empty environment relays with it."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from datetime import date
from pathlib import Path

import pytest

import wsrelay
from tests.support import PROJECT, Process, free_port, require_program, require_pypi
from tests.test_packaging import run, sources
from tests.test_readme import assert_it_echoes, echo_upstream

__all__ = ["sources"]  # a fixture

LONGEST = 300.0
"""Seconds for what takes about 30."""

LEFT_OUT = {".ci/run", ".gitattributes", ".gitignore", "tests/peers/.gitignore"}
"""What of the sources is of no use without their repository."""


def tags() -> str:
    """Return what a wheel for this Python begins with."""
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"wsrelay-{wsrelay.__version__}-{version}-{version}-"


@pytest.fixture(scope="module")
def dist(sources: Path) -> Path:
    """Run ``make dist`` for this Python in a repository of its own."""
    for program in ("cc", "git", "make"):
        require_program(program)
    require_pypi()
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
        run(*git, *command, cwd=sources)
    make(sources)
    return sources / "dist"


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # This environment has what a release is made with: -o makes nothing on its account.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    command = ["make", "-o", f"{sys.prefix}/.wsrelay-tools", "dist", f"VENV={sys.prefix}"]
    done = subprocess.run(
        [*command, *(words or [f"PYTHONS={sys.executable}"])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert words or done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (found,) = dist.glob("*.tar.gz")
    return found


@pytest.mark.peers
def test_there_is_an_sdist_and_a_wheel_for_any_linux(wheel: Path, sdist: Path) -> None:
    assert sdist.name == f"wsrelay-{wsrelay.__version__}.tar.gz"
    assert wheel.name.startswith(tags())
    assert "manylinux" in wheel.name.removeprefix(tags())
    (extension,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    assert extension == "wsrelay/relay/_native.abi3.so"


@pytest.mark.peers
def test_both_are_sound_for_pypi(wheel: Path, sdist: Path) -> None:
    checked = run(
        sys.executable,
        "-m",
        "twine",
        "--no-color",
        "check",
        "--strict",
        wheel,
        sdist,
        cwd=wheel.parent,
    )
    assert checked.count("PASSED") == 2
    with zipfile.ZipFile(wheel) as content:
        (name,) = [name for name in content.namelist() if name.endswith("/METADATA")]
        metadata = email.message_from_bytes(content.read(name))
    assert metadata["Version"] == wsrelay.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


@pytest.mark.peers
def test_the_sdist_has_all_sources(sdist: Path, sources: Path) -> None:
    with tarfile.open(sdist) as content:
        there = {name.partition("/")[2] for name in content.getnames()}
    listed = set(run("git", "ls-files", cwd=sources).splitlines())
    assert listed - there == LEFT_OUT


@pytest.mark.peers
def test_an_empty_environment_relays_with_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    run(*pip, "--quiet", "--only-binary=:all:", wheel, cwd=tmp_path)
    assert wsrelay.__version__ in run(folder / "bin" / "wsrelay", "--version", cwd=tmp_path)
    port = free_port()
    relay = [folder / "bin" / "twistd", "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
    with echo_upstream() as upstream:
        (tmp_path / "relay.ini").write_text(
            f"[relay]\nlisten = tcp:{port}:interface=127.0.0.1\n"
            f"upstream = ws://127.0.0.1:{upstream}\ndata_path = native\n"
        )
        # The tests' own path leads to a wsrelay that is not meant.
        with Process(relay, cwd=tmp_path, env={"PYTHONPATH": ""}) as running:
            running.wait_for_words("is up; frames go through the native pump")
            assert_it_echoes(f"ws://127.0.0.1:{port}")
            running.terminate()
            running.wait()
            assert "Traceback" not in running.log()


@pytest.mark.peers
def test_what_is_not_committed_is_not_released(dist: Path, sources: Path) -> None:
    before = sorted(dist.iterdir())
    page = sources / "README.rst"
    text = page.read_text("utf-8")
    try:
        page.write_text(f"{text}\n")
        refused = make(sources, f"PYTHONS={sys.executable}", "--silent")
    finally:
        page.write_text(text)
    assert refused.returncode != 0
    assert "Commit first" in refused.stderr
    assert sorted(dist.iterdir()) == before


# The version


CHANGELOG = (PROJECT / "CHANGELOG.rst").read_text("utf-8")
ENTRIES = re.findall(r"(?m)^(\d\S*) \((.+)\)\n-+$", CHANGELOG)


def test_the_first_entry_of_the_changelog_is_this_version() -> None:
    assert ENTRIES[0][0] == wsrelay.__version__
    titles = re.findall(r"(?m)^(.+)\n-{4,}$", CHANGELOG)
    assert titles == [f"{version} ({when})" for version, when in ENTRIES]


def test_older_entries_have_older_versions_and_dates() -> None:
    numbers = [tuple(map(int, version.split("."))) for version, _ in ENTRIES]
    assert numbers == sorted(set(numbers), reverse=True)
    dates = [when for _, when in ENTRIES]
    if dates[0] == "unreleased":
        dates = dates[1:]
    assert dates == sorted(dates, reverse=True)
    assert [date.fromisoformat(each).isoformat() for each in dates] == dates


def test_what_the_pages_show_is_of_this_version() -> None:
    shown = {}
    for page in (PROJECT / "docs").glob("*.rst"):
        text = page.read_text("utf-8")
        for version in re.findall(r'\bwsrelay (\d+\.\d+\.\d+)\b|"version": "([\d.]+)"', text):
            shown[page.name, "".join(version)] = True
    assert {version for _, version in shown} == {wsrelay.__version__}
    assert len(shown) >= 2


def test_nothing_else_says_which_version_it_is() -> None:
    """It is written in wsrelay/__init__.py; setup.cfg takes it from there."""
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "deploy/docker/Dockerfile"):
        assert wsrelay.__version__ not in (PROJECT / name).read_text("utf-8"), name
