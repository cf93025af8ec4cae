"""The wsrelay command: what it prints, and its exit codes."""

import io
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest
from attrs import field, frozen

import wsrelay
from wsrelay.cli import main
from wsrelay.config import Checks

SMALL = "[relay]\nlisten = tcp:8080\nupstream = ws://127.0.0.1:3000\n"


@frozen
class Plugin:
    name: str
    options: Mapping[str, str] = field(factory=dict)


@pytest.fixture(autouse=True)
def _no_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = ModuleType("wsrelay.checks")
    checks.make_checks = Checks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wsrelay.checks", checks)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Output = pytest.CaptureFixture[str]


def test_a_good_file_is_ok(folder: Path, capsys: Output) -> None:
    (folder / "relay.ini").write_text(SMALL)
    assert main(["check", "relay.ini"]) == 0
    assert capsys.readouterr() == ("relay.ini: ok\n", "")


def test_every_error_is_a_line_and_names_the_file_as_given(folder: Path, capsys: Output) -> None:
    (folder / "relay.ini").write_text(f"{SMALL}worker = 1\ndrain_timeout = 3\n")
    assert main(["check", "./relay.ini"]) == 1
    out, err = capsys.readouterr()
    assert [line.partition(": ")[0] for line in out.splitlines()] == [
        "./relay.ini:4",
        "./relay.ini:5",
    ]
    assert err == ""


@pytest.mark.usefixtures("folder")
def test_a_file_that_cannot_be_read_is_told_on_stderr(capsys: Output) -> None:
    assert main(["check", "gone.ini"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gone.ini: cannot be read: No such file or directory\n"


def test_variables_come_from_the_processes_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    (folder / "relay.ini").write_text(SMALL.replace("8080", "${WSRELAY_TEST_PORT}"))
    monkeypatch.setenv("WSRELAY_TEST_PORT", "8080")
    assert main(["check", "relay.ini"]) == 0
    monkeypatch.delenv("WSRELAY_TEST_PORT")
    assert main(["check", "relay.ini"]) == 1
    assert "WSRELAY_TEST_PORT" in capsys.readouterr().out


def test_what_the_terminal_cannot_show_is_escaped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "relay.ini").write_text(f"{SMALL}[pöl]\n", "utf-8")
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["check", "relay.ini"]) == 1
    terminal.seek(0)
    assert "[p\\xf6l] unknown section" in terminal.read()


def test_a_stream_that_is_no_terminal_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "relay.ini").write_text(SMALL)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["check", "relay.ini"]) == 0
    assert stream.getvalue() == "relay.ini: ok\n"


def test_balancers_are_listed_with_their_options(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    plugins = [
        Plugin("hash", {"key": "what is hashed", "load_factor": "how uneven it may be"}),
        Plugin("first"),
    ]
    found = {plugin.name: plugin for plugin in plugins}
    monkeypatch.setattr("wsrelay.plugins.find_balancers", lambda: found)
    assert main(["balancers"]) == 0
    assert capsys.readouterr().out == (
        "first\nhash\n    key          what is hashed\n    load_factor  how uneven it may be\n"
    )


def test_the_balancers_that_ship_are_found(capsys: Output) -> None:
    assert main(["balancers"]) == 0
    names = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert {"least-connections", "round-robin", "random-two", "first", "hash"} <= set(names)
    assert names == sorted(names)


def test_discoveries_are_listed_as_balancers_are(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    plugins = [Plugin("own", {"at": "where", "every": "how often"}), Plugin("all")]
    found = {plugin.name: plugin for plugin in plugins}
    monkeypatch.setattr("wsrelay.plugins.find_discoveries", lambda: found)
    assert main(["discoveries"]) == 0
    assert capsys.readouterr().out == "all\nown\n    at     where\n    every  how often\n"


def test_the_discoveries_that_ship_are_found(capsys: Output) -> None:
    assert main(["discoveries"]) == 0
    names = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert {"dns", "srv", "file"} <= set(names)
    assert names == sorted(names)


def test_filters_are_listed_with_their_options(capsys: Output) -> None:
    assert main(["filters"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert {"deny-binary", "deny-pattern", "log"} <= set(names)
    assert names == sorted(names)
    listed = lines[lines.index("deny-binary") + 1 : lines.index("deny-pattern")]
    assert [line.split()[0] for line in listed] == ["direction", "code"]


def test_the_policies_that_ship_are_found(capsys: Output) -> None:
    assert main(["policies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert {"basic", "http-auth", "jwt"} <= set(names)
    assert names == sorted(names)
    after = lines[lines.index("basic") + 1 :]
    assert after[0].startswith("    file         file of users and bcrypt hashes")


def test_the_version_is_the_packages(capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"wsrelay {wsrelay.__version__}\n"


@pytest.mark.parametrize("command", [["stats"], ["filter"], ["check-all", "relay.ini"]])
def test_a_command_that_is_not_there_is_answered_with_those_that_are(
    command: list[str], capsys: Output
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert command[0] in err
    assert "check" in err.splitlines()[-1]
    assert "balancers" in err.splitlines()[-1]
    assert "discoveries" in err.splitlines()[-1]


def test_no_command_at_all_is_a_usage_error(capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_console_script_is_this_function() -> None:
    (script,) = entry_points(group="console_scripts", name="wsrelay")
    assert script.load() is main
