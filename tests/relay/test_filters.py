"""The filters of the routes: made once, and anew when a reload changes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from tests.messages.fakes import Says
from tests.relay.world import ROUTE, World
from wsrelay.config.model import PluginCall, RelayConfig, RouteConfig
from wsrelay.relay import filters
from wsrelay.relay.filters import filters_of, make_filters
from wsrelay.relay.reconfigure import prepare

ONE, TWO, BAD = PluginCall("one"), PluginCall("two", {"key": "x"}), PluginCall("bad")
CHAT = evolve(ROUTE, mode="messages", filters=(ONE, TWO))

Made = list[tuple[PluginCall, Any]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Let filters be made, and keep for which calls and reactors."""
    kept: Made = []

    def make(call: PluginCall, reactor: Any) -> Says:
        if call.name == "bad":
            raise ValueError("no such filter as bad")
        kept.append((call, reactor))
        return Says(call)

    monkeypatch.setattr(filters, "make_filter", make)
    return kept


def config_of(*routes: RouteConfig) -> RelayConfig:
    return RelayConfig((), routes, ())


@pytest.mark.usefixtures("made")
def test_each_route_has_its_own_in_the_order_of_the_file() -> None:
    clock = Clock()
    other = evolve(CHAT, name="other")
    found = make_filters(config_of(CHAT, evolve(ROUTE, name="bare"), other), clock)
    assert found.keys() == {"chat", "other"}
    assert [name for name, _ in found["chat"].filters] == ["one", "two"]
    assert found["chat"].filters[0][1] is not found["other"].filters[0][1]
    assert filters_of(CHAT, found, clock) is found["chat"].filters


def test_the_reactor_is_handed_to_the_plugin(made: Made) -> None:
    clock = Clock()
    make_filters(config_of(CHAT), clock)
    assert made == [(ONE, clock), (TWO, clock)]


def test_a_route_whose_filters_are_as_they_were_keeps_them(made: Made) -> None:
    before = make_filters(config_of(CHAT), None)
    same = evolve(CHAT, retries=7, filter_timeout=1.0, on_error="pass")
    after = make_filters(config_of(same), None, before)
    assert after["chat"] is before["chat"]
    assert len(made) == 2


@pytest.mark.parametrize(
    "changed", [(TWO, ONE), (ONE,), (ONE, PluginCall("two", {"key": "y"})), (ONE, TWO, ONE)]
)
def test_a_route_with_other_filters_gets_new_ones(made: Made, changed: Any) -> None:
    before = make_filters(config_of(CHAT), None)
    after = make_filters(config_of(evolve(CHAT, filters=changed)), None, before)
    assert [call for call, _ in made[2:]] == list(changed)
    old = {id(each) for _, each in before["chat"].filters}
    assert old.isdisjoint(id(each) for _, each in after["chat"].filters)


def rewrite(file: Path) -> None:
    file.write_text("two")


def touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize("change", [rewrite, touch, os.unlink])
@pytest.mark.parametrize("option", ["file", "path", "words_file"])
def test_a_changed_file_makes_new_filters(
    made: Made, tmp_path: Path, change: Callable[[Path], None], option: str
) -> None:
    file = tmp_path / "words.txt"
    file.write_text("one")
    config = config_of(evolve(CHAT, filters=(PluginCall("one", {option: str(file)}),)))
    before = make_filters(config, None)
    assert make_filters(config, None, before)["chat"] is before["chat"]
    change(file)
    after = make_filters(config, None, before)
    assert after["chat"] is not before["chat"]
    assert make_filters(config, None, after)["chat"] is after["chat"]
    assert len(made) == 2


@pytest.mark.parametrize(
    "meanwhile", [(), (evolve(CHAT, filters=(ONE,)),), (evolve(CHAT, filters=()),)]
)
def test_a_session_whose_route_has_changed_meanwhile_gets_filters_of_its_own(
    made: Made, meanwhile: tuple[RouteConfig, ...]
) -> None:
    """It was let in by the old route: that others have no filters now is not its luck."""
    found = make_filters(config_of(*meanwhile), None)
    del made[:]
    assert [name for name, _ in filters_of(CHAT, found, None)] == ["one", "two"]
    assert [call for call, _ in made] == [ONE, TWO]


def test_a_session_of_a_route_without_filters_gets_none(made: Made) -> None:
    found = make_filters(config_of(CHAT), None)
    assert filters_of(evolve(CHAT, filters=()), found, None) == ()


# in the relay


def with_route(world: World, route: RouteConfig) -> RelayConfig:
    return evolve(world.relay.config, routes=(route,))


def test_the_relay_has_them_from_the_beginning(made: Made) -> None:
    world = World(CHAT)
    assert [name for name, _ in world.relay.filters["chat"].filters] == ["one", "two"]
    assert made == [(ONE, world.reactor), (TWO, world.reactor)]


@pytest.mark.usefixtures("made")
def test_a_reload_puts_new_ones_in_place() -> None:
    world = World(CHAT)
    before = world.relay.filters["chat"]
    same = prepare(world.relay, with_route(world, evolve(CHAT, retries=7)))
    assert same.apply() == ["route chat: retries changed"]
    assert world.relay.filters["chat"] is before
    other = prepare(world.relay, with_route(world, evolve(CHAT, filters=(ONE,))))
    assert world.relay.filters["chat"] is before, "until it is applied"
    lines = other.apply()
    assert len(lines) == 1
    assert "filters" in lines[0]
    assert [name for name, _ in world.relay.filters["chat"].filters] == ["one"]
    assert len(before.filters) == 2, "sessions that live have them"
    prepare(world.relay, with_route(world, evolve(CHAT, filters=()))).apply()
    assert world.relay.filters == {}


@pytest.mark.usefixtures("made")
def test_a_reload_tells_of_a_file_that_alone_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("one")
    world = World(evolve(CHAT, filters=(PluginCall("one", {"file": str(file)}),)))
    assert prepare(world.relay, world.relay.config).apply() == []
    rewrite(file)
    lines = prepare(world.relay, world.relay.config).apply()
    assert lines == ["route chat: a file of its filters changed"]


@pytest.mark.usefixtures("made")
def test_a_bad_filter_changes_nothing() -> None:
    world = World(CHAT)
    before = dict(world.relay.filters), world.relay.config, world.listener.routes
    with pytest.raises(ValueError, match=r"^no such filter as bad$"):
        prepare(world.relay, with_route(world, evolve(CHAT, filters=(ONE, BAD))))
    assert (world.relay.filters, world.relay.config, world.listener.routes) == before
