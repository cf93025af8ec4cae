from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsrelay.workers.count import count_of


@pytest.mark.parametrize(
    ("text", "processors", "expected"),
    [
        ("max 100000", 4, 4),
        ("200000 100000", 4, 2),
        ("150000 100000", 4, 2),
        ("50000 100000", 4, 1),
        ("800000 100000", 4, 4),
        ("nonsense", 4, 4),
        ("", 4, 4),
        ("1 0", 4, 4),
    ],
)
def test_auto_is_one_for_each_processor_that_may_be_used(
    text: str, processors: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert count_of("auto", quota) == expected


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    assert count_of("auto", tmp_path / "none") == len(os.sched_getaffinity(0))


def test_a_number_is_taken_as_it_is(tmp_path: Path) -> None:
    assert count_of(7, tmp_path) == 7
