"""A short run, with all that a long one has."""

from __future__ import annotations

import re

import pytest

from soak.__main__ import main

pytestmark = pytest.mark.peers


def test_a_short_run_loses_nothing_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--minutes", "0.2"])
    printed, told = capsys.readouterr()
    assert status == 0, told + printed
    total = re.search(r"(?m)^all +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", printed)
    assert total, printed
    sessions, up, _, lost, restarted, unexpected = map(int, total.groups())
    assert sessions > 50
    assert up > 500
    assert restarted > 0
    assert (lost, unexpected) == (0, 0)
    assert re.search(r"meanwhile +[1-9]\d* upstreams restarted, [1-9]\d* reloads", printed)
