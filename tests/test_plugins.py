from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from attrs import field, frozen
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.plugin import IPlugin
from zope.interface import implementer

from wsrelay import plugins
from wsrelay.balancers.hash import Hash
from wsrelay.balancers.sticky_sid import StickySid
from wsrelay.config.model import PluginCall
from wsrelay.interfaces import IBalancer, IBalancerPlugin
from wsrelay.plugins import (
    BalancerPlugin,
    TimedBalancerPlugin,
    check_balancer,
    find_balancers,
    make_balancer,
)
from wsrelay.testing import FakeHandshake, FakeUpstream
from wsrelay.wire.headers import Headers

ROOT = Path(__file__).parent.parent
SHIPPED = ["first", "hash", "least-connections", "random-two", "round-robin", "sticky-sid"]


@implementer(IPlugin, IBalancerPlugin)
@frozen
class OwnPlugin:
    """A user's own plugin, good or bad."""

    name: object = "own"
    make: Callable[[Mapping[str, str], object], object] = lambda options, reactor: None
    options: object = field(factory=dict)

    def create(self, options, reactor):
        return self.make(options, reactor)


class OtherPlugin(OwnPlugin):
    """A plugin whose class has another name."""


@implementer(IPlugin, IBalancerPlugin)
class HalfPlugin:
    name = "half"


@implementer(IBalancer)
class HalfBalancer:
    def choose(self, request, upstreams):
        return upstreams[0]


