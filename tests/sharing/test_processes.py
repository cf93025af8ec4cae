"""Real processes that share, and die."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.sharing.process import MARK, NAMES
from tests.support import Process
from wsrelay.sharing import Region, SharedCommons, Sizes

SMALL = Sizes(names=16, clients=16, rates=16, sessions=16)
WORKERS = 4


@pytest.fixture
def children() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(children: ExitStack, what: str, region: Region, index: int, *words: object) -> Process:
    command = [sys.executable, "-m", "tests.sharing.process", what]
    arguments = [str(each) for each in (region.fileno(), index, *words)]
    return children.enter_context(Process([*command, *arguments], pass_fds=[region.fileno()]))


def heard(child: Process, fact: str) -> dict[str, int]:
    _, line = child.wait_for_line(lambda line: f'"{fact}"' in line, what=fact)
    return json.loads(line)


def test_processes_that_rush_take_exactly_what_there_is(children: ExitStack) -> None:
    region, most, names = Region.create(WORKERS + 1), 7, 300
    commons = SharedCommons(region, WORKERS)
    rushing = [start(children, "rush", region, each, most, names) for each in range(WORKERS)]
    answers = [heard(each, "taken") for each in rushing]
    assert sum(each["taken"] for each in answers) == 2 * most * names
    assert [each["overflows"] for each in answers] == [0] * WORKERS
    counts = commons.counts("chat")
    for number in range(names):
        assert commons.tally("clients", f"{number}").total == most
        assert counts.of(b"%d" % number) == most
    region.close()


def test_there_are_never_more_inside_than_may_be(children: ExitStack, tmp_path: Path) -> None:
    region, most = Region.create(WORKERS + 1, SMALL), 2
    witness = tmp_path / "witness"
    witness.write_bytes(bytes(4))
    passing = [
        start(children, "pass-through", region, each, witness, most, 4000)
        for each in range(WORKERS)
    ]
    for each in passing:
        heard(each, "ready")
    for each in passing:
        each.write_line("go")
    answers = [heard(each, "entered") for each in passing]
    assert max(each["inside"] for each in answers) == most
    assert min(each["entered"] for each in answers) > 0
    assert SharedCommons(region, WORKERS).tally("clients").total == 0
    region.close()


def test_processes_that_are_killed_leave_nothing_that_clear_does_not_take(
    children: ExitStack,
) -> None:
    region = Region.create(4, SMALL)
    survivor = start(children, "churn", region, 0)
    mine = SharedCommons(region, 3)
    tally = mine.tally(NAMES[0])
    tally.add(2)
    for victim in range(8):
        index = 1 + victim % 2
        child = start(children, "churn", region, index)
        heard(child, "done")
        child.kill()
        region.clear(index)
        assert tally.own == 2
        assert tally.parts[index] == 0
    survivor.write_line("stop")
    _, answer = survivor.wait_for_line(lambda line: '"parts"' in line, what="its parts")
    said = json.loads(answer)
    for name in NAMES:
        ours = 2 * (name == NAMES[0])
        assert mine.tally(name).parts == [said["parts"].get(name, 0), 0, 0, ours]
    counts = mine.counts("chat")
    assert sum(counts.of(name.encode()) for name in NAMES) == said["places"]
    assert region.overflows == 0
    region.close()


def test_a_process_that_dies_before_any_line_harms_nobody(children: ExitStack) -> None:
    region = Region.create(2, SMALL)
    child = start(children, "die-everywhere", region, 0)
    lines = 0
    while "deaths" not in (news := child.wait_for_event(lines)[1]):
        lines += 1
    assert news["deaths"] > 300
    region.close()


def test_who_is_stopped_while_it_has_a_lock_stops_nobody_else(children: ExitStack) -> None:
    region = Region.create(2, SMALL)
    commons = SharedCommons(region, 0)
    held, known, new = (commons.tally(name) for name in ("held", "known", "new"))
    held.add(1)
    known.add(1)
    known.add(-1)
    child = start(children, "stop-inside", region, 1)
    heard(child, "locked")
    held.add(2)
    held.add(-1)
    assert (held.total, region.overflows) == (2, 0)  # nobody can take its slot
    known.add(1)
    assert (known.own, known.total, region.overflows) == (1, 1, 1)  # anybody could
    assert [new.add_below(1), new.add_below(1)] == [True, False]
    assert (new.own, new.total, region.overflows) == (1, 1, 2)
    assert commons.overflows == 2  # which operators are told
    child.kill()
    new.add(-1)
    assert new.add_below(1)
    assert region.overflows == 2
    other = SharedCommons(region, 1)
    assert [other.tally(name).total for name in ("held", "known", "new")] == [2, 0, 1]
    region.close()


def test_rates_and_sessions_go_on_without_a_lock(
    children: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = Region.create(2, SMALL)
    monkeypatch.setattr("wsrelay.sharing.region.PATIENCE", 0.001)
    commons = SharedCommons(region, 0)
    buckets = commons.buckets("chat", 1.0, 1.0)
    memory = commons.memory("chat", "learnt", lambda: 1e6, 60.0, 100)
    child = start(children, "stop-inside", region, 1)
    heard(child, "locked")
    assert [buckets.take(b"a", 1e6), buckets.take(b"a", 1e6)] == [0.0, 1.0]
    memory.put("sid", MARK)
    assert memory.get("sid") == MARK
    assert region.overflows == 3
    child.kill()
    assert buckets.take(b"a", 1e6 + 1) == 0
    assert region.overflows == 3
    region.close()


def test_what_one_process_learns_all_know(children: ExitStack) -> None:
    region = Region.create(2, SMALL)
    child = start(children, "churn", region, 0)
    heard(child, "done")
    memory = SharedCommons(region, 1).memory("chat", "learnt", lambda: 1e6, 60.0, 100)
    assert MARK in {memory.get(name) for name in NAMES}
    child.write_line("stop")
    heard(child, "parts")
    region.close()
