"""Files that are read again when they have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from wsrelay.policies.watched import EVERY, LONGEST, Watched


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"one")
    return tmp_path / "file"


def test_what_has_not_changed_is_read_once(path: Path) -> None:
    read: list[bytes] = []
    watched = Watched(str(path), lambda content: read.append(content) or content)
    for second in range(20):
        assert watched.value(second) == b"one"
    assert read == [b"one"]


def test_what_has_changed_is_read_again_whatever_its_times_say(path: Path) -> None:
    watched = Watched(str(path), bytes)
    found = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert watched.value(0) == b"two"


def test_between_two_looks_a_second_passes_also_if_the_clock_goes_back(path: Path) -> None:
    watched = Watched(str(path), bytes)
    assert watched.value(100) == b"one"
    path.write_bytes(b"two")
    assert watched.value(100 + EVERY / 2) == b"one"
    assert watched.value(50) == b"two"


def test_a_file_that_comes_back_as_it_was_is_well_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    watched = Watched(str(path), bytes)
    with capturedLogs() as events:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", refuse)
            assert watched.value(0) == b"one"
            assert watched.value(1) == b"one"
        assert watched.value(2) == b"one"
    assert [event["log_level"].name for event in events] == ["warn", "info"]


def test_what_is_broken_is_not_read_again_before_it_changes(path: Path) -> None:
    read: list[bytes] = []

    def parse(content: bytes) -> bytes:
        read.append(content)
        if content == b"bad":
            raise ValueError("is bad")
        return content

    watched = Watched(str(path), parse)
    path.write_bytes(b"bad")
    with capturedLogs() as events:
        assert [watched.value(second) for second in range(5)] == [b"one"] * 5
    assert read == [b"one", b"bad"]
    assert [event["text"] for event in events] == ["is bad; what was known stays"]


def test_what_cannot_be_a_file_is_refused(path: Path, tmp_path: Path) -> None:
    def complaint(name: Path) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
            Watched(str(name), bytes)
        return str(caught.value)

    os.mkfifo(tmp_path / "pipe")
    assert complaint(tmp_path / "pipe") == f"{tmp_path}/pipe: is not a file"
    path.write_bytes(bytes(LONGEST + 1))
    assert complaint(path) == f"{path}: is longer than {LONGEST} bytes"
    path.write_bytes(bytes(LONGEST))
    assert Watched(str(path), len).value(0) == LONGEST
