"""Upstreams from a file that is really on disk; only the time is made up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.discovery.fakes import Heard
from wsrelay.discovery.file import LONGEST, MOST_UNREST, File, lines_of
from wsrelay.interfaces import IDiscovery

A, B, C = "ws://10.0.0.1:9000", "ws://10.0.0.2:9000 weight=2", "ws://10.0.0.3:9000 backup"


@define(eq=False)
class Watched:
    """A discovery that watches a file, second by second."""

    path: Path
    clock: Clock = field(factory=Clock)
    heard: Heard = field(factory=Heard)
    discovery: File = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.discovery = File(self.clock, path=str(self.path))

    def look(self, times: int = 1) -> list[list[str]]:
        """Let it look so many times more, and return what it says."""
        for _ in range(times):
            self.clock.advance(1)
        return self.heard.news()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "upstreams.txt").write_text(f"{A}\n")
    return tmp_path / "upstreams.txt"


@pytest.fixture
def watched(path: Path) -> Iterator[Watched]:
    """A discovery that has read the file and said so."""
    watched = Watched(path)
    watched.discovery.start(watched.heard)
    assert watched.heard.news() == [[A]]
    yield watched
    watched.discovery.stop()
    assert watched.clock.getDelayedCalls() == []


def test_it_is_a_discovery_that_reads_nothing_before_its_start(path: Path) -> None:
    watched = Watched(path)
    assert verifyObject(IDiscovery, watched.discovery)
    assert watched.look(3) == []


def test_it_reads_once_what_does_not_change(watched: Watched) -> None:
    assert watched.look(20) == []
    assert watched.discovery.problem == ""


def test_a_change_is_read_when_two_looks_see_the_same(watched: Watched, path: Path) -> None:
    path.write_text(f"{A}\n{B}\n")
    assert watched.look() == []
    assert watched.look() == [[A, B]]
    assert watched.look(5) == []


def test_what_is_still_written_is_not_read(watched: Watched, path: Path) -> None:
    with path.open("w") as file:
        for line in (A, B, C):
            file.write(f"{line}\n")
            file.flush()
            assert watched.look() == []
    assert watched.look() == [[A, B, C]]


def test_what_never_comes_to_rest_is_read_after_all(watched: Watched, path: Path) -> None:
    for _ in range(MOST_UNREST - 1):
        path.write_text(path.read_text() + f"{B}\n")
        assert watched.look() == []
    path.write_text(path.read_text() + f"{C}\n")
    assert watched.look() == [[A, *[B] * (MOST_UNREST - 1), C]]


def test_a_file_that_is_renamed_into_its_place_is_read(watched: Watched, path: Path) -> None:
    before = path.stat()
    new = path.with_name("new")
    new.write_text(f"{A.replace('1:', '9:')}\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert new.stat().st_size == before.st_size
    new.replace(path)
    assert watched.look(2) == [["ws://10.0.0.9:9000"]]


def test_a_write_that_puts_the_time_back_is_seen(watched: Watched, path: Path) -> None:
    before = path.stat()
    path.write_text(f"{A.replace('1:', '9:')}\n")
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock has ticks
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_ino) == (before.st_size, before.st_ino)
    assert watched.look(2) == [["ws://10.0.0.9:9000"]]


def test_a_symlink_that_is_swapped_as_kubernetes_does_it_is_followed(tmp_path: Path) -> None:
    """upstreams.txt -> ..data/upstreams.txt, and ..data -> one folder for each version."""
    for version, line in (("..v1", A), ("..v2", B)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "upstreams.txt").write_text(line)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "upstreams.txt").symlink_to("..data/upstreams.txt")
    watched = Watched(tmp_path / "upstreams.txt")
    watched.discovery.start(watched.heard)
    assert watched.heard.news() == [[A]]
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert watched.look(2) == [[B]]
    (tmp_path / "..data").unlink()
    assert watched.look(2) == []
    (tmp_path / "..data").symlink_to("..v2")
    assert watched.look(2) == [[B]]
    assert watched.discovery.problem == ""


def test_an_empty_file_is_an_answer(watched: Watched, path: Path) -> None:
    os.truncate(path, 0)
    assert watched.look(2) == [[]]


def test_a_file_that_vanishes_and_comes_back_is_read_again(watched: Watched, path: Path) -> None:
    away = path.rename(path.with_name("away"))
    assert watched.look(3) == []
    assert watched.discovery.problem == (
        "cannot be read: No such file or directory; what was known stays"
    )
    away.rename(path)
    assert watched.look(2) == [[A]]
    assert watched.discovery.problem == ""


def test_a_file_that_is_not_there_yet_is_awaited(tmp_path: Path) -> None:
    path = tmp_path / "later"
    watched = Watched(path)
    watched.discovery.start(watched.heard)
    assert watched.look(2) == []
    path.write_text(A)
    assert watched.look() == []
    assert watched.look() == [[A]]


def test_a_file_that_may_not_be_read_is_tried_until_it_may(
    watched: Watched, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open
    refused = []

    def refuse(path: str, flags: int, *more: object, **named: object) -> int:
        refused.append(path)
        raise PermissionError(13, "Permission denied", path)

    path.write_text(f"{B}\n")
    monkeypatch.setattr(os, "open", refuse)
    assert watched.look(4) == []
    assert len(refused) == 3
    assert watched.discovery.problem == "cannot be read: Permission denied; what was known stays"
    monkeypatch.setattr(os, "open", real)
    assert watched.look() == [[B]]
    assert watched.discovery.problem == ""


def test_what_is_not_utf_8_is_said_with_its_line_until_it_changes(
    watched: Watched, path: Path
) -> None:
    path.write_bytes(b"\xef\xbb\xbf# one\r\nws://a\xff:1\r\n")
    assert watched.look(5) == []
    assert watched.discovery.problem == (
        "byte 0xff on line 2 is not UTF-8; save the file as UTF-8; what was known stays"
    )
    path.write_text(A)
    assert watched.look(2) == [[A]]
    assert watched.discovery.problem == ""


def test_a_file_that_is_too_long_is_refused_whole(watched: Watched, path: Path) -> None:
    path.write_text("#" * LONGEST)
    assert watched.look(2) == [[]]
    path.write_text("#" * (LONGEST + 1))
    assert watched.look(2) == []
    assert watched.discovery.problem.startswith("is longer than 1048576 bytes; ")


def test_a_pipe_in_its_place_blocks_nobody(watched: Watched, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    assert watched.look(3) == []
    assert watched.discovery.problem.startswith("is not a file; ")


def test_a_folder_in_its_place_costs_no_descriptors(watched: Watched, path: Path) -> None:
    path.unlink()
    path.mkdir()
    watched.look(2)
    before = len(os.listdir("/proc/self/fd"))
    assert watched.look(5) == []
    assert watched.discovery.problem == "cannot be read: Is a directory; what was known stays"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_problem_is_logged_once_and_when_it_is_over(path: Path) -> None:
    with capturedLogs() as events:
        watched = Watched(path)
        watched.discovery.start(watched.heard)
        path.unlink()
        watched.look(5)
        path.write_bytes(b"\xff")
        watched.look(5)
        path.write_text(A)
        watched.look(5)
    assert [(each["log_level"].name, each.get("text", "")[:9]) for each in events] == [
        ("warn", "cannot be"),
        ("warn", "byte 0xff"),
        ("info", ""),
    ]
    assert {each["about"] for each in events} == {str(path)}


def test_it_looks_as_often_as_it_is_told(path: Path) -> None:
    clock, heard = Clock(), Heard()
    File(clock, path=str(path), every="5s").start(heard)
    path.write_text(B)
    clock.pump([4.9, 0.1, 4.9])
    assert heard.news() == [[A]]
    clock.advance(0.1)
    assert heard.news() == [[B]]


def test_it_may_be_stopped_by_what_it_says(path: Path) -> None:
    clock = Clock()
    discovery = File(clock, path=str(path))
    discovery.start(lambda lines: discovery.stop())
    assert clock.getDelayedCalls() == []
    discovery.stop()


def test_lines_are_those_of_relay_ini() -> None:
    text = f"# comment\n; another\n\n  {A}  \r\n\t# indented\r{B}\n   \n{C}"
    assert lines_of(text.encode()) == [A, B, C]
    assert lines_of(b"\xef\xbb\xbf" + A.encode()) == [A]
    assert lines_of(b"") == []


@given(st.binary())
def test_any_content_gives_lines_or_a_sentence(content: bytes) -> None:
    with suppress(ValueError):
        lines = lines_of(content)
        assert all(line and line == line.strip() and line[0] not in "#;" for line in lines)
