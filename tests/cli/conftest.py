"""A stand-in for each test, in a folder of its own and an environment that says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .stand_in import Relay, serving


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("WSRELAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("wsrelay.operate.whereabouts.USUAL_FILES", ("relay.ini",))
    return tmp_path


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Give a stand-in that is asked when nothing else is said."""
    with serving() as found:
        monkeypatch.setenv("WSRELAY_ADMIN", found.url)
        yield found


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let commands sleep no time; the list is how long they would have."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept
