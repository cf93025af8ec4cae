"""A pool's discovery at work, whatever the discovery does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.plugin import IPlugin
from zope.interface import implementer

from wsrelay import plugins
from wsrelay.config.model import PluginCall, UpstreamConfig
from wsrelay.discovery.source import LONGEST, RETRY, Source, parse_answer
from wsrelay.interfaces import IDiscovery, IDiscoveryPlugin

A, B = "ws://a:1", "ws://b:1 weight=2"
UP_A, UP_B = UpstreamConfig("a:1", A), UpstreamConfig("b:1", "ws://b:1", weight=2)


@implementer(IDiscovery)
@define(eq=False, slots=False)
class Scripted:
    """A discovery that does what a test says."""

    on_start: Callable[[Scripted], object]
    on_stop: Callable[[], object]
    stops: int = 0
    update: Callable[[Any], None] = field(init=False)

    def start(self, update: Callable[[Sequence[str]], None]) -> None:
        self.update = update
        self.on_start(self)

    def stop(self) -> None:
        self.stops += 1
        self.on_stop()


@implementer(IPlugin, IDiscoveryPlugin)
@define(eq=False)
class ScriptedPlugin:
    """Makes scripted discoveries, and keeps them."""

    name: str = "own"
    options: Mapping[str, str] = field(factory=lambda: {"key": "help"})
    on_create: Callable[[], object] = lambda: None
    on_start: Callable[[Scripted], object] = lambda made: None
    on_stop: Callable[[], object] = lambda: None
    made: list[Scripted] = field(factory=list)
    given: list[tuple[dict[str, str], object]] = field(factory=list)

    def create(self, options: Mapping[str, str], reactor: object) -> Scripted:
        self.on_create()
        self.given.append((dict(options), reactor))
        self.made.append(Scripted(lambda made: self.on_start(made), lambda: self.on_stop()))
        return self.made[-1]


@define(eq=False)
class World:
    """A source with a scripted discovery."""

    plugin: ScriptedPlugin = field(factory=ScriptedPlugin)
    clock: Clock = field(factory=Clock)
    changes: list[tuple[UpstreamConfig, ...]] = field(factory=list)
    events: list[dict[str, Any]] = field(factory=list)
    source: Source = field(init=False)

    def __attrs_post_init__(self) -> None:
        call = PluginCall("own", {"key": "value"})
        self.source = Source("chat", call, self.clock, self.changes.append)

    def update(self, *lines: object) -> None:
        self.plugin.made[-1].update(list(lines))

    def news(self) -> list[tuple[UpstreamConfig, ...]]:
        """Return what changed since the last time."""
        changes, self.changes[:] = list(self.changes), []
        return changes

    def log(self) -> list[tuple[str, str]]:
        """Return levels and texts of what was logged since the last time."""
        events, self.events[:] = list(self.events), []
        assert {each["about"] for each in events} <= {"pool chat, discovery own"}
        return [(each["log_level"].name, each.get("text", each["log_format"])) for each in events]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A source that has not started; nothing is left in the reactor at its end."""
    with capturedLogs() as events:
        world = World(events=events)
        monkeypatch.setattr(plugins, "getPlugins", lambda interface: iter([world.plugin]))
        yield world
        world.source.stop()
        assert world.clock.getDelayedCalls() == []


@pytest.fixture
def started(world: World) -> World:
    world.source.start()
    return world


def raises(error: Exception) -> Callable[..., object]:
    def fail(*_anything: object) -> object:
        raise error

    return fail


WELL = ("info", "{about}: all is well again")


# Answers


def test_the_discovery_is_made_when_it_starts_with_its_options_and_the_reactor(
    world: World,
) -> None:
    assert world.plugin.given == []
    world.source.start()
    assert world.plugin.given == [({"key": "value"}, world.clock)]


def test_an_answer_is_passed_on_parsed(started: World) -> None:
    started.clock.advance(7)
    started.update(A, B)
    assert started.news() == [(UP_A, UP_B)]
    assert (started.source.problem, started.log()) == ("", [])


def test_the_same_answer_is_not_passed_on_again(started: World) -> None:
    started.update(A, B)
    started.clock.advance(7)
    started.update(f"  {A}", "ws://b:1   weight=2 name=b:1")
    assert len(started.news()) == 1


@pytest.mark.parametrize("lines", [[A], [B, A], [A, "ws://b:1 weight=3"]])
def test_an_answer_that_differs_in_anything_is_passed_on(started: World, lines: list[str]) -> None:
    started.update(A, B)
    started.update(*lines)
    assert len(started.news()) == 2


BAD = [
    ([], "there is no upstream in the answer"),
    ([A, "http://b:1"], "'http://b:1' is not an upstream (did you mean ws://b:1? ws:// is"),
    ([A, "ws://b:1 wieght=2"], "unknown option 'wieght'"),
    ([A, B, "ws://c:1 name=a:1"], "two upstreams in the answer have the name 'a:1'"),
    ([A, A], "two upstreams in the answer have the name 'a:1'"),
    ([A, " "], "' ' stands in the answer where an upstream belongs"),
    ([A, None], "None stands in the answer where an upstream belongs"),
    ([A, f"unix:/{'x' * 107}"], "a unix socket's path has 107 bytes at most, and this one has"),
    (["unix:run/a.sock"], "'unix:run/a.sock' is relative to nothing; expected unix:/path"),
]


