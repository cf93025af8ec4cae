"""The relay of one worker: it relays, and is told by the parent what else there is to know."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from typing_extensions import override

from wsrelay.commons import Commons
from wsrelay.config.model import RelayConfig, UpstreamConfig
from wsrelay.listeners import Listeners
from wsrelay.observe.access_log import AccessLog
from wsrelay.pools.pool import Pool, Upstream
from wsrelay.pools.sticky import use_secret
from wsrelay.pools.upstream import Health
from wsrelay.relay.root_files import take_from_root
from wsrelay.service import RelayService
from wsrelay.sockets import PassedEndpoint
from wsrelay.turns import Turns
from wsrelay.workers.channel import Channel
from wsrelay.workers.orders import Orders
from wsrelay.workers.upstreams import learn_outcome, upstream_of

__all__ = ["WorkerService"]


class WorkerService(RelayService):
    """
    Relays clients of sockets that the parent keeps.

    Upstreams are checked and discovered by the parent, which tells what it found; what
    handshakes show here is told to the parent, who tells the other workers.

    It counts together with other relays by itself, and leaves their orders to the parent.

    :param channel: to the parent.
    :param passed: the listening sockets, by their endpoints.
    """

    hears_orders = False

    def __init__(
        self,
        orders: Orders,
        reactor: Any,
        commons: Commons,
        channel: Channel,
        passed: dict[str, socket.socket],
    ) -> None:
        use_secret(orders.secret)
        take_from_root(orders.files)
        self._channel = channel
        self._passed = passed
        self._present = commons.tally("present")
        super().__init__(
            evolve(orders.config, admin=None),
            reactor,
            to_stdout=orders.to_stdout,
            commons=commons,
        )
        self.relay.is_part = True
        if orders.counts:
            self._need_desk()
        for pool in self.relay.pools.values():
            if memo := orders.pools.get(pool.name):
                self.relay.members_changed(pool, pool.recall(memo))
        self._begins_draining = orders.is_draining

    @override
    def make_listeners(self) -> Listeners:
        relay = self.relay
        turns = Turns(self._reactor, relay.doors.tally, self._present)
        return Listeners(relay, self._reactor, self._endpoint_of, turns)

    def _endpoint_of(self, reactor: Any, endpoint: str, backlog: int) -> IStreamServerEndpoint:
        return PassedEndpoint(reactor, self._passed[endpoint], backlog)

    def may_use(self, log_file: int) -> None:
        """Open the access log by this descriptor, should that be forbidden otherwise."""
        if isinstance(self.access_log, AccessLog) and self.access_log.sink is not None:
            self.access_log.sink.passed = log_file

    @override
    def startService(self) -> None:
        super().startService()
        self.relay.is_draining = self._begins_draining
        self._present.add(1)

    @override
    def stopService(self) -> Deferred[Any]:
        if self._present.own:
            self._present.add(-1)
        stopped = super().stopService()
        for each in self._passed.values():
            each.close()  # or clients would wait for nobody, should the parent be dead
        self._passed.clear()
        return stopped

    # what the parent tells

    async def follow(
        self,
        config: RelayConfig,
        counts: bool,
        endpoints: Sequence[str],
        descriptors: Sequence[int],
    ) -> list[str]:
        """
        Change to a new configuration.

        :param endpoints: those of new listening sockets, whose *descriptors* come along.
        """
        self._passed.update(attach_sockets(endpoints, descriptors))
        if counts and self.desk is None:
            self._need_desk().start()
        lines = await self.change_to(evolve(config, admin=None))
        wanted = {each.endpoint for each in config.listeners} if self.running else set()
        for endpoint in self._passed.keys() - wanted:
            self._passed.pop(endpoint).close()
        return lines

    def outcome(self, pool: str, name: str, url: str, why: str | None) -> None:
        """Learn how a handshake ended in another worker; see `Upstream.on_outcome`."""
        learn_outcome(self.relay, pool, name, url, why)

    def checked(
        self, pool: str, name: str, url: str, health: Health, why: str, proves: bool
    ) -> None:
        """Learn what a health check found; see `Upstream.check_found`."""
        if upstream := upstream_of(self.relay, pool, name, url):
            upstream.check_found(health, why, proves=proves)

    def discovered(self, pool: str, upstreams: tuple[UpstreamConfig, ...]) -> None:
        """Learn what a discovery found."""
        if home := self.relay.pools.get(pool):
            self.relay.members_changed(home, home.set_members("discovery", upstreams))

    def freed(self, pool: str) -> None:
        """Learn that another worker has given a place back, for which somebody may wait here."""
        if home := self.relay.pools.get(pool):
            home.call_waiting()

    # what the parent is told

    def _tell_outcome(self, pool: Pool, upstream: Upstream, why: str | None) -> None:
        self._channel.tell("outcome", pool.name, upstream.name, upstream.url, why)

    def _tell_freed(self, pool: Pool) -> None:
        self._channel.tell("freed", pool.name)

    @override
    def _pool_changed(self, pool: Pool, *, again: bool = False) -> None:
        """Let the parent know what happens to a pool; it is the one that checks and discovers."""
        pool.on_outcome = self._tell_outcome
        pool.on_freed = self._tell_freed

    # the parent has said so, once for all

    @override
    def _say_where(self) -> None: ...

    @override
    def _say_up(self) -> None: ...


def attach_sockets(
    endpoints: Sequence[str], descriptors: Sequence[int]
) -> dict[str, socket.socket]:
    """Return the listening sockets that came with descriptors."""
    return {
        endpoint: socket.socket(fileno=os.dup(descriptor))
        for endpoint, descriptor in zip(endpoints, descriptors, strict=True)
    }
