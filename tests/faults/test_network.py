"""Half-open connections: the other side is gone, and nobody says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.faults import network
from tests.faults.network import HERE, THERE, Wire
from tests.faults.scene import Scene, Stage
from tests.faults.upstream import Upstream
from tests.faults.witness import QUIET, Crowd, ended, has_ended
from tests.system.support import wait_until

pytestmark = pytest.mark.peers

FAST = "keepalive = 1s\nkeepalive_timeout = 3s\nconnect_timeout = 1s"


@pytest.fixture
def wire() -> Iterator[Wire]:
    with network.wire() as given:
        yield given


def ends_of(scene: Scene) -> list[dict[str, object]]:
    """Return the access log's records of sessions of the route ``victim`` that have ended."""
    return [each for each in scene.records("end") if each["route"] == "victim"]


def test_clients_cut_off(stage: Stage, wire: Wire) -> None:
    with (
        stage.scene(Upstream("a"), route=FAST, endpoint="tcp:0") as scene,
        contextlib.ExitStack() as stack,
    ):
        with wire.visit():
            far = stack.enter_context(Crowd(f"ws://{HERE}:{scene.port}/victim"))
        cut_off = far.join(10, QUIET)
        far.goes_on()
        near = scene.victims.join(10, QUIET)
        scene.victims.goes_on()
        scene.harm()
        wire.cut()
        wait_until(lambda: len(ends_of(scene)) == len(cut_off), "the end of those sessions")
        scene.noticed()
        # The upstream is told; the clients cannot be.
        ends = {(each["close_code"], each["close_reason"]) for each in ends_of(scene)}
        assert ends == {(1011, "no pong from the client")}
        assert not any(map(has_ended, (*cut_off, *near)))
        scene.figures.hit += len(cut_off)
        wire.mend()
        ended(cut_off)
        # A close frame may have waited, for the other side's address, on the relay's side.
        assert {each.code for each in cut_off} <= {1006, 1011}


def test_upstream_cut_off(stage: Stage, wire: Wire) -> None:
    far = Upstream("a", THERE, wire.visit)
    with stage.scene(far, Upstream("b"), route=FAST) as scene:
        scene.settle()
        hit = scene.of("a")
        scene.harm()
        wire.cut()
        ended(hit)
        assert {(each.code, each.reason) for each in hit} == {(1011, "no pong from the upstream")}
        scene.was_hit(hit)
        scene.go_elsewhere(len(hit))
        wire.mend()
        scene.wait_for("a")
