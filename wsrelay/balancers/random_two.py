"""``balancer = random-two``: two at random, the less loaded of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from zope.interface import implementer

from wsrelay.interfaces import IBalancer, IHandshake, IUpstream

__all__ = ["RandomTwo"]


@implementer(IBalancer)
class RandomTwo:
    """
    The power of two choices.

    Two different upstreams are drawn by weight; the one with fewer live
    sessions for its weight is chosen.  Several relays before the same pool,
    which do not see each other's sessions, do not rush to the same upstream
    as they would with ``least-connections``.

    :param random: draws; a seeded one makes the choices repeatable.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream:
        """Return the less loaded of two; of equals, the one drawn first."""
        one = self._draw(upstreams)
        others = [each for each in upstreams if each is not one]
        if not others:
            return one
        other = self._draw(others)
        return one if one.active / one.weight <= other.active / other.weight else other

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Need nothing: this balancer keeps no state."""

    def _draw(self, upstreams: Sequence[IUpstream]) -> IUpstream:
        return self._random.choices(upstreams, [each.weight for each in upstreams])[0]
