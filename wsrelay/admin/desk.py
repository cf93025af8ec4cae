"""All that belongs to the admin endpoint of a relay, from counting to listening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import globalLogPublisher

from wsrelay.admin.control import Control
from wsrelay.admin.recent import RecentLog
from wsrelay.admin.relay_control import RelayControl
from wsrelay.admin.service import AdminService
from wsrelay.admin.token import read_token
from wsrelay.config.model import AdminConfig
from wsrelay.listening import CannotStartError
from wsrelay.log import Logger
from wsrelay.observe.lag import Lag
from wsrelay.observe.metrics import Metrics
from wsrelay.observe.traffic import Traffic
from wsrelay.relay.facts import Observer

if TYPE_CHECKING:
    from wsrelay.service import RelayService

__all__ = ["Desk"]

log = Logger()


@define(eq=False)
class Desk:
    """
    Where an operator sees and steers a relay.

    Made only where ``[admin]`` listens, because it counts; it goes on to count when a new
    configuration has no ``[admin]`` any more, so that one later finds no gap.
    """

    service: RelayService
    reactor: Any
    metrics: Metrics = field(init=False)
    traffic: Traffic = field(init=False)
    lag: Lag = field(init=False)
    recent: RecentLog = field(factory=RecentLog, init=False)
    own: RelayControl = field(init=False)
    """Of this process."""
    control: Control = field(init=False)
    """Of the whole relay: the same, unless it has several processes."""
    _config: AdminConfig | None = field(default=None, init=False)
    _endpoint: AdminService | None = field(default=None, init=False)
    _retired: list[AdminService] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.metrics = Metrics()
        self.traffic = Traffic(self.reactor.seconds)
        self.lag = Lag(self.reactor)
        self.own = RelayControl(self.service, self.metrics, self.traffic, self.lag, self.recent)
        self.control = self.service.steer(self.own)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who wants to know of every client."""
        return (self.metrics, self.traffic)

    @property
    def address(self) -> str:
        """Say where it listens; empty if it does not."""
        return "" if self._endpoint is None else self._endpoint.address

    def bind(self, config: AdminConfig) -> None:
        """
        Listen; called before privileges are dropped.

        :raises CannotStartError: the address cannot be used, or the token not be read.
        """
        self._endpoint = self._make(config)
        self._endpoint.privilegedStartService()
        self._config = config

    def start(self) -> None:
        """Begin to look at the log and at the reactor."""
        globalLogPublisher.addObserver(self.recent)
        self.lag.start()
        self.control.start()
        if self._endpoint is not None:
            self._endpoint.startService()
            log.info("admin endpoint on {address}", address=self.address)

    def stop(self) -> Deferred[Any]:
        """Stop listening; the last thing that a relay does."""
        self.lag.stop()
        self.control.stop()
        globalLogPublisher.removeObserver(self.recent)
        endpoints = [*self._retired, *([] if self._endpoint is None else [self._endpoint])]
        self._endpoint = None
        self._retired.clear()
        return gatherResults([each.stopService() for each in endpoints], consumeErrors=True)

    async def change(self, config: AdminConfig | None) -> list[str]:
        """
        Follow a new configuration; the token is read again in any case.

        :raises CannotStartError: nothing has changed.
        """
        old, lines = self._config, []
        if config is None:
            await self._retire()
            lines = ["admin endpoint closed"] if old is not None else []
        elif old is None or old.listen != config.listen:
            await self._move(self._make(config))
            lines = [f"admin endpoint opened on {config.listen}"]
        elif self._endpoint is not None and self._endpoint.set_token(_token_of(config)):
            lines = ["admin token changed"]
        self._config = config
        return lines

    def _make(self, config: AdminConfig) -> AdminService:
        return AdminService(config.listen, self.control, _token_of(config), self.reactor)

    async def _move(self, new: AdminService) -> None:
        """
        Listen at another place.

        :raises CannotStartError: it listens where it did.
        """
        old = self._endpoint
        try:
            new.privilegedStartService()
        except CannotStartError:
            if old is None:
                raise
            # Perhaps the old one holds the address: *:9000 and 127.0.0.1:9000, say.
            await self._retire()
            try:
                new.privilegedStartService()
            except CannotStartError:
                self._take(old.renewed())
                raise
        else:
            await self._retire()
        self._take(new)

    def _take(self, endpoint: AdminService) -> None:
        self._endpoint = endpoint
        endpoint.startService()

    async def _retire(self) -> None:
        """Listen no more where the endpoint was; the answer to a reload still gets out."""
        if self._endpoint is not None:
            self._retired = [each for each in self._retired if each.is_leaving]
            self._retired.append(self._endpoint)
            endpoint, self._endpoint = self._endpoint, None
            await endpoint.retire()


def _token_of(config: AdminConfig) -> str | None:
    try:
        return None if config.token_file is None else read_token(config.token_file)
    except ValueError as error:
        raise CannotStartError(str(error)) from error