@pytest.mark.parametrize(("lines", "what"), BAD, ids=str)
def test_a_bad_answer_is_logged_and_the_last_one_stays(
    started: World, lines: list[str], what: str
) -> None:
    started.update(A, B)
    started.update(*lines)
    started.update(*lines)
    assert started.news() == [(UP_A, UP_B)]
    [(level, text)] = started.log()
    assert level == "warn"
    assert text.startswith(what)
    assert text.endswith("; the last answer (2 upstreams) stays")
    assert started.source.problem == text


@pytest.mark.parametrize("answer", [None, 1, "ws://a:1", b"x", {A: 1}], ids=repr)
def test_what_is_no_list_of_lines_is_a_bad_answer(started: World, answer: object) -> None:
    started.plugin.made[0].update(answer)
    assert started.news() == []
    assert started.log()[0][0] == "warn"
    assert started.source.problem.endswith("; there is no other")


def test_a_good_answer_ends_the_problem_even_if_it_is_the_old_one(started: World) -> None:
    started.update(A)
    started.update()
    started.log()
    started.update(A)
    assert started.log() == [WELL]
    assert started.source.problem == ""
    assert len(started.news()) == 1


def test_each_other_problem_is_logged(started: World) -> None:
    for lines in ([], [], [A, A], [A, A], []):
        started.update(*lines)
    assert len(started.log()) == 3


def test_a_line_without_end_does_not_fill_the_log(started: World) -> None:
    started.update("ws://" + "ä" * 100_000)
    assert len(started.source.problem) < 2 * LONGEST


def test_what_comes_of_a_change_may_fail(started: World) -> None:
    started.source._changed = raises(KeyError("x"))
    started.update(A)
    assert [level for level, _ in started.log()] == ["critical"]
    started.source._changed = started.changes.append
    started.update(B)
    assert started.news() == [(UP_B,)]


# The beginning and the end


def test_an_answer_may_come_before_start_returns(world: World) -> None:
    world.plugin.on_start = lambda made: made.update([A])
    world.source.start()
    assert world.news() == [(UP_A,)]


def test_a_start_that_fails_is_tried_again_until_it_works(world: World) -> None:
    world.plugin.on_start = raises(RuntimeError("broken"))
    world.source.start()
    text = "cannot be started: RuntimeError: broken; tried again every 10 seconds"
    assert world.source.problem == text
    for _ in range(2):
        world.clock.advance(RETRY)
    assert [each.stops for each in world.plugin.made] == [1, 1, 1]
    assert world.log() == [("critical", text)]
    world.plugin.on_start = lambda made: None
    world.clock.advance(RETRY - 0.1)
    assert len(world.plugin.made) == 3
    world.clock.advance(0.1)
    assert world.log() == [WELL]
    assert world.source.problem == ""
    world.update(A)
    assert world.news() == [(UP_A,)]


def test_a_bad_answer_in_a_start_that_works_stays_a_problem(world: World) -> None:
    world.plugin.on_start = lambda made: made.update([])
    world.source.start()
    assert world.source.problem.startswith("there is no upstream")


def test_an_answer_of_one_that_failed_to_start_is_not_heard(world: World) -> None:
    world.plugin.on_start = raises(RuntimeError("broken"))
    world.source.start()
    world.update(A)
    assert world.news() == []


def test_a_discovery_that_cannot_be_made_is_tried_again(world: World) -> None:
    world.plugin.on_create = raises(ValueError("key: no such thing"))
    world.source.start()
    text = "cannot be started: key: no such thing; tried again every 10 seconds"
    assert world.log() == [("warn", text)]
    world.plugin.on_create = lambda: None
    world.clock.advance(RETRY)
    assert world.log() == [WELL]
    world.update(A)
    assert world.news() == [(UP_A,)]


def test_once_stopped_nothing_is_heard(started: World) -> None:
    started.update(A)
    started.news()
    started.source.stop()
    assert started.plugin.made[0].stops == 1
    started.update(B)
    started.update()
    assert (started.news(), started.log(), started.source.problem) == ([], [], "")


def test_a_stop_that_fails_is_logged(started: World) -> None:
    started.plugin.on_stop = raises(RuntimeError("broken"))
    started.source.stop()
    assert started.log() == [("critical", "{about}: cannot be stopped")]
    started.source.stop()
    assert started.log() == []


def test_it_may_be_stopped_by_what_it_says(world: World) -> None:
    source = Source("chat", PluginCall("own"), world.clock, lambda upstreams: source.stop())
    source.start()
    world.update(A)
    assert world.plugin.made[0].stops == 1


def test_it_may_be_stopped_before_it_is_started_and_while_it_waits(world: World) -> None:
    world.source.stop()
    world.plugin.on_start = raises(RuntimeError("broken"))
    world.source.start()
    world.source.stop()
    world.clock.advance(2 * RETRY)
    assert len(world.plugin.made) == 1


def test_the_discoverys_own_problem_is_told_beside_one_here(started: World) -> None:
    started.plugin.made[0].problem = "the network is down"
    assert started.source.problem == "the network is down"
    started.update()
    assert started.source.problem.startswith("there is no upstream")
    assert started.source.problem.endswith("; the network is down")
    started.update(A)
    assert started.source.problem == "the network is down"


@given(st.lists(st.text() | st.sampled_from([A, B, "unix:/a", "ws://[::1]:1"])))
def test_any_answer_gives_upstreams_or_a_sentence(lines: list[str]) -> None:
    with suppress(ValueError):
        upstreams = parse_answer(lines)
        assert len({each.name for each in upstreams}) == len(upstreams) == len(lines) > 0
