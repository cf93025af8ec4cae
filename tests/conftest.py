"""Settings for every test."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from wsrelay.log import Logger

# How long an example takes depends on what else the machine does; it says nothing of the code.
settings.register_profile(
    "wsrelay", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("wsrelay")

# In the background of a shell it is ignored, and processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_limit_of_lines() -> Iterator[None]:
    """Let no service that a test has left running limit another test's log lines."""
    yield
    Logger.limit = None
