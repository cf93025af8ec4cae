"""
Finds balancers, discoveries, policies and filters by the names that relay.ini calls them.

``twistd`` imports this module only to list its commands, so it imports no
algorithm: `BalancerPlugin` does that when the first balancer of a kind is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from attrs import field, frozen
from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from wsrelay.config.model import PluginCall
from wsrelay.interfaces import (
    IAccessPolicy,
    IAccessPolicyPlugin,
    IBalancer,
    IBalancerPlugin,
    IDiscovery,
    IDiscoveryPlugin,
    IMessageFilter,
    IMessageFilterPlugin,
)
from wsrelay.log import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = [
    "BalancerPlugin",
    "DiscoveryPlugin",
    "FilterPlugin",
    "PolicyPlugin",
    "TimedBalancerPlugin",
    "check_balancer",
    "check_discovery",
    "check_filter",
    "find_balancers",
    "find_discoveries",
    "find_filters",
    "find_policies",
    "make_balancer",
    "make_discovery",
    "make_filter",
    "make_policy",
]

log = Logger()


class Plugin(Protocol):
    """What the plugins of every kind have."""

    name: str
    options: Mapping[str, str]

    def create(self, options: Mapping[str, str], reactor: object) -> object:
        """Make what the plugin is for."""


@frozen
class Kind:
    """A kind of plugin: what it is called in texts, what finds it, and what it makes."""

    word: str
    words: str
    plugin: type[Interface]
    product: type[Interface]


BALANCER: Final = Kind("balancer", "balancers", IBalancerPlugin, IBalancer)
DISCOVERY: Final = Kind("discovery", "discoveries", IDiscoveryPlugin, IDiscovery)
POLICY: Final = Kind("policy", "policies", IAccessPolicyPlugin, IAccessPolicy)
FILTER: Final = Kind("filter", "filters", IMessageFilterPlugin, IMessageFilter)


@frozen(eq=False)
class _ClassPlugin:
    """
    The one line that a class needs in ``twisted/plugins/`` to be a plugin.

    :param name: what relay.ini calls it.
    :param path: the class as ``package.module.Class``; imported when the first one is made.
    :param options: option name -> one line of help.  Nothing else is passed on.
    """

    name: str
    path: str
    options: Mapping[str, str] = field(factory=dict)


@implementer(IPlugin, IBalancerPlugin)
@frozen(eq=False)
class BalancerPlugin(_ClassPlugin):
    """
    A balancer that is a class.

    It is called with the options that relay.ini gives, as keyword arguments with text
    values, and raises ValueError for a bad one.
    """

    def create(self, options: Mapping[str, str], reactor: object) -> IBalancer:
        """Make one; a balancer that needs the reactor provides `IBalancerPlugin` itself."""
        return cast(IBalancer, namedAny(self.path)(**options))


@implementer(IPlugin, IBalancerPlugin)
@frozen(eq=False)
class TimedBalancerPlugin(_ClassPlugin):
    """A balancer that is a class, called as that of a `BalancerPlugin`, a clock first."""

    def create(self, options: Mapping[str, str], reactor: object) -> IBalancer:
        """Make one; its clock is a callable that returns the reactor's time in seconds."""

        def seconds() -> float:
            # Late: a plain check of a file has no reactor, and never asks for the time.
            return cast("IReactorTime", reactor).seconds()

        return cast(IBalancer, namedAny(self.path)(seconds, **options))


@implementer(IPlugin, IDiscoveryPlugin)
@frozen(eq=False)
class DiscoveryPlugin(_ClassPlugin):
    """A discovery that is a class, called as that of a `BalancerPlugin`, the reactor first."""

    def create(self, options: Mapping[str, str], reactor: object) -> IDiscovery:
        """Make one."""
        return cast(IDiscovery, namedAny(self.path)(reactor, **options))


@implementer(IPlugin, IAccessPolicyPlugin)
@frozen(eq=False)
class PolicyPlugin(_ClassPlugin):
    """
    A policy that is a class, called as that of a `BalancerPlugin`, the reactor first.

    :param needs: what pip installs, if the class imports what not everybody has.
    """

    needs: str = ""

    def create(self, options: Mapping[str, str], reactor: object) -> IAccessPolicy:
        """Make one."""
        try:
            policy = namedAny(self.path)
        except ImportError as error:
            if not self.needs:
                raise
            what = f"policy {self.name!r} needs more than is installed ({error})"
            raise ValueError(f"{what}; run: pip install '{self.needs}'") from error
        return cast(IAccessPolicy, policy(reactor, **options))


@implementer(IPlugin, IMessageFilterPlugin)
@frozen(eq=False)
class FilterPlugin(_ClassPlugin):
    """A filter that is a class, called as that of a `BalancerPlugin`, the reactor first."""

    def create(self, options: Mapping[str, str], reactor: object) -> IMessageFilter:
        """Make one."""
        return cast(IMessageFilter, namedAny(self.path)(reactor, **options))


def find_balancers() -> dict[str, IBalancerPlugin]:
    """Return the installed balancers by name; see `find`."""
    return cast(dict[str, IBalancerPlugin], find(BALANCER))


def find_discoveries() -> dict[str, IDiscoveryPlugin]:
    """Return the installed discoveries by name; see `find`."""
    return cast(dict[str, IDiscoveryPlugin], find(DISCOVERY))


