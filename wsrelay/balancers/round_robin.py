"""``balancer = round-robin``: in turn, by weight, without runs."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from wsrelay.interfaces import IBalancer, IHandshake, IUpstream

__all__ = ["RoundRobin"]


@implementer(IBalancer)
class RoundRobin:
    """
    Smooth weighted round robin.

    Each choice gives every upstream on offer its weight in credit, takes the
    one with the most credit and charges it with all that was given.  So as
    many choices as the weights sum up to fall exactly by weight, and a heavy
    upstream's turns are spread between the others': weights 3 and 1 give a a b a.

    Credit belongs to a name: an upstream that is not on offer for a while
    comes back to the little credit it had, so it is neither flooded nor starved.
    """

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream:
        """Return the one with the most credit; of equals, the first in configuration order."""
        credit = self._credit
        chosen, most, given = upstreams[0], None, 0
        for upstream in upstreams:
            given += upstream.weight
            credit[upstream.name] = have = credit.get(upstream.name, 0) + upstream.weight
            if most is None or have > most:
                chosen, most = upstream, have
        credit[chosen.name] -= given
        return chosen

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Forget those that left the pool."""
        self._credit = {each.name: self._credit.get(each.name, 0) for each in upstreams}
