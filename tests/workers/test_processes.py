"""Real worker processes under a real parent: whatever dies, others go on, and none stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import PROJECT, Process
from wsrelay.workers.command import python_module

PARENT = PROJECT / "tests" / "workers" / "parent.py"


class Parent(Process):
    """A parent process, and what it has said up to now."""

    seen = 0

    def next(self, event: str, **facts: object) -> dict[str, Any]:
        index, found = self.wait_for_event(self.seen, event=event, **facts)
        self.seen = index + 1
        return found

    def spare(self) -> int:
        """Return the pid of one that has no number: which starts last need not be it."""
        self.write_line("pids")
        found = self.next("pids")
        return int(next(each for each in found["pids"] if each not in found["working"]))


@contextmanager
def running(count: int = 2, patience: float = 30, *manner: str) -> Iterator[Parent]:
    command = [sys.executable, "-O", "-W", "once::UserWarning", PARENT, count, patience, *manner]
    with Parent([str(word) for word in command], env={"PYTHONPATH": str(PROJECT)}) as parent:
        yield parent


def has_begun(parent: Parent, count: int = 2) -> list[int]:
    """Wait until all work; return their pids by number."""
    start = parent.seen
    found = [parent.wait_for_event(start, event="works", number=each) for each in range(count)]
    parent.seen = max(index for index, _ in found) + 1
    return [int(event["pid"]) for _, event in found]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_is_killed_has_a_successor_and_in_the_end_none_is_left() -> None:
    with running() as parent:
        pids = has_begun(parent)
        for _ in range(3):
            os.kill(pids[1], signal.SIGKILL)
            assert parent.next("end")["pid"] == pids[1]
            pids.append(pids[1])
            pids[1] = parent.next("works", number=1)["pid"]
        spare = parent.spare()
        parent.write_line("stop 20")
        parent.next("gone")
        assert parent.wait() == 0
        assert [each for each in (*pids, spare) if is_there(each)] == []
        assert "was killed by signal 9 (SIGKILL); another one takes its place in 1 s" in (
            parent.log()
        )


def test_a_child_has_its_channel_and_the_standard_three_and_its_parents_modules() -> None:
    with running(1) as parent:
        facts = parent.next("works")["facts"]
    opened = {number: what for number, what in facts["descriptors"].items() if what}
    assert sorted(opened)[:4] == ["0", "1", "2", "3"]
    assert opened["0"] == "/dev/null"
    assert opened["3"].startswith("socket:")
    own = ("anon_inode:", "pipe:", "socket:")  # of its reactor
    assert [each for number, each in opened.items() if number > "3"] == [
        each for number, each in opened.items() if number > "3" and each.startswith(own)
    ]
    assert [each for each in opened.values() if each.startswith("socket:")].count(opened["3"]) == 1
    # The folder in which the parent was when it was asked, not where it is now.
    assert facts["path"][-1] == str(PROJECT)
    assert "" not in facts["path"]
    assert facts["options"] == [1, False, ["once::UserWarning"]]


def test_a_spare_one_that_is_killed_has_a_successor_that_can_take_over() -> None:
    with running(1) as parent:
        (first,) = has_begun(parent, 1)
        spare = parent.spare()
        os.kill(spare, signal.SIGKILL)
        parent.wait_for_words(f"a spare process (pid {spare}) was killed")
        os.kill(first, signal.SIGKILL)
        assert parent.next("works", number=0)["pid"] not in (first, spare)


def test_a_worker_that_is_stopped_is_killed_and_has_a_successor() -> None:
    with running(2, 2) as parent:
        pids = has_begun(parent)
        os.kill(pids[0], signal.SIGSTOP)
        assert parent.next("end", number=0)["pid"] == pids[0]
        parent.next("works", number=0)
        assert f"worker 0 (pid {pids[0]}) is killed: it has not answered for" in parent.log()


def test_a_parent_that_was_stopped_for_long_kills_nobody() -> None:
    with running(1, 3) as parent:
        has_begun(parent, 1)
        os.kill(parent.pid, signal.SIGSTOP)
        with pytest.raises(Exception, match="timed out"):
            parent.wait(3.5)  # longer than a worker may hang
        os.kill(parent.pid, signal.SIGCONT)
        parent.spare()  # it runs again
        parent.write_line("stop 20")
        parent.next("gone")
        assert "is killed" not in parent.log()


def test_stopping_while_they_start_leaves_none() -> None:
    with running(2, 30, "mute") as parent:
        parent.write_line("pids")
        pids = parent.next("pids")["pids"]
        parent.write_line("stop 20")
        parent.next("gone")
        assert len(pids) == 3
        assert [each for each in pids if is_there(each)] == []


def test_those_that_do_not_go_are_killed() -> None:
    with running(2, 30, "stubborn") as parent:
        pids = has_begun(parent)
        parent.write_line("stop 0.3")
        parent.next("gone")
        assert [each for each in pids if is_there(each)] == []
        assert f"worker 1 (pid {pids[1]}) is killed: its time is over" in parent.log()


def test_fewer_and_more_workers() -> None:
    with running(2) as parent:
        pids = has_begun(parent)
        parent.write_line("count 1 20")
        assert parent.next("end")["pid"] == pids[1]
        parent.write_line("count 3 20")
        has_begun_now = {parent.next("works")["number"] for _ in range(2)}
        assert has_begun_now == {1, 2}


def test_all_children_see_the_end_of_a_parent_that_is_killed() -> None:
    with running(2) as parent:
        has_begun(parent)
        spare = parent.spare()
        parent.wait_for_words("works")
        parent.write_line("pids")
        pids = parent.next("pids")["pids"]
        assert spare in pids
        os.kill(parent.pid, signal.SIGKILL)
        for pid in pids:
            parent.wait_for_words(f"{pid} has no parent")
        parent.wait()


def test_a_child_ignores_a_terminals_signals_before_it_imports_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first.py").write_text(
        "import signal; print([signal.getsignal(each).name for each in (signal.SIGINT,"
        " signal.SIGHUP)])"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = python_module("first")
    done = subprocess.run(
        command.arguments, env=command.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['SIG_IGN', 'SIG_IGN']\n"


def test_a_terminals_signals_harm_no_child() -> None:
    with running(2) as parent:
        pids = has_begun(parent)
        for pid in pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGHUP)
        parent.write_line("stop 20")
        fates = [parent.next("end")["fate"] for _ in pids]
        assert fates == ["has ended"] * 2
