"""What the tests of the examples share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers.certificates import Authority


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Give what ends every process of a test, the last one first."""
    with ExitStack() as given:
        yield given


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give who signs the relay's certificates."""
    return Authority(tmp_path)
