"""What one process has of a cluster; it follows ``[cluster]`` through reloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from wsrelay.admin.control import Control, Json, Soon
from wsrelay.cluster.client import Meters, Redis
from wsrelay.cluster.connection import RedisConnection, Subscribed
from wsrelay.cluster.endpoint import endpoint_of
from wsrelay.cluster.keys import Keys, new_name
from wsrelay.cluster.limits import Limits
from wsrelay.cluster.orders import Orders
from wsrelay.cluster.presence import Presence
from wsrelay.cluster.reports import Reports
from wsrelay.cluster.sessions import Sessions
from wsrelay.config.model import ClusterConfig
from wsrelay.pools.pool import Pool
from wsrelay.relay.relay import Relay

__all__ = ["Cluster", "Link"]

_NOWHERE = Keys("")


@define(eq=False)
class Link:
    """The way to one Redis, under one prefix; made first, put to use by `Cluster.follow`."""

    config: ClusterConfig
    redis: Redis
    presence: Presence
    hearing: Redis | None = None
    """The second connection, by which orders are heard."""


@define(eq=False)
class Cluster:
    """
    Lets a relay count, learn and follow orders together with others.

    What is counted and learnt is each relaying process' business; orders and reports are that
    of the process that an operator talks to: see `watch`.

    :param name: of this process among all that take part.
    :ivar link: None while there is no ``[cluster]``.
    :ivar orders: None where `watch` was not called; *reports*, too.
    """

    reactor: Any
    relay: Relay
    name: str = field(factory=new_name)
    meters: Meters = field(factory=Meters)
    limits: Limits = field(init=False)
    sessions: Sessions = field(init=False)
    orders: Orders | None = field(default=None, init=False)
    reports: Reports | None = field(default=None, init=False)
    link: Link | None = field(default=None, init=False)
    _changed: dict[Pool, None] = field(factory=dict, init=False)
    _turn: IDelayedCall | None = field(default=None, init=False)  # in which orders are followed
    _is_held: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.limits = Limits(_NOWHERE)
        self.sessions = Sessions(_NOWHERE, self.reactor.seconds)

    def watch(self, control: Control, describe: Callable[[], Soon[Json]]) -> Orders:
        """
        Follow orders of other relays, and report to them; called once, before `make`.

        :param control: by which orders are carried out.
        :param describe: returns what this relay says of itself; see `Reports`.
        :returns: who wants to know of orders that are given here.
        """
        self.orders = Orders(self.name, control, _NOWHERE)
        self.reports = Reports(self.name, describe, _NOWHERE, self.reactor.seconds, self.meters)
        return self.orders

    def make(self, config: ClusterConfig | None) -> Link | None:
        """
        Prepare to follow a configuration; None: nothing is shared.

        :raises ValueError: it cannot be used; nothing has changed.
        """
        if config is None or (self.link is not None and self.link.config == config):
            return None if config is None else self.link
        presence = Presence(self.name, Keys(config.prefix), self._write_all)
        url, endpoint = config.redis, endpoint_of(config.redis, self.reactor)
        redis = Redis(self.reactor, url, endpoint, presence.prepare, meters=self.meters)
        redis.on_up, redis.on_down = self._up, self._down
        return Link(config, redis, presence, self._hearing(config))

    def _hearing(self, config: ClusterConfig) -> Redis | None:
        orders = self.orders
        if orders is None:
            return None
        channel = Keys(config.prefix).orders

        def prepare(connection: RedisConnection) -> Deferred[Any]:
            return connection.call("SUBSCRIBE", channel)

        return Redis(
            self.reactor,
            config.redis,
            endpoint_of(config.redis, self.reactor),
            prepare,
            label="Redis, for orders,",
            make=partial(Subscribed, on_message=orders.heard),
            on_up=orders.begin,
            pings=True,
        )

    def follow(self, link: Link | None) -> None:
        """Put to use what `make` has made; sessions stay."""
        if link is not self.link:
            self.stop()
            self.link = link
            if link is not None:
                self._join(link)
        for pool in self.relay.pools.values():
            self.pool_changed(pool)

    def _join(self, link: Link) -> None:
        self.relay.gate = self.limits
        for each in (self.limits, self.sessions, self.orders, self.reports):
            if each is not None:
                each.keys, each.redis = link.presence.keys, link.redis
        link.redis.start()
        if link.hearing is not None:
            link.hearing.start()

    def pool_changed(self, pool: Pool) -> None:
        """
        Take part with a pool, or its balancer, that is new, and let orders hold for it.

        The latter a turn later: other processes of the relay are told of a change when it is
        made here, and can follow no order about what they do not have.
        """
        self.sessions.attach(pool)
        if self.orders is not None:
            self._changed[pool] = None
            self._follow_soon()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let orders about what changes within wait until all processes have changed."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._follow_soon()

    def _follow_soon(self) -> None:
        if self._changed and self._turn is None and not self._is_held:
            self._turn = self.reactor.callLater(0, self._follow_orders)

    def _follow_orders(self) -> None:
        self._turn = None
        changed, self._changed = self._changed, {}
        assert self.orders is not None
        for pool in changed:
            if self.relay.pools.get(pool.name) is pool:
                self.orders.pool_changed(pool)
            else:
                self.orders.pool_gone(pool)

    def stop(self) -> None:
        """Take part no more; what this process had counted is void at once."""
        link, self.link = self.link, None
        if link is not None:
            if link.redis.is_up:
                link.presence.leave(link.redis)
                if self.reports is not None:
                    self.reports.leave()
                self._pause(link)
            link.redis.stop()
            if link.hearing is not None:
                link.hearing.stop()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self.relay.gate = None
        for each in (self.limits, self.sessions, self.orders, self.reports):
            if each is not None:
                each.redis = None
        self.meters.up = False

    @property
    def words(self) -> Json:
        """Say how it is, for ``GET /api/cluster``."""
        if self.link is None:
            return {"redis": None, "relays": []}
        redis = self.link.redis
        return {
            "redis": str(redis.url),
            "prefix": self.link.config.prefix,
            "name": self.name,
            "up": redis.is_up,
            "since_s": round(self.reactor.seconds() - redis.since, 1),
            "problem": redis.problem,
            "relays": [] if self.reports is None else self.reports.relays(),
            "orders": [] if self.orders is None else self.orders.standing(),
        }

    def _up(self) -> None:
        if self.link is not None:
            self.meters.up = True
            self.link.presence.begin(self.link.redis)
            if self.reports is not None:
                self.reports.begin()

    def _down(self) -> None:
        self.meters.up = False
        if self.link is not None:
            self._pause(self.link)
            if self.link.hearing is not None:
                # Perhaps its address leads to another one now, and the old one lives on, alone.
                self.link.hearing.renew("it may not be the same one any more")

    def _pause(self, link: Link) -> None:
        link.presence.pause()
        self.limits.pause()
        if self.orders is not None:
            self.orders.pause()
        if self.reports is not None:
            self.reports.pause()

    def _write_all(self, me: str) -> None:
        """Tell Redis, which knows nothing of this process, all that is so."""
        self.limits.me = me
        self.limits.publish()
        self.sessions.publish()
        if self.orders is not None:
            self.orders.begin()
