"""``balancer = least-connections``: where the fewest sessions are, by weight."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from wsrelay.balancers.round_robin import RoundRobin
from wsrelay.interfaces import IBalancer, IHandshake, IUpstream

__all__ = ["LeastConnections"]


@implementer(IBalancer)
class LeastConnections:
    """
    Chooses the upstream with the fewest live sessions for its weight.

    Equals take turns by weight, so that a quiet pool does not send every
    client to the upstream that happens to be written first.
    """

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream:
        """Return one with the lowest ``active / weight``."""
        loads = [each.active / each.weight for each in upstreams]
        lowest = min(loads)
        equals = [each for each, load in zip(upstreams, loads, strict=True) if load == lowest]
        return equals[0] if len(equals) == 1 else self._turns.choose(request, equals)

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Forget the turns of those that left the pool."""
        self._turns.upstreams_changed(upstreams)
