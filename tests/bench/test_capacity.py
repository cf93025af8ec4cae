"""What one core carries is measured, however short; the figures are of no interest here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench import capacity, redis_load
from bench.loadtool import LoadProgram
from bench.processes import BenchError
from tests.support import require


def test_idle_sessions_and_handshakes_are_measured_and_recorded(
    program: LoadProgram, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(program.tls, "OpenSSL's headers are not installed")
    path = tmp_path / "figures.json"
    path.write_text('{"other": 1}', "utf-8")
    short = ["--sessions", "50", "--keepalive", "1", "--seconds", "0.2", "--rounds", "1"]
    assert capacity.main([*short, "--record", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert found["other"] == 1
    idle = found["capacity"]["idle"]
    assert idle["sessions"] == 50
    assert idle["files"] == 2
    assert idle["cpu_share"] > 0
    assert found["capacity"]["handshakes"].keys() == {"plain", "tls"}
    assert "50 idle sessions, pinged every 1 s" in capsys.readouterr().out


def test_more_sessions_than_files_are_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["--sessions", "100000000"]) == 1
    assert "needs 200000500 open files" in capsys.readouterr().err


@pytest.mark.usefixtures("program")
def test_redis_is_asked_what_relays_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require(shutil.which("redis-benchmark"), "Redis is not installed")
    path = tmp_path / "figures.json"
    assert redis_load.main(["--requests", "2000", "--record", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))["redis"]
    assert found["cpu_us"].keys() == redis_load.ASKED.keys()
    assert all(each > 0 for each in found["cpu_us"].values())
    assert f"{redis_load.ASKED['admit'].title}: " in capsys.readouterr().out


def test_an_error_of_redis_is_no_figure() -> None:
    with pytest.raises(BenchError, match="Error from server: unknown script"):
        redis_load._printed("sh", "-c", "echo 'Error from server: unknown script'")


def test_without_redis_words_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require(shutil.which("cc"), "there is no C compiler")
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "redis" in name else which(name))
    assert redis_load.main([]) == 1
    assert "redis-server and redis-benchmark" in capsys.readouterr().err
