"""What an operator changes is in the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs, eventAsText

from tests.relay.world import ROUTE, Reactor
from wsrelay.admin.relay_control import RelayControl
from wsrelay.config.model import AdminConfig, PoolConfig, RelayConfig, UpstreamConfig
from wsrelay.service import RelayService

UPSTREAMS = tuple(UpstreamConfig(name, f"ws://192.0.2.1:{name}") for name in ("1", "2"))


@pytest.fixture
def control() -> RelayControl:
    config = RelayConfig(
        listeners=(),
        routes=(ROUTE,),
        pools=(PoolConfig("pool", UPSTREAMS),),
        admin=AdminConfig("tcp:9000:interface=127.0.0.1"),
        data_path="python",
    )
    desk = RelayService(config, Reactor()).desk
    assert desk is not None
    return desk.control


def logged(order: Callable[[], object]) -> list[str]:
    """Carry an order out, and return the lines that it leaves in the log."""
    with capturedLogs() as events:
        order()
    return [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]


def test_a_new_weight_is_logged_with_the_old_one(control: RelayControl) -> None:
    assert logged(lambda: control.change_upstream("pool", "1", None, 3)) == [
        "upstream pool/1: weight 1 to 3, by order"
    ]


def test_a_new_state_is_logged_with_the_old_one(control: RelayControl) -> None:
    for old, new in (("ready", "drain"), ("drain", "down"), ("down", "ready")):
        assert logged(lambda state=new: control.change_upstream("pool", "1", state, None)) == [
            f"upstream pool/1: {old} to {new}, by order"
        ]


def test_what_is_so_already_is_not_logged(control: RelayControl) -> None:
    assert logged(lambda: control.change_upstream("pool", "1", "ready", 1)) == []


def test_each_upstream_of_a_pool_is_logged(control: RelayControl) -> None:
    control.change_upstream("pool", "2", "drain", None)
    assert logged(lambda: control.drain("pool")) == ["upstream pool/1: ready to drain, by order"]
    assert logged(lambda: control.ready("pool")) == [
        "upstream pool/1: drain to ready, by order",
        "upstream pool/2: drain to ready, by order",
    ]