def find_policies() -> dict[str, IAccessPolicyPlugin]:
    """Return the installed policies by name; see `find`."""
    return cast(dict[str, IAccessPolicyPlugin], find(POLICY))


def find_filters() -> dict[str, IMessageFilterPlugin]:
    """Return the installed filters by name; see `find`."""
    return cast(dict[str, IMessageFilterPlugin], find(FILTER))


def check_balancer(call: PluginCall, reactor: object = None) -> None:
    """
    Check a balancer and its options by making one and dropping it.

    :param reactor: handed to the plugin.  None, for a plain check of a file,
        suits every balancer that waits to use it until it is asked to choose.
    :raises ValueError: the name or an option is unknown, or an option is bad;
        the text is for the operator.
    """
    make_balancer(call, reactor)


def check_discovery(call: PluginCall, reactor: object = None) -> None:
    """Check a discovery and its options; as `check_balancer`."""
    make_discovery(call, reactor)


def check_filter(call: PluginCall, reactor: object = None) -> None:
    """Check a filter and its options; as `check_balancer`."""
    make_filter(call, reactor)


def make_balancer(call: PluginCall, reactor: object) -> IBalancer:
    """
    Make the balancer that relay.ini asks for.

    :param reactor: for the balancer's timers.
    :raises ValueError: as `check_balancer`.
    """
    return cast(IBalancer, make(BALANCER, call, reactor))


def make_discovery(call: PluginCall, reactor: object) -> IDiscovery:
    """
    Make the discovery that relay.ini asks for; it does nothing before its ``start``.

    :raises ValueError: as `check_balancer`.
    """
    return cast(IDiscovery, make(DISCOVERY, call, reactor))


def make_policy(call: PluginCall, reactor: object) -> IAccessPolicy:
    """
    Make a policy that relay.ini asks for.

    :raises ValueError: as `check_balancer`.
    """
    return cast(IAccessPolicy, make(POLICY, call, reactor))


def make_filter(call: PluginCall, reactor: object) -> IMessageFilter:
    """
    Make a filter that relay.ini asks for.

    :raises ValueError: as `check_balancer`.
    """
    return cast(IMessageFilter, make(FILTER, call, reactor))


def find(kind: Kind) -> dict[str, Plugin]:
    """
    Return the installed plugins of a kind by name, in the order of their names.

    A plugin that breaks its interface is left out, with a warning.  Of two
    with the same name the shipped one stays, then the one whose class comes
    first in the alphabet; the other is logged.
    """
    plugins: Iterable[Any] = getPlugins(kind.plugin)
    usable = [plugin for plugin in plugins if _is_usable(kind, plugin)]
    found: dict[str, Plugin] = {}
    for plugin in sorted(usable, key=_precedence):
        kept = found.setdefault(plugin.name, plugin)
        if kept is not plugin:
            log.warn(
                "two {kind} are called {name!r}: {kept} is used, {dropped} is not; "
                "rename or uninstall one of them",
                kind=kind.words,
                name=plugin.name,
                kept=_origin(kept),
                dropped=_origin(plugin),
            )
    return found


def make(kind: Kind, call: PluginCall, reactor: object) -> object:
    """
    Make what relay.ini asks for by a plugin's name and options.

    :raises ValueError: the name or an option is unknown, an option is bad, or the plugin
        fails, which is logged; the text is for the operator.
    """
    known = find(kind)
    if call.name not in known:
        raise ValueError(_unknown(kind.word, call.name, known))
    plugin = known[call.name]
    for option in call.options:
        if option not in plugin.options:
            raise ValueError(_unknown(f"option of {call.name}", option, plugin.options))
    return _create(kind, plugin, call.options, reactor)


def _create(kind: Kind, plugin: Plugin, options: Mapping[str, str], reactor: object) -> object:
    try:
        product = plugin.create(dict(options), reactor)
        _verify(kind.product, product)
    except ValueError:
        raise
    except Exception as error:
        # A fault of the plugin, not of the file: its author needs the traceback.
        log.failure("{kind} {name!r} cannot be made", kind=kind.word, name=plugin.name)
        raise ValueError(
            f"{kind.word} {plugin.name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    return product


def _is_usable(kind: Kind, plugin: Plugin) -> bool:
    try:
        _verify(kind.plugin, plugin)
        if not isinstance(plugin.name, str) or not isinstance(plugin.options, Mapping):
            raise TypeError("name is a text and options a mapping of texts")
    except Exception as error:
        log.warn(
            "{plugin} is not used as a {kind}: {why}",
            plugin=_origin(plugin),
            kind=kind.word,
            why=error,
        )
        return False
    return True


def _verify(interface: type[Interface], candidate: object) -> None:
    """Raise TypeError unless *candidate* provides *interface*."""
    try:
        verifyObject(interface, candidate)
    except Invalid as error:
        raise TypeError(" ".join(str(error).split())) from error


def _precedence(plugin: Plugin) -> tuple[str, bool, str]:
    origin = _origin(plugin)
    return plugin.name, not origin.startswith("wsrelay."), origin


def _origin(plugin: Plugin) -> str:
    """Where a plugin's code is, as ``package.module.Class``."""
    if isinstance(plugin, _ClassPlugin):
        return plugin.path
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that *name* is unknown, what is known, and which of those is nearest."""
    names = sorted(known)
    text = f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}"
    nearest = get_close_matches(name, names, n=1)
    return f"{text}; did you mean {nearest[0]!r}?" if nearest else text
