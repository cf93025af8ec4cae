"""Each test is played with both pumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scene import Stage
from tests.support import require
from wsrelay.relay.pumps import why_not_native


@pytest.fixture(params=["native", "python"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """Set scenes for the scenario that the test is called after."""
    if request.param == "native":
        require(not why_not_native(), f"there is no native pump: {why_not_native()}")
    name = request.function.__name__.removeprefix("test_")
    more = [each for each in request.node.callspec.id.split("-") if each != request.param]
    scenario = "_".join([name, *more])
    return Stage(scenario, request.param, tmp_path)
