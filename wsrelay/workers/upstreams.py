"""Upstreams of which another process of the relay speaks."""

from __future__ import annotations

from wsrelay.pools.upstream import Upstream
from wsrelay.relay.relay import Relay

__all__ = ["learn_outcome", "upstream_of"]


def upstream_of(relay: Relay, pool: str, name: str, url: str) -> Upstream | None:
    """Return the one that is meant; None: it is gone here, or not yet known."""
    home = relay.pools.get(pool)
    known = () if home is None else home.upstreams
    return next((each for each in known if (each.name, each.url) == (name, url)), None)


def learn_outcome(relay: Relay, pool: str, name: str, url: str, why: str | None) -> None:
    """Learn how a handshake ended in another process; see `Upstream.on_outcome`."""
    upstream = upstream_of(relay, pool, name, url)
    if upstream is None:
        return
    if why is None:
        upstream.has_shown()
    else:
        upstream.has_failed(why)
