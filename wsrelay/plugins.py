"""
Finds balancers by the name that relay.ini calls them.

``twistd`` imports this module only to list its commands, so it imports no
algorithm: `BalancerPlugin` does that when the first balancer of a kind is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import cast

from attrs import field, frozen
from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from wsrelay.config.model import PluginCall
from wsrelay.interfaces import IBalancer, IBalancerPlugin
from wsrelay.log import Logger

__all__ = ["BalancerPlugin", "check_balancer", "find_balancers", "make_balancer"]

log = Logger()


@implementer(IPlugin, IBalancerPlugin)
@frozen(eq=False)
class BalancerPlugin:
    """
    The one line that a balancer needs in ``twisted/plugins/``.

    :param name: what relay.ini calls it.
    :param path: the balancer's class as ``package.module.Class``; imported when
        the first one is made.  It is called with the options that relay.ini
        gives, as keyword arguments with text values, and raises ValueError for
        a bad one.
    :param options: option name -> one line of help.  Nothing else is passed on.
    """

    name: str
    path: str
    options: Mapping[str, str] = field(factory=dict)

    def create(self, options: Mapping[str, str], reactor: object) -> IBalancer:
        """Make one; a balancer that needs the reactor provides `IBalancerPlugin` itself."""
        return cast(IBalancer, namedAny(self.path)(**options))


def find_balancers() -> dict[str, IBalancerPlugin]:
    """
    Return the installed balancers by name, in the order of their names.

    A plugin that breaks `IBalancerPlugin` is left out, with a warning.  Of two
    with the same name the shipped one stays, then the one whose class comes
    first in the alphabet; the other is logged.
    """
    usable = [plugin for plugin in getPlugins(IBalancerPlugin) if _is_usable(plugin)]
    found: dict[str, IBalancerPlugin] = {}
    for plugin in sorted(usable, key=_precedence):
        kept = found.setdefault(plugin.name, plugin)
        if kept is not plugin:
            log.warn(
                "two balancers are called {name!r}: {kept} is used, {dropped} is not; "
                "rename or uninstall one of them",
                name=plugin.name,
                kept=_origin(kept),
                dropped=_origin(plugin),
            )
    return found


def check_balancer(call: PluginCall, reactor: object = None) -> None:
    """
    Check a balancer and its options by making one and dropping it.

    :param reactor: handed to the plugin.  None, for a plain check of a file,
        suits every balancer that waits to use it until it is asked to choose.
    :raises ValueError: the name or an option is unknown, or an option is bad;
        the text is for the operator.
    """
    make_balancer(call, reactor)


def make_balancer(call: PluginCall, reactor: object) -> IBalancer:
    """
    Make the balancer that relay.ini asks for.

    :param reactor: for the balancer's timers.
    :raises ValueError: as `check_balancer`.
    """
    known = find_balancers()
    if call.name not in known:
        raise ValueError(_unknown("balancer", call.name, known))
    plugin = known[call.name]
    for option in call.options:
        if option not in plugin.options:
            raise ValueError(_unknown(f"option of {call.name}", option, plugin.options))
    return _create(plugin, call.options, reactor)


def _create(plugin: IBalancerPlugin, options: Mapping[str, str], reactor: object) -> IBalancer:
    try:
        balancer = plugin.create(dict(options), reactor)
        _verify(IBalancer, balancer)
    except ValueError:
        raise
    except Exception as error:
        # A fault of the plugin, not of the file: its author needs the traceback.
        log.failure("balancer {name!r} cannot be made", name=plugin.name)
        raise ValueError(
            f"balancer {plugin.name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    return balancer


def _is_usable(plugin: IBalancerPlugin) -> bool:
    try:
        _verify(IBalancerPlugin, plugin)
        if not isinstance(plugin.name, str) or not isinstance(plugin.options, Mapping):
            raise TypeError("name is a text and options a mapping of texts")
    except Exception as error:
        log.warn("{plugin} is not used as a balancer: {why}", plugin=_origin(plugin), why=error)
        return False
    return True


def _verify(interface: type[Interface], candidate: object) -> None:
    """Raise TypeError unless *candidate* provides *interface*."""
    try:
        verifyObject(interface, candidate)
    except Invalid as error:
        raise TypeError(" ".join(str(error).split())) from error


def _precedence(plugin: IBalancerPlugin) -> tuple[str, bool, str]:
    origin = _origin(plugin)
    return plugin.name, not origin.startswith("wsrelay."), origin


def _origin(plugin: IBalancerPlugin) -> str:
    """Where a plugin's code is, as ``package.module.Class``."""
    if isinstance(plugin, BalancerPlugin):
        return plugin.path
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that *name* is unknown, what is known, and which of those is nearest."""
    names = sorted(known)
    text = f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}"
    nearest = get_close_matches(name, names, n=1)
    return f"{text}; did you mean {nearest[0]!r}?" if nearest else text
