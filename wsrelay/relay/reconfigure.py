"""
A new configuration for a relay that runs: prepared first, then put in place at once.

What may fail is done by `prepare`, which changes nothing; `Prepared.apply` cannot fail.
Values are compared, and only what differs is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, fields, frozen

from wsrelay.config.model import PoolConfig, RelayConfig, RouteConfig, UpstreamConfig
from wsrelay.interfaces import IBalancer
from wsrelay.pools.choosing import announce, make_pool, make_pools_balancer
from wsrelay.pools.pool import MemberChanges, Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.admission import Policies, make_all_policies
from wsrelay.relay.dialer import Dialer
from wsrelay.relay.filters import Filters, make_filters
from wsrelay.relay.relay import Relay, routes_for

__all__ = ["Prepared", "differences", "prepare"]


def differences(old: Any, new: Any, *, but: frozenset[str] = frozenset()) -> list[str]:
    """Return the names of the fields in which two objects of one class differ."""
    names = [each.name for each in fields(type(new)) if each.name not in but]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


@frozen
class _PoolChange:
    """A pool that stays, with what was made for its new configuration."""

    pool: Pool
    config: PoolConfig
    balancer: IBalancer | None  # None: the old one stays
    dialers: Mapping[tuple[str, str], Dialer]  # by name and URL

    def apply(self, relay: Relay) -> list[str]:
        """Put it in place; return what changed, in words."""
        pool, old = self.pool, self.pool.config
        before = {each.name: each for each in pool.upstreams}
        weights = {each: each.weight for each in pool.upstreams}
        if self.balancer is not None:
            pool.balancer = self.balancer
        changes = pool.update(self.config) if old != self.config else MemberChanges()
        for upstream in pool.upstreams:
            dialer = self.dialers.get((upstream.name, upstream.url))
            if dialer is not None:
                if old_dialer := relay.dialers.get(upstream):
                    old_dialer.idle.close()
                relay.dialers[upstream] = dialer
        if self.balancer is not None and not changes:
            announce(pool)
        relay.members_changed(pool, changes)
        if old != self.config and not changes:
            relay.on_members(pool)
        names = differences(old, self.config, but=frozenset({"upstreams"}))
        lines = [f"{', '.join(names)} changed"] if names else []
        lines += [f"upstream {each.name} added" for each in changes.added]
        lines += [f"upstream {each.name} removed" for each in changes.removed]
        lines += ["upstreams are in another order"] * changes.reordered
        for each in changes.changed:
            was = weights.get(before[each.name], each.weight)
            weight = f" (weight {was} to {each.weight})" if was != each.weight else ""
            lines.append(f"upstream {each.name} changed{weight}")
        return [f"pool {pool.name}: {line}" for line in lines]


@define
class Prepared:
    """A configuration whose parts are made, but not yet in use."""

    relay: Relay
    config: RelayConfig
    added: list[tuple[Pool, Mapping[Upstream, Dialer]]]
    kept: list[_PoolChange]
    policies: dict[str, Policies]  # by route
    filters: dict[str, Filters]  # by route

    def apply(self) -> list[str]:
        """Put it in place; return what changed, a sentence each."""
        relay, old = self.relay, {each.name: each for each in self.relay.config.routes}
        relay.config = self.config  # first: it says how sessions are drained
        lines = self._apply_pools()
        lines += self._apply_filters()
        self._apply_routes()
        pools = dict(relay.pools)
        gone = self._remove_pools()
        new = {each.name: each for each in self.config.routes}
        for name in old.keys() - new.keys():
            if pool := pools.get(old[name].pool):
                relay.drains.lose_route(name, pool)
        for name in new.keys() - old.keys():
            relay.drains.regain_route(name)
        return lines + _route_words(old, new) + gone

    def _apply_pools(self) -> list[str]:
        lines = []
        for pool, dialers in self.added:
            self.relay.add_pool(pool, dialers)
            self.relay.on_members(pool)
            lines.append(f"pool {pool.name} added")
        for change in self.kept:
            lines += change.apply(self.relay)
        return lines

    def _apply_filters(self) -> list[str]:
        """Let new sessions have the new filters; return whose files alone have changed."""
        old, self.relay.filters = self.relay.filters, self.filters
        return [
            f"route {name}: a file of its filters changed"
            for name, filters in self.filters.items()
            if name in old and filters is not old[name] and filters.calls == old[name].calls
        ]

    def _apply_routes(self) -> None:
        # Those who came through a listener that is gone may still be about to ask.
        held = {each.listener for each in (*self.relay.connections, *self.relay.arriving)}
        for listener in held.union(self.relay.listeners.values()):
            listener.routes = routes_for(listener.config.name, self.config)
        self.relay.guards.follow(self.config.routes)
        old, self.relay.policies = self.relay.policies, self.policies
        gone = [each for name, each in old.items() if each is not self.policies.get(name)]
        for admission in list(self.relay.admissions):
            if admission.policies in gone:  # its answers count no more
                reason = "The relay has changed; connect again."
                admission.refuse(503, reason, "policy-failed")
        for each in gone:
            each.stop()

    def _remove_pools(self) -> list[str]:
        names = {each.name for each in self.config.pools}
        gone = [each for each in self.relay.pools.values() if each.name not in names]
        for pool in gone:
            self.relay.remove_pool(pool)
        return [f"pool {each.name} removed" for each in gone]


def _route_words(old: Mapping[str, RouteConfig], new: Mapping[str, RouteConfig]) -> list[str]:
    lines = [f"route {name} added" for name in new if name not in old]
    lines += [f"route {name} removed" for name in old if name not in new]
    for name in old.keys() & new.keys():
        if names := differences(old[name], new[name]):
            lines.append(f"route {name}: {', '.join(names)} changed")
    return sorted(lines)


def prepare(relay: Relay, config: RelayConfig) -> Prepared:
    """
    Make everything that a new configuration needs and the relay does not have yet.

    :raises ValueError: a plugin or a TLS file cannot be used; nothing has changed.
    """
    policies = make_all_policies(config, relay.reactor, relay.policies)
    filters = make_filters(config, relay.reactor, relay.filters)
    prepared = Prepared(relay, config, [], [], policies, filters)
    for each in config.pools:
        pool = relay.pools.get(each.name)
        if pool is None:
            pool = make_pool(each, relay.reactor, relay.commons)
            prepared.added.append((pool, relay.make_dialers(each, pool.upstreams)))
        else:
            prepared.kept.append(_prepare_kept(relay, pool, each))
    return prepared


def _prepare_kept(relay: Relay, pool: Pool, config: PoolConfig) -> _PoolChange:
    balancer = None
    if config.balancer != pool.config.balancer:
        balancer = make_pools_balancer(config, relay.reactor, relay.commons)
    # TLS files may have changed although their names have not; so those are read again.
    known: dict[tuple[str, str], UpstreamConfig] = {
        (each.name, each.url): each
        for each in (*(upstream.config for upstream in pool.upstreams), *config.upstreams)
    }
    here = {(each.name, each.url) for each in pool.upstreams}
    dialers = {
        key: Dialer(relay.reactor, each, config)
        for key, each in known.items()
        if each.scheme == "wss" or key not in here
    }
    return _PoolChange(pool, config, balancer, dialers)
