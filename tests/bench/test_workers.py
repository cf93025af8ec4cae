"""What several workers carry, by what was measured of one and of several."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import workers
from bench.processes import BenchError, Child, cpu_seconds, cpu_seconds_each
from bench.quota import Quotas

Figures = dict[str, Any]


def figures(cpu_us: float, *worker_cpu_s: float, per_s: float = 1000.0) -> Figures:
    each = {"cpu_us": cpu_us, "per_s": per_s, "elapsed_s": 2.0}
    return {**each, "worker_cpu_s": list(worker_cpu_s)}


@pytest.mark.parametrize(
    ("loads", "even"),
    [([3.0], 1.0), ([1.0, 1.0], 1.0), ([2.0, 0.0], 0.5), ([3.0, 1.0, 2.0], 2 / 3)],
)
def test_a_load_is_even_when_all_have_the_same(loads: list[float], even: float) -> None:
    assert workers.balance(loads) == pytest.approx(even)


@pytest.mark.parametrize(
    ("several", "carried"),
    [
        (figures(10.0, 1.0, 1.0), 2.0),
        (figures(12.5, 1.0, 1.0), 1.6),  # each message costs more
        (figures(10.0, 1.0, 0.5), 1.5),  # one is full when the other is half full
        (figures(8.0, 1.0, 1.0), 2.5),
    ],
)
def test_what_two_carry_is_less_for_what_is_lost(several: Figures, carried: float) -> None:
    assert workers.capacity_ratio(figures(10.0, 1.0), several, 2) == pytest.approx(carried)


def test_shares_are_used_up_when_workers_ran_for_all_of_them() -> None:
    assert workers.used_up(figures(1.0, 0.3, 0.3), 0.15) == pytest.approx(1.0)
    assert workers.used_up(figures(1.0, 0.3, 0.0), 0.15) == pytest.approx(0.5)


def test_medians_are_taken_over_rounds_and_loads_that_set_the_pace_say_nothing_of_capacity() -> (
    None
):
    rounds = [
        {"1": figures(10.0, 1.0, per_s=100.0), "2": figures(cost, 1.0, 1.0, per_s=per_s)}
        for cost, per_s in [(10.0, 150.0), (12.5, 190.0), (20.0, 230.0)]
    ]
    lines = workers.summary(
        {
            "workers": 2,
            "share": 0.5,
            "titles": {"fast": "as it goes", "paced": "at a pace"},
            "cost": {"fast": rounds, "paced": rounds},
            "direct": {"fast": rounds},
            "limited": ["fast"],
        }
    )
    assert lines == [
        "as it goes: 10.0 µs with one worker, 12.5 with 2, balance 1.00: 2 cores carry 1.60 times "
        "one",
        "at a pace: 10.0 µs with one worker, 12.5 with 2, balance 1.00",
        "as it goes, 50% of a core for each: 100 a second with one worker, 190 with 2: 1.90 times; "
        "they used 100% and 100% of that at least",
    ]


@pytest.mark.usefixtures("program")
def test_two_workers_are_driven_beside_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    short = ["--rounds", "1", "--seconds", "0.2", "--loads", "1", "--share", "0"]
    assert workers.main([*short, "--record", str(path)]) == 0
    [load] = json.loads(path.read_text("utf-8"))["workers"]["cost"].values()
    assert [len(load[0][name]["worker_cpu_s"]) for name in ("1", "2")] == [1, 2]
    assert all(used > 0 for used in load[0]["2"]["worker_cpu_s"])
    assert "64 B echo, 100 connections: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("cpu.cfs_quota_us", {"cpu.cfs_quota_us": "2500", "cpu.cfs_period_us": "10000"}),
        ("cpu.max", {"cpu.max": "2500 10000"}),
    ],
)
def test_both_versions_of_control_groups_are_told_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, expected: dict[str, str]
) -> None:
    mkdir = Path.mkdir

    def as_the_kernel(group: Path) -> None:
        mkdir(group)
        (group / made).touch()

    monkeypatch.setattr(Path, "mkdir", as_the_kernel)
    Quotas((tmp_path / "absent", tmp_path)).limit(4711, 0.25)
    [group] = tmp_path.iterdir()
    found = {file.name: file.read_text() for file in group.iterdir()}
    assert found == {**expected, "cgroup.procs": "4711"}


def test_a_group_is_removed_when_its_last_process_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def busy_twice(group: Path) -> None:
        tries.append(group)
        if len(tries) > 2:
            shutil.rmtree(group)
        else:
            raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "rmdir", busy_twice)
    with Quotas((tmp_path,)) as quotas:
        quotas.limit(4711, 0.25)
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []
    assert len(tries) == 3


def test_where_nobody_may_make_a_group_words_say_so(tmp_path: Path) -> None:
    nowhere = tmp_path / "absent"
    with Quotas((nowhere,)) as quotas, pytest.raises(BenchError, match="cannot be limited"):
        quotas.limit(os.getpid(), 0.5)


def test_a_process_with_children_has_cpu_time_of_each(tmp_path: Path) -> None:
    script = "sleep 30 & echo started; wait"
    command = ["/bin/sh", "-c", script]
    with Child(command, cores=(), cwd=tmp_path, log=tmp_path / "log") as child:
        while "started" not in (tmp_path / "log").read_text():
            child.check()
        each = cpu_seconds_each(child.pid)
        assert len(each) == 2
        assert child.pid in each
        assert cpu_seconds(child.pid) >= sum(each.values())
        child._kill_all()
