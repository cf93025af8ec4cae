"""``balancer = first``: fill the upstreams in the order of relay.ini."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from wsrelay.interfaces import IBalancer, IHandshake, IUpstream

__all__ = ["First"]


@implementer(IBalancer)
class First:
    """Chooses the first upstream until its ``max_connections`` are in use, then the next."""

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream:
        """Return the first; those that are full are not among *upstreams*."""
        return upstreams[0]

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Need nothing: this balancer keeps no state."""
