"""A relay as a Twisted service, from its start to its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from typing_extensions import override

from wsrelay import __version__
from wsrelay.commons import ALONE, Commons
from wsrelay.config.model import LogConfig, RelayConfig
from wsrelay.descriptors import raise_limit
from wsrelay.line_limit import LineLimit
from wsrelay.listeners import Listeners, contexts_of
from wsrelay.listening import CannotStartError
from wsrelay.log import Logger, limit_lines, limit_no_more, set_level
from wsrelay.observe.access_log import AccessLog, NoLog, make_access_log
from wsrelay.observe.ticks import Ticks
from wsrelay.pools.pool import Pool
from wsrelay.relay.facts import Several
from wsrelay.relay.pumps import choose_pumps
from wsrelay.relay.relay import Relay
from wsrelay.upkeep import Upkeep

if TYPE_CHECKING:
    from wsrelay.admin.control import Control, Json, Soon
    from wsrelay.admin.desk import Desk
    from wsrelay.admin.relay_control import RelayControl
    from wsrelay.cluster.cluster import Cluster, Link
    from wsrelay.service import RelayService

__all__ = ["RunningRelay"]

log = Logger()


class RunningRelay(MultiService):
    """
    A relay that starts, runs and stops; `wsrelay.service.RelayService` says more.

    :param commons: what it counts together with other processes.
    """

    hears_orders: ClassVar[bool] = True
    """Whether it follows the orders of a cluster by itself; a worker's parent does for it."""

    def __init__(
        self,
        config: RelayConfig,
        reactor: Any,
        *,
        to_stdout: bool = True,
        file: str | None = None,
        commons: Commons = ALONE,
    ) -> None:
        super().__init__()
        self.config = config
        self.file = file
        self.started_at = time.time()
        self._made_at = reactor.seconds()
        self.pumps = choose_pumps(config.data_path, reactor)
        self._reactor = reactor
        self._to_stdout = to_stdout
        self._line_limit: LineLimit | None = None
        self._raised = 0, 0  # the limit of descriptors, before and after
        self.access_log = self._make_access_log(config.log)
        self.observers = Several((self.access_log,))
        self.desk: Desk | None = None
        self.relay = Relay(config, reactor, self.observers, self.pumps.make, commons)
        self.relay.on_members = self._pool_changed
        self.ticks = Ticks(
            reactor,
            self.relay.sessions.values,
            lambda session: self.access_log.session_ticked(session),
        )
        self.cluster: Cluster | None = None
        self._link = self._make_link(config)
        self.upkeeps: dict[Pool, Upkeep] = {}
        self.listeners = self.make_listeners()
        contexts = contexts_of(config.listeners)
        for listener in config.listeners:
            self.listeners.add(listener, contexts)
        self.listeners.setServiceParent(self)
        if config.admin is not None:
            self._need_desk()

    def make_listeners(self) -> Listeners:
        """Make what listens; called once."""
        return Listeners(self.relay, self._reactor)

    @property
    def ports(self) -> dict[str, IListeningPort]:
        """The bound ports by listener name; port 0 in relay.ini becomes a real one here."""
        return self.listeners.ports

    @property
    def uptime(self) -> float:
        """How long it has been there, in seconds, whatever the clock was set to meanwhile."""
        return float(self._reactor.seconds() - self._made_at)

    # starting and stopping

    @override
    def privilegedStartService(self) -> None:
        """
        Open the access log and bind the listeners.

        :raises CannotStartError: one of them cannot be.
        """
        self._raised = raise_limit()
        try:
            self.access_log.open()
        except OSError as error:
            raise CannotStartError(f"the access log cannot be opened: {error}") from error
        super().privilegedStartService()
        if self.desk is not None and self.config.admin is not None:
            self.desk.bind(self.config.admin)

    @override
    def startService(self) -> None:
        set_level(self.config.log.level)
        self._line_limit = limit_lines(self._reactor)
        self.relay.is_draining = False
        self.pumps.open()
        super().startService()
        if self.desk is not None:
            self.desk.start()
        for pool in self.relay.pools.values():
            self._pool_changed(pool)
        self.ticks.start(self.config.log.tick)
        if self.cluster is not None:
            self.cluster.follow(self._link)
        self._start_descriptors()
        self._say_where()
        # Not before: until then a signal would end the process without a word.
        self._reactor.callWhenRunning(self._say_up)

    def _start_descriptors(self) -> None:
        self.relay.descriptors.start()
        before, now = self._raised
        if before < now:
            log.info(
                "the limit of file descriptors is raised from {before} to {now}:"
                " enough for {clients} clients",
                before=before,
                now=now,
                clients=self.relay.descriptors.capacity,
            )

    def _say_where(self) -> None:
        for config, address in self.listeners.addresses():
            log.info("listener {name} on {address}", name=config.name, address=address)

    def _say_up(self) -> None:
        log.info(
            "wsrelay {version} is up; frames go through {pump}",
            version=__version__,
            pump=self.pumps.words,
        )

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop listening, and drain; fires when all sessions are over."""
        for upkeep in self.upkeeps.values():
            upkeep.stop()
        self.upkeeps.clear()
        self.ticks.stop()
        drained = self._drained()
        self.relay.descriptors.stop()
        stopped: Deferred[Any] = gatherResults([super().stopService(), drained], consumeErrors=True)
        # One turn later, so that the last answers are written before the process ends.
        stopped.addBoth(lambda result: deferLater(self._reactor, 0, self._stopped, result))
        if self.desk is not None:  # until then an operator could look on
            desk = self.desk
            stopped.addCallback(lambda _: desk.stop())
        return stopped

    def _drained(self) -> Deferred[None]:
        closing = self.relay.drains.drain_relay()
        exchanges = self.relay.exchanges.drain(self.config.drain_timeout)
        both = gatherResults([closing.done, exchanges], consumeErrors=True)
        return both.addCallback(lambda _: None)

    def _stopped(self, result: Any) -> Any:
        self.relay.close_idle()
        for each in list(self.relay.arriving):
            each.abort()
        for connection in list(self.relay.connections):
            if not connection.is_answered:  # a reset would take the answer away
                connection.abort()
        for policies in self.relay.policies.values():
            policies.stop()
        if self.cluster is not None:
            self.cluster.stop()
        self.access_log.close()
        if self._line_limit is not None:
            limit_no_more(self._line_limit)
        return result

    def hurry(self) -> None:
        """Stop at once, when stopping has begun already."""
        self.relay.drains.hurry()
        self.relay.exchanges.hurry()

    def steer(self, own: RelayControl) -> Control:
        """
        Return what operators steer the whole relay by.

        :param own: for this process.
        """
        return own

    def _need_desk(self) -> Desk:
        """Make what the admin endpoint needs, and let it count from now on."""
        from wsrelay.admin.desk import Desk  # only who has an admin endpoint needs all that

        if self.desk is None:
            self.desk = Desk(cast("RelayService", self), self._reactor)
            if self.cluster is not None:
                self.desk.metrics.cluster = self.cluster.meters
            self.observers.observers = (self.access_log, *self.desk.observers)
        return self.desk

    def _make_link(self, config: RelayConfig) -> Link | None:
        """
        Prepare to share with other relays, if a configuration says so.

        :raises ValueError: a TLS file cannot be used.
        """
        if config.cluster is None and self.cluster is None:
            return None
        from wsrelay.cluster.cluster import Cluster  # what it needs is not always installed

        if self.cluster is None:
            self.cluster = Cluster(self._reactor, self.relay)
            if self.hears_orders:
                self._hear_orders(self.cluster)
            if self.desk is not None:
                self.desk.metrics.cluster = self.cluster.meters
        return self.cluster.make(config.cluster)

    def _hear_orders(self, cluster: Cluster) -> None:
        """Let other relays order, and know, what an operator may order and know here."""
        is_new = self.desk is None
        desk = self._need_desk()
        if is_new and self.running:
            desk.start()
        desk.own.ordered = cluster.watch(desk.control, self.describe).given

    def describe(self) -> Soon[Json]:
        """Return what this relay says of itself to others."""
        from wsrelay.cluster.digest import digest_of

        return digest_of(cast("RelayService", self))

    # pools

    def _pool_changed(self, pool: Pool, *, again: bool = False) -> None:
        """Let health checks and discovery follow a pool, one that is gone too; see `Upkeep`."""
        if not self.running:
            return
        if self.cluster is not None:
            self.cluster.pool_changed(pool)
        if self.relay.pools.get(pool.name) is not pool:
            if pool in self.upkeeps:
                self.upkeeps.pop(pool).stop()
            return
        upkeep = self.upkeeps.get(pool)
        if upkeep is None:
            upkeep = Upkeep(pool, self._reactor, self.relay.members_changed)
            self.upkeeps[pool] = upkeep
        upkeep.sync(again=again)

    # the access log

    def _make_access_log(self, config: LogConfig) -> AccessLog | NoLog:
        return make_access_log(config, to_stdout=self._to_stdout, reactor=self._reactor)

    def reopen_log(self) -> None:
        """Open the access log anew, after somebody has moved its file away."""
        self.access_log.reopen()
