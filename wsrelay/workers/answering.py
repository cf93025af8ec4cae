"""How a worker answers what the parent asks of its relay."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from wsrelay.admin.control import Json, Soon
from wsrelay.admin.relay_control import RelayControl
from wsrelay.admin.words import closing_words
from wsrelay.config.model import Rate
from wsrelay.observe.bounds import UpstreamKey
from wsrelay.observe.samples import Samples
from wsrelay.relay.levelling import takers_of

__all__ = ["answer"]

Orders = Mapping[str, tuple[float, Mapping[str, int]]]
"""Of each worker, by its `who`: how many sessions a second, and how many to keep where."""


def answer(control: RelayControl, method: str, arguments: tuple[Any, ...]) -> Soon[Any]:
    """
    Do what the parent's `WorkersControl` asks.

    :param method: one of `Control`'s that a worker can answer, ``samples``, ``levels`` or
        ``level``.
    :returns: plain data that can be pickled.
    :raises Refused: it cannot be; see `Control`.
    :raises ValueError: there is no such method.
    """
    if method not in _METHODS:
        raise ValueError(f"a worker has no answer to {method!r}")
    return _METHODS[method](control, *arguments)


def _who(control: RelayControl) -> str:
    """Return a name for this worker that no other has, nor the one before it."""
    return f"{os.getpid()}.{id(control)}"


def _samples(control: RelayControl, gone: Sequence[UpstreamKey]) -> tuple[int, Samples]:
    """Return what this process has counted; its number, because an answer may outlive it."""
    return os.getpid(), control.samples(gone)


def _levels(control: RelayControl, pool: str) -> Json:
    """Return how many sessions there are on the upstreams that may take more."""
    takers = takers_of(control.pool_called(pool))
    return {"who": _who(control), "sessions": {each.name: each.sessions for each in takers}}


def _level(control: RelayControl, pool: str, orders: Orders) -> Json:
    """Close this worker's part of a pool's sessions; who has none does nothing."""
    per_second, goals = orders.get(_who(control), (1.0, {}))
    home = control.pool_called(pool)
    closing = control.service.relay.drains.rebalance(home, Rate(per_second), goals)
    return closing_words(closing) or {}


_METHODS: Final[dict[str, Callable[..., Soon[Any]]]] = {
    "status": RelayControl.status,
    "sessions": RelayControl.sessions,
    "session": RelayControl.session,
    "close_session": RelayControl.close_session,
    "change_upstream": RelayControl.change_upstream,
    "add_upstream": RelayControl.add_upstream,
    "remove_upstream": RelayControl.remove_upstream,
    "drain": RelayControl.drain,
    "ready": RelayControl.ready,
    "publish": RelayControl.publish,
    "samples": _samples,
    "levels": _levels,
    "level": _level,
}
