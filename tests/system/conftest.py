"""One upstream a module, and for each test a stage that closes what the test opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.site import Site, ini_with
from tests.system.support import RawUpstream, Stage, check_log_is_calm, wait_for_room_in_log


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    listening = RawUpstream.tcp()
    yield listening
    listening.close()


@pytest.fixture
def stage(relay: RelayProcess, upstream: RawUpstream) -> Iterator[Stage]:
    """Give the relay of the module, which must survive every test without a traceback."""
    upstream.is_alone()
    before = len(relay.log())
    given = Stage(relay, upstream)
    yield given
    given.close()
    print(relay.log()[before:])  # pytest shows it when the test failed
    assert relay.returncode is None
    check_log_is_calm(relay.log()[before:])


@pytest.fixture
def room_in_log(relay: RelayProcess) -> None:
    """Have what the test's clients are refused for written: it looks for their records."""
    wait_for_room_in_log(relay)


@pytest.fixture
def site(upstream: RawUpstream, tmp_path: Path) -> Iterator[Site]:
    """Give a relay of the test's own, and a session that must outlive every reload."""
    with started_relay(ini_with(upstream.url), tmp_path) as relay:
        stage = Stage(relay, upstream)
        upstream.is_alone()
        given = Site(stage, *stage.begin())
        yield given
        upstream.is_alone()
        given.check()
        given.end()
        stage.close()
    check_log_is_calm(relay.log())
