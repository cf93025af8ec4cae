"""However wsrelay is installed, twistd finds it, from wherever it is started."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import wsrelay
from tests.support import PROJECT

TWISTD = "from twisted.scripts.twistd import run; run()"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that has to succeed, and return what it printed."""
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a clone has: a build inside the tree would reuse what an old one left."""
    folder = tmp_path_factory.mktemp("sources") / "wsrelay"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=PROJECT)
    for name in listed.splitlines():
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, sources, cwd=folder)
    return next(folder.glob("*.whl"))


def install(folder: Path, *arguments: str | Path) -> Path:
    """Make an environment with wsrelay and, by a path file, everything that it needs."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'), end='')"
    path_file = Path(run(python, "-c", where, cwd=folder)) / "dependencies.pth"
    path_file.write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-deps", "--no-build-isolation", "--ignore-installed", *arguments, cwd=folder)
    return python


def assert_twistd_knows_wsrelay(python: Path, *folders: Path) -> None:
    for folder in folders:
        listed = run(python, "-c", TWISTD, "--help", cwd=folder)
        assert "wsrelay" in listed, f"twistd started in {folder} does not know wsrelay"
        helped = run(python, "-c", TWISTD, "wsrelay", "--help", cwd=folder)
        assert "least-" in helped


def why_not_native(python: Path) -> str:
    return run(
        python,
        "-c",
        "from wsrelay.relay.pumps import why_not_native; print(why_not_native())",
        cwd=python.parent,
    ).strip()


@pytest.mark.peers
def test_pip_install(sources: Path, tmp_path: Path) -> None:
    python = install(tmp_path / "env", sources)
    assert_twistd_knows_wsrelay(python, tmp_path, sources)
    assert wsrelay.__version__ in run(tmp_path / "env/bin/wsrelay", "--version", cwd=tmp_path)
    assert why_not_native(python) == ""


@pytest.mark.peers
def test_without_a_compiler_the_python_pump_is_used(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it may lead to a tree with the pump
    clean = tmp_path / "sources"  # what was built there before would be found
    shutil.copytree(sources, clean, ignore=shutil.ignore_patterns("build", "*.so"))
    python = install(tmp_path / "env", clean)
    assert_twistd_knows_wsrelay(python, tmp_path, clean)
    assert "was not built" in why_not_native(python)
    config = tmp_path / "relay.ini"
    config.write_text("[relay]\nlisten = tcp:8080\nupstream = ws://127.0.0.1:3000\n")
    wsrelay_command = tmp_path / "env/bin/wsrelay"
    run(wsrelay_command, "check", config, cwd=tmp_path)
    with config.open("a") as file:
        file.write("data_path = native\n")
    refused = subprocess.run(
        [wsrelay_command, "check", config], text=True, capture_output=True, check=False
    )
    assert refused.returncode == 1
    assert "[relay] data_path: the native pump was not built" in refused.stdout


@pytest.mark.peers
def test_pip_install_editable(sources: Path, tmp_path: Path) -> None:
    python = install(tmp_path / "env", "--editable", sources)
    assert_twistd_knows_wsrelay(python, tmp_path, sources)
    assert why_not_native(python) == ""


@pytest.mark.peers
def test_a_wheel_from_the_sdist(wheel: Path, sources: Path, tmp_path: Path) -> None:
    python = install(tmp_path / "env", wheel)
    assert_twistd_knows_wsrelay(python, tmp_path, sources)
    assert why_not_native(python) == ""


@pytest.mark.peers
def test_the_wheel_has_what_it_needs_and_nothing_of_twisted(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("twisted/")] == [
        "twisted/plugins/wsrelay_plugin.py"
    ]
    assert {"wsrelay/py.typed", "wsrelay/admin/dashboard.html", "wsrelay/demo/page.html"} <= set(
        names
    )
    assert not [name for name in names if name.startswith("tests")]


def test_twisted_is_not_shadowed_by_the_project() -> None:
    """An __init__.py there would hide Twisted from whoever stands in the project's root."""
    assert not (PROJECT / "twisted/__init__.py").exists()
    assert not (PROJECT / "twisted/plugins/__init__.py").exists()


def test_every_package_is_listed_in_setup_cfg() -> None:
    config = ConfigParser()
    config.read(PROJECT / "setup.cfg")
    listed = config["options"]["packages"].split()
    modules = pkgutil.walk_packages(wsrelay.__path__, "wsrelay.")
    found = [module.name for module in modules if module.ispkg]
    assert sorted(listed) == sorted(["wsrelay", *found, "twisted.plugins"])
