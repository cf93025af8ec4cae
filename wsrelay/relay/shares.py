"""What one process does of that which a relay of several does as a whole."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from wsrelay.commons import Tally
from wsrelay.config.model import Rate
from wsrelay.pools.upstream import Upstream

__all__ = ["share_of", "turn_of"]


def share_of(rate: Rate, upstreams: Iterable[Upstream]) -> Rate:
    """
    Return this process' part of the rate at which sessions of *upstreams* are closed.

    It is as large as its part of those sessions, so that the parts of all processes add up
    to the rate; a process that is alone has all of it.
    """
    tallies = [each.tally for each in upstreams]
    own, total = sum(each.own for each in tallies), sum(each.total for each in tallies)
    if own >= total:
        return rate
    part = max(own, 1) / total  # who has none yet closes none, but may get some
    burst = None if rate.burst is None else max(int(rate.burst * part), 1)
    return evolve(rate, per_second=rate.per_second * part, burst=burst)


def turn_of(clients: Tally, index: int) -> float:
    """
    Return when this process closes its first session, as a part of the time between two.

    All that have clients begin one after the other, so that they do not close one each at the
    same moment, again and again.

    :param index: the number of this process.
    """
    busy = [number for number, count in enumerate(clients.parts) if count]
    return busy.index(index) / len(busy) if index in busy else 0.0
