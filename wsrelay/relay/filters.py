"""The filters of the relay's routes: made once, and anew when a reload changes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from wsrelay.config.model import PluginCall, RelayConfig, RouteConfig
from wsrelay.interfaces import UP, IMessageFilter
from wsrelay.messages.chain import Chain
from wsrelay.messages.session import FilteredSession
from wsrelay.plugins import make_filter
from wsrelay.relay.pump import Side

if TYPE_CHECKING:
    from wsrelay.relay.session import Session
    from wsrelay.relay.tags import Tags

__all__ = ["Filters", "chain_for", "filters_of", "make_filters"]

Stamp = tuple[str, int, int, int]
"""A file as it was: its path, inode, size, and the time of its last change."""


@frozen(eq=False)
class Filters:
    """What was made of a route's ``filters``."""

    calls: tuple[PluginCall, ...]
    filters: tuple[tuple[str, IMessageFilter], ...]
    """Each with the name that relay.ini calls it."""
    files: frozenset[Stamp]
    """Those that the options name, as they were before."""


def make_filters(
    config: RelayConfig, reactor: Any, known: Mapping[str, Filters] | None = None
) -> dict[str, Filters]:
    """
    Make the filters of all routes that have any, by the routes' names.

    :param known: those there are; a route whose ``filters``, and the files that they name, are
        as they were keeps its own.
    :raises ValueError: one cannot be made; the text is for the operator.
    """
    made = {}
    for route in config.routes:
        if route.filters:
            old = (known or {}).get(route.name)
            new = route.filters
            if old is None or (old.calls, old.files) != (new, _files(new)):
                old = _make(route.filters, reactor)
            made[route.name] = old
    return made


def filters_of(
    route: RouteConfig, known: Mapping[str, Filters], reactor: Any
) -> Sequence[tuple[str, IMessageFilter]]:
    """
    Return the filters for a new session of a route, each with its name.

    A client may have been let in just before a reload changed its route.  No other filters
    than those will do, and least of all none, so they are made for this one session.

    :param known: from `make_filters`.
    :raises ValueError: they had to be made, and cannot be any more.
    """
    filters = known.get(route.name)
    if not route.filters:
        return ()
    if filters is None or filters.calls != route.filters:
        filters = _make(route.filters, reactor)
    return filters.filters


def chain_for(
    session: Session, filters: Sequence[tuple[str, IMessageFilter]], tags: Tags
) -> Chain | None:
    """
    Join a session that has no pump yet with its filters; None: there are none.

    :param filters: from `filters_of`.
    """
    if not filters:
        return None

    def inject(direction: str, payload: bytes, is_binary: bool) -> None:
        side = Side.UPSTREAM if direction == UP else Side.CLIENT
        session.pump.inject(side, payload, is_binary)

    def close(code: int, reason: str) -> None:
        session.close(code, reason, "filter")

    seen = FilteredSession(
        session.facts, inject, close, partial(tags.tag, session), partial(tags.untag, session)
    )
    route = session.route
    return Chain(filters, seen, session.reactor, route.filter_timeout, route.on_error)


def _make(calls: tuple[PluginCall, ...], reactor: Any) -> Filters:
    files = _files(calls)  # first: a change while they are read is seen next time
    filters = tuple((call.name, make_filter(call, reactor)) for call in calls)
    return Filters(calls, filters, files)


def _files(calls: Iterable[PluginCall]) -> frozenset[Stamp]:
    return frozenset(_stamps(option for call in calls for option in call.options.items()))


def _stamps(options: Iterable[tuple[str, str]]) -> Iterator[Stamp]:
    for name, path in options:
        if name in ("path", "file") or name.endswith("_file"):
            with suppress(OSError, ValueError):
                now = os.stat(path)
                yield path, now.st_ino, now.st_size, now.st_mtime_ns
