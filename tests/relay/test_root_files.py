"""What root has read before privileges were dropped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsrelay.relay import root_files
from wsrelay.relay.root_files import read_by_root, take_from_root, what_root_has_read


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_files, "_read", {})
    monkeypatch.setattr(root_files, "_taken", {})


def forbidden(path: Path) -> bytes:
    raise PermissionError(path)


def test_what_may_not_be_read_is_what_root_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"of root")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert read_by_root(file, Path.read_bytes) == b"of root"
    with pytest.raises(PermissionError):  # it is for other processes: here a reload is refused
        read_by_root(file, forbidden)
    take_from_root(what_root_has_read())
    assert read_by_root(file, forbidden) == b"of root"
    with pytest.raises(PermissionError):
        read_by_root(tmp_path / "other", forbidden)


def test_what_may_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"new")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    take_from_root({file: b"old"})
    assert read_by_root(file, Path.read_bytes) == b"new"
    assert what_root_has_read() == {}
    file.unlink()
    with pytest.raises(FileNotFoundError):
        read_by_root(file, Path.read_bytes)
