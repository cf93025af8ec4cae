"""Which route a request takes.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import define, field

from wsrelay.config.model import RouteConfig


@define(eq=False)
class RouteTable:
    """
    The routes of one listener.

    A route for the very host goes before one for ``*.its.domain`` (the longest first),
    and that before one for any host; among those for the same host an exact path goes
    before the longest prefix, and that before the first regex of the file.  When no path
    of a host's routes fits, the less special hosts are tried.
    """

    routes: Iterable[RouteConfig]
    _exact_hosts: dict[str, _Paths] = field(factory=dict, init=False)
    _wildcards: list[tuple[str, _Paths]] = field(factory=list, init=False)
    _any_host: _Paths = field(init=False)

    def __attrs_post_init__(self) -> None:
        by_host: dict[str | None, list[RouteConfig]] = {None: []}
        for route in self.routes:
            by_host.setdefault(route.host, []).append(route)
        self._any_host = _Paths(by_host.pop(None))
        for host, routes in by_host.items():
            if host is not None and host.startswith("*."):
                self._wildcards.append((host[1:], _Paths(routes)))
            elif host is not None:
                self._exact_hosts[host] = _Paths(routes)
        self._wildcards.sort(key=lambda entry: -len(entry[0]))

    def match(self, host: str, path: str) -> RouteConfig | None:
        """
        Find the route, or None.

        :param host: lower case, without a port.
        :param path: as the client sent it, without the query; not normalised.
        """
        found = None
        if host in self._exact_hosts:
            found = self._exact_hosts[host].match(path)
        for suffix, paths in self._wildcards:
            if found is None and host.endswith(suffix) and len(host) > len(suffix):
                found = paths.match(path)
        return found or self._any_host.match(path)


class _Paths:
    """The routes of one host, ready to be searched."""

    def __init__(self, routes: list[RouteConfig]) -> None:
        # The first of the file counts; a listener may meet two that differ in their listeners.
        self._exact = {r.path.value: r for r in reversed(routes) if r.path.kind == "exact"}
        prefixes = [r for r in routes if r.path.kind == "prefix"]
        self._prefixes = sorted(prefixes, key=lambda r: -len(r.path.value))
        self._regexes = [(re.compile(r.path.value), r) for r in routes if r.path.kind == "regex"]

    def match(self, path: str) -> RouteConfig | None:
        """Find the route for *path*, or None."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        for route in self._prefixes:
            if path.startswith(route.path.value):
                return route
        return next((route for regex, route in self._regexes if regex.search(path)), None)
