"""Every installed balancer keeps the contract, and the contract notices those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from wsrelay.interfaces import (
    LEARNS,
    IBalancer,
    IBalancerPlugin,
    ILearningBalancer,
    IStickyBalancer,
)
from wsrelay.plugins import find_balancers
from wsrelay.testing import check_balancer_contract

OPTIONS: dict[str, list[dict[str, str]]] = {
    "hash": [
        {"key": "ip"},
        {"key": "path", "load_factor": "1"},
        {"key": "header:X-User", "load_factor": "off"},
        {"key": "cookie:user", "load_factor": "2"},
        {"key": "query:room"},
    ],
    "sticky-sid": [{}, {"size": "1", "ttl": "1s", "param": "room"}],
}
INSTALLED = find_balancers()
CASES = [(name, options) for name in INSTALLED for options in OPTIONS.get(name, [{}])]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_installed_balancer_keeps_the_contract(name: str, options: dict[str, str]) -> None:
    check_balancer_contract(INSTALLED[name], options)


@implementer(IBalancer)
@frozen
class Scripted:
    """A balancer whose choice is made by a function."""

    function: Callable[[object, tuple], object]

    def choose(self, request, upstreams):
        return self.function(request, upstreams)

    def upstreams_changed(self, upstreams):
        pass


@implementer(IPlugin, IBalancerPlugin)
@frozen
class ScriptedPlugin:
    function: Callable[[object, tuple], object]
    name: str = "scripted"
    options: Mapping[str, str] = field(factory=dict)

    def create(self, options, reactor):
        return Scripted(self.function)


def remembers_the_first():
    seen = []

    def choose(request, upstreams):
        seen.append(upstreams[0])
        return seen[0]

    return choose


@pytest.mark.parametrize(
    "function",
    [
        lambda request, upstreams: upstreams[0],
        lambda request, upstreams: succeed(upstreams[-1]),
        lambda request, upstreams: Deferred(),
    ],
)
def test_the_contract_accepts_a_choice_now_and_later(function) -> None:
    check_balancer_contract(ScriptedPlugin(function))


def test_the_contract_cancels_what_does_not_come_at_once() -> None:
    waiting, cancelled = [], []

    def choose(request, upstreams):
        waiting.append(Deferred(cancelled.append))
        return waiting[-1]

    check_balancer_contract(ScriptedPlugin(choose))
    assert cancelled == waiting != []


@pytest.mark.parametrize(
    "function",
    [
        lambda request, upstreams: None,
        lambda request, upstreams: upstreams[0].name,
        lambda request, upstreams: succeed(None),
        lambda request, upstreams: fail(RuntimeError("broken")),
        lambda request, upstreams: upstreams[1],
        lambda request, upstreams: upstreams[len(request.cookies["user"]) % len(upstreams)],
        lambda request, upstreams: upstreams[0].active < 10**9 and upstreams[0],
        lambda request, upstreams: upstreams[0].weight < 1000 and upstreams[0],
        lambda request, upstreams: upstreams[0].name == "upstream-0" and upstreams[0],
        lambda request, upstreams: (
            (len(upstreams), upstreams[0].name) != (3, "upstream-1") and upstreams[0]
        ),
        remembers_the_first(),
    ],
)
def test_the_contract_notices_a_balancer_that_breaks_it(function) -> None:
    with pytest.raises(AssertionError, match=r"^(chose|choose raised) "):
        check_balancer_contract(ScriptedPlugin(function))


@implementer(ILearningBalancer, IStickyBalancer)
class Learning:
    """A balancer that learns and finds as told."""

    def __init__(self, find: Callable = lambda request, upstreams: None) -> None:
        self.function = find
        self.told: list[tuple] = []

    def find(self, request, upstreams):
        return self.function(request, upstreams)

    def choose(self, request, upstreams):
        return upstreams[0]

    def upstreams_changed(self, upstreams):
        pass

    def wants_answer(self, request):
        return True

    def answered(self, request, upstream, status, headers, body):
        self.told.append((request, upstream, status, headers, body))


@implementer(IPlugin, IBalancerPlugin)
@frozen
class LearningPlugin:
    balancer: Learning
    name: str = "learning"
    options: Mapping[str, str] = field(factory=dict)

    def create(self, options, reactor):
        return self.balancer


def test_the_contract_shows_answers_of_all_kinds_to_a_balancer_that_learns() -> None:
    balancer = Learning()
    check_balancer_contract(LearningPlugin(balancer))
    assert {status for _, _, status, _, _ in balancer.told} == {200, 204, 500}
    assert {len(body) for _, _, _, _, body in balancer.told} >= {0, LEARNS}


def broken(self, request, upstreams):
    raise RuntimeError("broken")


def broken_wish(self, request):
    raise RuntimeError("broken")


def broken_lesson(self, request, upstream, status, headers, body):
    raise RuntimeError("broken")


BROKEN = {"find": broken, "wants_answer": broken_wish, "answered": broken_lesson}


def test_the_contract_notices_a_balancer_that_finds_what_was_not_offered() -> None:
    kept: list = []

    def find(request, upstreams):
        kept.append(upstreams[0])
        return kept[0]

    with pytest.raises(AssertionError, match=r"^found .* which is none of"):
        check_balancer_contract(LearningPlugin(Learning(find)))


@pytest.mark.parametrize("method", BROKEN)
def test_the_contract_notices_a_method_that_raises(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    balancer = Learning()
    monkeypatch.setattr(Learning, method, BROKEN[method])
    with pytest.raises(AssertionError, match=rf"^{method} raised RuntimeError"):
        check_balancer_contract(LearningPlugin(balancer))


@implementer(IPlugin, IBalancerPlugin)
class NamelessPlugin:
    options: Mapping[str, str] = {}

    def create(self, options, reactor):
        raise AssertionError("its name is looked at before anything is made")


def test_the_contract_notices_a_plugin_that_lacks_an_attribute() -> None:
    with pytest.raises(AssertionError, match="name"):
        check_balancer_contract(NamelessPlugin())