@pytest.fixture
def logged() -> Iterator[list[dict]]:
    with capturedLogs() as events:
        yield events


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the given plugins the only ones there are."""

    def install(*found: object) -> None:
        monkeypatch.setattr(plugins, "getPlugins", lambda interface: iter(found))

    return install


def refusal(call: PluginCall, reactor: object = None) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the tests look at its text
        make_balancer(call, reactor)
    return str(caught.value)


# Finding


def test_the_shipped_balancers_are_found_in_the_order_of_their_names() -> None:
    kinds = (BalancerPlugin, TimedBalancerPlugin)
    found = [each for each in find_balancers().values() if isinstance(each, kinds)]
    assert [each.name for each in found if each.path.startswith("wsrelay.")] == SHIPPED


def test_every_shipped_option_has_a_line_of_help() -> None:
    for name in SHIPPED:
        for option, line in find_balancers()[name].options.items():
            assert option.isidentifier()
            assert len(line) > 10
            assert "\n" not in line


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_with_the_same_name_the_shipped_one_stays(install, logged, turn: int) -> None:
    shipped = BalancerPlugin("first", "wsrelay.balancers.first.First")
    theirs = BalancerPlugin("first", "acme.First")
    install(*[shipped, theirs][::turn])
    assert find_balancers() == {"first": shipped}
    [event] = logged
    assert event["log_level"] is LogLevel.warn
    assert (event["name"], event["kept"], event["dropped"]) == (
        "first",
        "wsrelay.balancers.first.First",
        "acme.First",
    )


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_strangers_the_first_in_the_alphabet_stays(install, logged, turn: int) -> None:
    own, other = OwnPlugin(), OtherPlugin()
    install(*[own, other][::turn])
    assert find_balancers()["own"] is other
    assert logged[0]["dropped"].endswith(".OwnPlugin")


@pytest.mark.parametrize(
    "bad", [HalfPlugin(), OwnPlugin(name=None), OwnPlugin(options=["key"]), OwnPlugin(name=1)]
)
def test_a_plugin_that_breaks_the_interface_is_left_out_with_a_warning(
    install, logged, bad: object
) -> None:
    good = OwnPlugin("good")
    install(bad, good)
    assert find_balancers() == {"good": good}
    [event] = logged
    assert event["log_level"] is LogLevel.warn
    assert event["plugin"] == f"{__name__}.{type(bad).__name__}"


# Making


def test_a_balancer_is_made_with_its_options() -> None:
    call = PluginCall("hash", {"key": "path", "load_factor": "2"})
    assert isinstance(make_balancer(call, Clock()), Hash)
    check_balancer(call)


def test_a_balancer_that_tells_the_time_is_checked_without_a_reactor_and_asks_it_later() -> None:
    call = PluginCall("sticky-sid", {"ttl": "10s", "size": "1"})
    check_balancer(call)
    clock, upstreams = Clock(), (FakeUpstream("a"), FakeUpstream("b"))
    balancer = make_balancer(call, clock)
    assert isinstance(balancer, StickySid)
    request, body = FakeHandshake(query="sid=x"), b'0{"sid":"x"}'
    other = next(each for each in upstreams if each is not balancer.choose(request, upstreams))
    balancer.answered(request, other, 200, Headers(), body)
    clock.advance(9.5)
    assert balancer.find(request, upstreams) is other
    clock.advance(10)
    assert balancer.find(request, upstreams) is None


def test_an_unknown_name_is_refused_with_the_known_and_the_nearest(install) -> None:
    install(OwnPlugin("hash"), OwnPlugin("first"))
    assert refusal(PluginCall("x")) == "unknown balancer 'x'; known: first, hash"
    assert refusal(PluginCall("hsah")) == (
        "unknown balancer 'hsah'; known: first, hash; did you mean 'hash'?"
    )


def test_an_unknown_option_is_refused_with_the_known_and_the_nearest() -> None:
    assert refusal(PluginCall("hash", {"key": "ip", "loadfactor": "2"})) == (
        "unknown option of hash 'loadfactor'; known: key, load_factor; did you mean 'load_factor'?"
    )
    assert refusal(PluginCall("first", {"x": "1"})) == "unknown option of first 'x'; known: none"


def test_a_bad_option_is_refused_in_the_plugins_own_words() -> None:
    with pytest.raises(ValueError, match=r"^load_factor=0: expected a number of 1 or more"):
        check_balancer(PluginCall("hash", {"key": "ip", "load_factor": "0"}))


def test_a_plugin_gets_the_reactor_and_a_copy_of_the_options(install) -> None:
    given = []

    def make(options, reactor):
        given.append((dict(options), reactor))
        options.clear()
        return Hash("ip")

    install(OwnPlugin(make=make, options={"a": "help"}))
    clock, call = Clock(), PluginCall("own", {"a": "1"})
    make_balancer(call, clock)
    assert given == [({"a": "1"}, clock)]
    assert call.options == {"a": "1"}


def test_a_plugin_that_raises_anything_else_is_refused_and_its_traceback_logged(
    install, logged
) -> None:
    install(OwnPlugin(make=lambda options, reactor: 1 / 0))
    assert refusal(PluginCall("own")) == (
        "balancer 'own' cannot be made: ZeroDivisionError: division by zero"
    )
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]


def test_a_plugin_whose_class_is_not_there_is_refused(install, logged) -> None:
    install(BalancerPlugin("own", "wsrelay.balancers.nothing.Nothing"))
    assert refusal(PluginCall("own")).startswith("balancer 'own' cannot be made: ")
    assert len(logged) == 1


@pytest.mark.parametrize("made", [None, HalfBalancer()])
def test_a_plugin_that_makes_no_balancer_is_refused(install, logged, made: object) -> None:
    install(OwnPlugin(make=lambda options, reactor: made))
    assert refusal(PluginCall("own")).startswith("balancer 'own' cannot be made: TypeError: ")
    assert "IBalancer" in refusal(PluginCall("own"))


# As twistd finds them


def run_python(code: str, *path: Path) -> str:
    """Run *code* in a fresh interpreter with these folders in front of its path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_file_imports_neither_an_algorithm_nor_the_service_nor_a_reactor() -> None:
    modules = run_python(
        "import sys, twisted.plugins.wsrelay_plugin; print(*sys.modules, sep='\\n')"
    ).split()
    assert "wsrelay.plugins" in modules
    heavy = (
        "wsrelay.balancers",
        "wsrelay.discovery",
        "wsrelay.tap",
        "wsrelay.relay",
        "twisted.names",
        "autobahn",
    )
    assert [name for name in modules if name.startswith(heavy)] == []
    assert "twisted.internet.reactor" not in modules


def test_twisteds_plugin_folder_is_no_package_of_ours() -> None:
    """Such a file would hide Twisted's own plugins, or delete them when wsrelay is uninstalled."""
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


OWN_BALANCER = """
from zope.interface import implementer
from wsrelay.interfaces import IBalancer

@implementer(IBalancer)
class Last:
    def choose(self, request, upstreams):
        return upstreams[-1]

    def upstreams_changed(self, upstreams):
        pass
"""

OWN_LINE = """
from wsrelay.plugins import BalancerPlugin
last = BalancerPlugin("last", "last.Last")
"""

USE_IT = """
from wsrelay.plugins import find_balancers
from wsrelay.testing import check_balancer_contract
check_balancer_contract(find_balancers()["last"])
print(*find_balancers())
"""


def test_a_users_own_balancer_is_one_class_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN_BALANCER)
    folder = tmp_path / "twisted" / "plugins"
    folder.mkdir(parents=True)
    (folder / "own_plugin.py").write_text(OWN_LINE)
    assert {"last", *SHIPPED} <= set(run_python(USE_IT, tmp_path).split())
