"""A worker's process, as far as it needs no other process."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from wsrelay.config.model import RelayConfig
from wsrelay.workers.orders import Orders
from wsrelay.workers.worker import Worker

ORDERS = Orders(0, RelayConfig((), (), ()), False, True, (), {}, False, "secret", False, {})


def worker() -> Worker:
    nothing: Any = None
    return Worker(nothing, nothing)


def test_orders_of_another_version_are_refused() -> None:
    orders = evolve(ORDERS, version="0.0.9")
    with pytest.raises(RuntimeError, match="was installed while 0"):
        worker().take("begin", (orders,), ())


def test_nothing_is_done_before_there_are_orders() -> None:
    with pytest.raises(LookupError, match="comes before this worker has its orders"):
        worker().take("freed", ("main",), ())
