"""Two real relays, one of which is lost, and clients that come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import reconnects


def test_curves_are_as_far_apart_as_where_they_are_furthest() -> None:
    assert reconnects.distance([5, 5], [5, 5]) == 0
    assert reconnects.distance([10], [0, 10]) == 1
    assert reconnects.distance([4, 2, 4], [5, 5]) == pytest.approx(0.4)
    assert reconnects.distance([], []) == 0


@pytest.mark.usefixtures("program")
def test_everybody_comes_back_in_reality_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    asked = [
        "--sessions",
        "30",
        "--rate",
        "30",
        "--share",
        "0",
        "--trials",
        "1",
        "--record",
        str(path),
    ]
    assert reconnects.main(asked) == 0
    found = json.loads(path.read_text("utf-8"))["reconnects"]
    assert found["capacity"] > 0
    for trial in found["trials"]:
        for kind in ("closed", "offered", "served"):
            assert sum(trial["measured"][kind]) == sum(trial["simulated"][kind]) == 30
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed[1:]] == [
        trial["title"] for trial in found["trials"]
    ]
