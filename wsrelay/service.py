"""The relay as a Twisted service: what ``twistd wsrelay`` runs, and what others embed."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay import __version__
from wsrelay.config.model import ListenerConfig, RelayConfig
from wsrelay.log import Logger, set_level
from wsrelay.observe.access_log import make_access_log
from wsrelay.relay.drain import Drain
from wsrelay.relay.pumps import choose_pumps
from wsrelay.relay.relay import Relay
from wsrelay.relay.tls import listener_context
from wsrelay.relay.transports import make_lean

log = Logger()


class CannotStartError(Exception):
    """The service cannot begin; the text says what to mend."""


class ListenerService(Service):
    """
    One listening socket; bound before privileges are dropped.

    *port* is the bound port while the service runs.
    """

    port: IListeningPort | None = None

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._bound: Deferred[Any] | None = None
        self._failure: Failure | None = None

    @override
    def privilegedStartService(self) -> None:
        """
        Bind.

        :raises CannotStartError: the address is taken, or may not be bound.
        """
        super().privilegedStartService()
        self._bound = self._endpoint.listen(self._factory)
        self._bound.addCallbacks(self._listens, self._cannot_listen)
        failure, self._failure = self._failure, None
        if failure is not None:
            # Short: twistd tells the parent of a daemon a hundred characters of it.
            what = _why_not(failure.value)
            raise CannotStartError(f"cannot {what} (listener {self.name})") from failure.value

    @override
    def startService(self) -> None:
        super().startService()
        if self._bound is None:
            self.privilegedStartService()

    @override
    def stopService(self) -> Deferred[Any] | None:
        super().stopService()
        port, self.port, bound, self._bound = self.port, None, self._bound, None
        if bound is not None:
            bound.cancel()
        return port.stopListening() if port is not None else None

    def _listens(self, port: IListeningPort) -> None:
        make_lean(port)
        self.port = port

    def _cannot_listen(self, failure: Failure) -> None:
        self._failure = failure
        self._bound = None
        if not failure.check(CancelledError):
            log.error("cannot {why} (listener {name})", name=self.name, why=_why_not(failure.value))


def _why_not(error: Any) -> str:
    if isinstance(error, CannotListenError):
        why = getattr(error.socketError, "strerror", None) or error.socketError
        return f"listen on {error.interface or '*'}:{error.port}: {why}"
    return f"listen: {error}"


def _address(port: IListeningPort) -> str:
    host = port.getHost()
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    return f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else str(host)


class RelayService(MultiService):
    """
    A relay with its listeners and its access log.

    Give it a parent service, or start it yourself; stopping it drains: nobody new is
    let in, and every session is closed, spread over ``drain_timeout``.

    :param config: from `wsrelay.config.load`.
    :param reactor: the one that everything runs on.
    :param to_stdout: where ``access = -`` writes: standard output, or the service's log.
    :raises ValueError: a TLS file, a balancer or the native pump cannot be used.
    """

    def __init__(self, config: RelayConfig, reactor: Any, *, to_stdout: bool = True) -> None:
        super().__init__()
        self.config = config
        self.access_log = make_access_log(config.log, to_stdout=to_stdout)
        self._pumps = choose_pumps(config.data_path, reactor)
        self.relay = Relay(config, reactor, self.access_log, self._pumps.make)
        self._reactor = reactor
        self._drain: Drain | None = None
        for listener in config.listeners:
            self._make_listener(listener).setServiceParent(self)

    @property
    def ports(self) -> dict[str, IListeningPort]:
        """The bound ports by listener name; port 0 in relay.ini becomes a real one here."""
        return {each.name: each.port for each in self if each.port is not None}

    def _make_listener(self, config: ListenerConfig) -> ListenerService:
        factory: Any = self.relay.make_listener(config)
        context = listener_context(config)
        if context is not None:
            factory = TLSMemoryBIOFactory(context, False, factory, self._reactor)
        endpoint = serverFromString(self._reactor, _with_backlog(config))
        service = ListenerService(endpoint, factory)
        service.name = config.name
        return service

    @override
    def privilegedStartService(self) -> None:
        """
        Open the access log and bind the listeners.

        :raises CannotStartError: one of them cannot be.
        """
        try:
            self.access_log.open()
        except OSError as error:
            raise CannotStartError(f"the access log cannot be opened: {error}") from error
        super().privilegedStartService()

    @override
    def startService(self) -> None:
        set_level(self.config.log.level)
        self.relay.is_draining, self.relay.on_empty = False, None
        self._pumps.open()
        super().startService()
        for name, port in self.ports.items():
            log.info("listener {name} on {address}", name=name, address=_address(port))
        # Not before: until then a signal would end the process without a word.
        self._reactor.callWhenRunning(self._say_up)

    def _say_up(self) -> None:
        log.info(
            "wsrelay {version} is up; frames go through {pump}",
            version=__version__,
            pump=self._pumps.words,
        )

    @override
    def stopService(self) -> Deferred[Any]:
        listeners = super().stopService()
        self._drain = Drain(self.relay, self.config.drain_timeout)
        stopped: Deferred[Any] = gatherResults([listeners, self._drain.begin()], consumeErrors=True)
        # One turn later, so that the last answers are written before the process ends.
        stopped.addBoth(lambda result: deferLater(self._reactor, 0, self._stopped, result))
        return stopped

    def _stopped(self, result: Any) -> Any:
        for connection in list(self.relay.connections):
            if not connection.is_answered:  # a reset would take the answer away
                connection.abort()
        self.access_log.close()
        return result

    def hurry(self) -> None:
        """Stop at once, when stopping has begun already."""
        if self._drain is not None:
            self._drain.hurry()


def _with_backlog(config: ListenerConfig) -> str:
    """Add ``backlog`` to an endpoint string that takes one and does not say it."""
    kind = config.endpoint.partition(":")[0]
    if kind in ("tcp", "tcp6", "unix") and ":backlog=" not in config.endpoint:
        return f"{config.endpoint}:backlog={config.backlog}"
    return config.endpoint
