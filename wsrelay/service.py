"""
The relay as a Twisted service: what ``twistd wsrelay`` runs, and what others embed.

`wsrelay.running` has its start and its end; here it follows a new configuration.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, DeferredLock

from wsrelay.commons import ALONE, Commons
from wsrelay.config.errors import ConfigErrors, ConfigUnreadable
from wsrelay.config.model import LogConfig, RelayConfig
from wsrelay.listeners import Contexts, contexts_of
from wsrelay.listening import CannotStartError
from wsrelay.log import Logger, set_level
from wsrelay.observe.access_log import AccessLog, NoLog
from wsrelay.relay.pumps import Pumps, choose_pumps
from wsrelay.relay.reconfigure import Prepared, prepare
from wsrelay.running import RunningRelay

if TYPE_CHECKING:
    from wsrelay.cluster.cluster import Link

__all__ = ["CannotStartError", "RelayService", "Reload", "ReloadRefused"]

log = Logger()


class ReloadRefused(Exception):  # noqa: N818
    """
    A new configuration cannot be used; nothing has changed.

    *errors* are the lines for the operator.
    """

    travels: ClassVar = True
    """It goes as it is from one process of a relay to another; see `wsrelay.workers.channel`."""

    def __init__(self, *errors: str) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.errors


@frozen
class Reload:
    """How the last reload went: when (seconds since the epoch), and what it changed."""

    at: float
    changes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@frozen
class _Change:
    """What a new configuration needs, made and not yet in use."""

    prepared: Prepared
    contexts: Contexts
    access_log: AccessLog | NoLog | None  # None: the old one stays
    pumps: Pumps
    link: Link | None  # to other relays

    def drop(self) -> None:
        """Do without it."""
        if self.access_log is not None:
            self.access_log.close()


class RelayService(RunningRelay):
    """
    A relay with its listeners and its access log.

    Give it a parent service, or start it yourself; stopping it drains: nobody new is
    let in, and every session is closed, spread over ``drain_timeout``.

    :param config: from `wsrelay.config.load`.
    :param reactor: the one that everything runs on.
    :param to_stdout: where ``access = -`` writes: standard output, or the service's log.
    :param load: reads the configuration anew, for `reload`; None: there is no file.
    :param file: what it reads, for the status page.
    :param commons: what it counts together with other processes.
    :raises ValueError: a TLS file, a balancer or the native pump cannot be used.
    """

    def __init__(
        self,
        config: RelayConfig,
        reactor: Any,
        *,
        to_stdout: bool = True,
        load: Callable[[], RelayConfig] | None = None,
        file: str | None = None,
        commons: Commons = ALONE,
    ) -> None:
        self.last_reload: Reload | None = None
        self._load = load
        self._lock = DeferredLock()
        super().__init__(config, reactor, to_stdout=to_stdout, file=file, commons=commons)

    def reload(self) -> Deferred[list[str]]:
        """
        Read the configuration anew and change what differs; one reload after the other.

        :returns: what changed, a sentence each; or `ReloadRefused`, and nothing changed.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> list[str]:
        try:
            lines = await self.change_to(self._read())
        except ReloadRefused as refused:
            self._note(Reload(time.time(), errors=tuple(refused.errors)))
            for line in refused.errors:
                log.error("reload refused: {line}", line=line)
            raise
        self._note(Reload(time.time(), changes=tuple(lines)))
        for line in lines or ["nothing changed"]:
            log.info("reload: {line}", line=line)
        return lines

    def _note(self, reload: Reload) -> None:
        self.last_reload = reload
        if self.desk is not None:
            self.desk.metrics.reloaded("refused" if reload.errors else "ok")

    def _read(self) -> RelayConfig:
        if not self.running:
            raise ReloadRefused("the relay is stopping; nothing is reloaded any more")
        if self._load is None:
            raise ReloadRefused("there is no file to reload; start with --config relay.ini")
        try:
            return self._loaded(self._load())
        except ConfigErrors as error:
            raise ReloadRefused(*map(str, error.errors)) from error
        except ConfigUnreadable as error:
            raise ReloadRefused(str(error)) from error

    def _loaded(self, config: RelayConfig) -> RelayConfig:
        """
        Take a configuration that was read.

        :raises ReloadRefused: it is not for this kind of service.
        """
        if config.workers != 1 == self.config.workers:  # or it is embedded: one process anyway
            raise ReloadRefused(
                "workers: one process becomes several at a restart only; restart wsrelay"
            )
        return config

    async def change_to(self, config: RelayConfig) -> list[str]:
        """
        Prepare all that may fail, then put it in place.

        :returns: what changed, a sentence each.
        :raises ReloadRefused: nothing has changed.
        """
        change = self._prepare(config)
        try:
            await self.ask_others(config)
            lines = await self._change_doors(config, change.contexts)
        except CannotStartError as error:
            change.drop()
            raise ReloadRefused(str(error)) from error
        except ReloadRefused:
            change.drop()
            raise
        self.pumps, self.relay.make_pump = change.pumps, change.pumps.make
        with nullcontext() if self.cluster is None else self.cluster.held():
            lines += change.prepared.apply()
            lines += self._change_rest(config, change.access_log)
            if self.cluster is not None:
                self.cluster.follow(change.link)
            for pool in list(self.upkeeps):
                self._pool_changed(pool, again=True)
            await self.tell_others(config)
        await self.listeners.closed()
        return lines

    def try_change(self, config: RelayConfig) -> None:
        """
        Find out whether `change_to` would be refused, as far as that can be known before.

        :raises ReloadRefused: it would.
        """
        self._prepare(config).drop()

    async def ask_others(self, config: RelayConfig) -> None:
        """
        Ask other processes of the relay, if there are any, whether they can change, too.

        :raises ReloadRefused: one cannot.
        """

    async def tell_others(self, config: RelayConfig) -> None:
        """Have other processes of the relay change, if there are any."""

    def _prepare(self, config: RelayConfig) -> _Change:
        access_log = None
        try:
            prepared = prepare(self.relay, config)
            link = self._make_link(config)
            contexts = contexts_of(config.listeners)
            if _sink_of(config.log) != _sink_of(self.config.log):
                access_log = self._make_access_log(config.log)
                access_log.open()
            pumps = self.pumps
            if config.data_path != self.config.data_path:
                pumps = choose_pumps(config.data_path, self._reactor)
                pumps.open()
        except (ValueError, OSError) as error:
            if access_log is not None:
                access_log.close()
            raise ReloadRefused(str(error)) from error
        return _Change(prepared, contexts, access_log, pumps, link)

    async def _change_doors(self, config: RelayConfig, contexts: Contexts) -> list[str]:
        """
        Open, close or alter the admin endpoint and the listeners.

        :raises CannotStartError: both are as they were.
        """
        lines = await self._change_desk(config)
        try:
            return lines + await self.listeners.change(config.listeners, contexts)
        except CannotStartError:
            await self._change_desk(self.config)
            raise

    async def _change_desk(self, config: RelayConfig) -> list[str]:
        if self.desk is None and config.admin is None:
            return []
        is_new = self.desk is None
        desk = self._need_desk()
        if is_new:
            desk.start()
        return await desk.change(config.admin)

    def _change_rest(self, config: RelayConfig, access_log: AccessLog | NoLog | None) -> list[str]:
        """Take over what stands in no section with a name."""
        lines, old, self.config = [], self.config, config
        if access_log is not None:
            self.access_log.close()
            self.access_log = access_log
            more = () if self.desk is None else self.desk.observers
            self.observers.observers = (access_log, *more)
        elif isinstance(self.access_log, AccessLog):
            self.access_log.config = config.log
        if old.log != config.log:
            set_level(config.log.level)
            self.ticks.start(config.log.tick if self.running else None)
            lines.append("log changed")
        if old.cluster != config.cluster:
            lines.append("cluster changed" if config.cluster else "cluster left")
        names = ("workers", "drain_timeout", "drain_rate", "max_connections", "data_path")
        differ = [name for name in names if getattr(old, name) != getattr(config, name)]
        return lines + ([f"relay: {', '.join(differ)} changed"] if differ else [])


def _sink_of(config: LogConfig) -> LogConfig:
    """Return only what says where the access log goes."""
    return evolve(LogConfig(), access=config.access)
