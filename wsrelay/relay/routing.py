"""Which route a request takes.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

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
    _as_sent: _Hosts = field(init=False)
    _decoded: _Hosts = field(init=False)

    def __attrs_post_init__(self) -> None:
        routes = tuple(self.routes)
        self._as_sent = _Hosts(routes, str)
        self._decoded = _Hosts(routes, _decoded)

    def match(self, host: str, path: str) -> RouteConfig | None:
        """
        Find the route, or None.

        :param host: lower case, without a port.
        :param path: as the client sent it, without the query; not normalised.
        """
        return self._as_sent.match(host, path, path)

    def match_decoded(self, host: str, path: str) -> RouteConfig | None:
        """
        Find the route of what is behind a path, however that is spelled, or None.

        Every escape is decoded, those of the routes' paths, too; but regexes see *path* as
        it is, as nobody can tell how they would read otherwise.
        """
        return self._decoded.match(host, _decoded(path), path)


def _decoded(path: str) -> str:
    return unquote(path, "latin-1")


class _Hosts:
    """The routes of all hosts; *spell* says how their exact paths and prefixes are compared."""

    def __init__(self, routes: Iterable[RouteConfig], spell: Callable[[str], str]) -> None:
        by_host: dict[str | None, list[RouteConfig]] = {None: []}
        for route in routes:
            by_host.setdefault(route.host, []).append(route)
        self._any_host = _Paths(by_host.pop(None), spell)
        self._exact_hosts: dict[str, _Paths] = {}
        self._wildcards: list[tuple[str, _Paths]] = []
        for host, its in by_host.items():
            if host is not None and host.startswith("*."):
                self._wildcards.append((host[1:], _Paths(its, spell)))
            elif host is not None:
                self._exact_hosts[host] = _Paths(its, spell)
        self._wildcards.sort(key=lambda entry: -len(entry[0]))

    def match(self, host: str, path: str, for_regexes: str) -> RouteConfig | None:
        """Find the route, or None."""
        found = None
        if host in self._exact_hosts:
            found = self._exact_hosts[host].match(path, for_regexes)
        for suffix, paths in self._wildcards:
            if found is None and host.endswith(suffix) and len(host) > len(suffix):
                found = paths.match(path, for_regexes)
        return found or self._any_host.match(path, for_regexes)


class _Paths:
    """The routes of one host, ready to be searched."""

    def __init__(self, routes: list[RouteConfig], spell: Callable[[str], str]) -> None:
        # The first of the file counts; a listener may meet two that differ in their listeners.
        self._exact = {spell(r.path.value): r for r in reversed(routes) if r.path.kind == "exact"}
        prefixes = [(spell(r.path.value), r) for r in routes if r.path.kind == "prefix"]
        self._prefixes = sorted(prefixes, key=lambda entry: -len(entry[0]))
        self._regexes = [(re.compile(r.path.value), r) for r in routes if r.path.kind == "regex"]

    def match(self, path: str, for_regexes: str) -> RouteConfig | None:
        """Find the route for *path*, or None."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        for prefix, route in self._prefixes:
            if path.startswith(prefix):
                return route
        return next((route for regex, route in self._regexes if regex.search(for_regexes)), None)
