"""The relay of a run, with real processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from soak.relay import RelayUnderTest
from tests.support import PATIENCE

pytestmark = pytest.mark.peers


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayUnderTest]:
    found = RelayUnderTest(tmp_path, {"a": 9}).start()
    yield found
    found.stop()


def test_descriptors_are_counted_when_a_relay_that_was_held_up_has_gone_on(
    relay: RelayUnderTest,
) -> None:
    status, quiet = relay.held()
    with socket.create_connection(("127.0.0.1", relay.ports["plain"]), PATIENCE):
        assert relay.held()[1] == quiet + 1
        os.kill(status["pid"], signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(relay.held)
        assert not counting.done()
        os.kill(status["pid"], signal.SIGCONT)
        assert counting.result(PATIENCE)[1] == quiet
