"""The listening sockets of a relay, and how they follow a new configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)

from wsrelay.config.model import ListenerConfig
from wsrelay.listening import CannotStartError, ListenerService
from wsrelay.log import Logger
from wsrelay.relay.listener import Listener
from wsrelay.relay.listener_tls import ListenerTLS, listener_tls
from wsrelay.relay.proxied import HeaderFirst
from wsrelay.relay.reconfigure import differences
from wsrelay.relay.relay import Relay
from wsrelay.relay.tls_transport import tls_factory
from wsrelay.sockets import endpoint_from
from wsrelay.turns import Turns

__all__ = ["Contexts", "Listeners", "contexts_of"]

log = Logger()

Contexts = Mapping[str, ListenerTLS | None]
EndpointMaker = Callable[[Any, str, int], IStreamServerEndpoint]


def contexts_of(configs: Iterable[ListenerConfig]) -> Contexts:
    """
    Read the TLS files of listeners, by name; None for a plain one.

    :raises ValueError: a file cannot be read or used; the text says which and why.
    """
    return {each.name: listener_tls(each) for each in configs}


@define(eq=False)
class _Socket:
    """One listening socket, and the listener that it is now."""

    config: ListenerConfig
    listener: Listener
    service: ListenerService
    tls: ListenerTLS | None


@define(eq=False, slots=False)
class Listeners(MultiService):
    """
    The listeners of a relay.

    A socket is known by its endpoint: a listener whose other options change keeps it, and
    so does one that gets another name.

    :param endpoint_of: makes what listens, of an endpoint string and a backlog.
    :param turns: see `ListenerService`, as *accepts*.
    """

    relay: Relay
    reactor: Any
    endpoint_of: EndpointMaker = endpoint_from
    turns: Turns | None = None
    accepts: bool = True
    _sockets: dict[str, _Socket] = field(factory=dict, init=False)
    _leaving: list[Deferred[None]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def sockets(self) -> dict[str, IListeningPort]:
        """Return the bound ports by their endpoints."""
        return {
            endpoint: each.service.port
            for endpoint, each in self._sockets.items()
            if each.service.port is not None
        }

    @property
    def ports(self) -> dict[str, IListeningPort]:
        """The bound ports by listener name; port 0 in relay.ini becomes a real one here."""
        return {
            each.config.name: each.service.port
            for each in self._sockets.values()
            if each.service.port is not None
        }

    def addresses(self) -> list[tuple[ListenerConfig, str]]:
        """Say where each listener listens."""
        return [(each.config, each.service.address) for each in self._sockets.values()]

    def add(self, config: ListenerConfig, contexts: Contexts) -> ListenerService:
        """Make the socket of a listener; it binds when its service starts."""
        listener = self.relay.make_listener(config)
        factory = self._factory(listener, contexts)
        endpoint = self.endpoint_of(self.reactor, config.endpoint, config.backlog)
        label = f"listener {config.name}"
        service = ListenerService(
            label, endpoint, factory, self.relay.descriptors, self.turns, accepts=self.accepts
        )
        self._sockets[config.endpoint] = _Socket(config, listener, service, contexts[config.name])
        service.setServiceParent(self)
        return service

    async def change(self, configs: Iterable[ListenerConfig], contexts: Contexts) -> list[str]:
        """
        Follow a new configuration: open, close and alter listeners.

        What is opened takes clients at once, so routes are to follow in the same turn of
        the reactor; `closed` is for afterwards.

        :returns: what changed, a sentence each.
        :raises CannotStartError: one cannot be opened; everything is as it was.
        """
        wanted = {each.endpoint: each for each in configs}
        new = [each for each in wanted.values() if each.endpoint not in self._sockets]
        old = [each for key, each in self._sockets.items() if key not in wanted]
        try:
            await self._open(new, contexts)
        except CannotStartError as error:
            if not old:
                raise
            if not self.accepts:  # other processes listen on, too, until they are told
                raise CannotStartError(
                    f"{error}; if it is a listener of this relay's, remove that one first, and"
                    " open the new one by another reload"
                ) from error
            # Perhaps one that is to go holds the address: *:80 and 127.0.0.1:80, say.
            await self._exchange(old, new, contexts)
        else:
            self._leaving = [Deferred.fromCoroutine(self._close(each)) for each in old]
        lines = [f"listener {each.config.name} closed" for each in old]
        lines += [f"listener {each.name} opened on {each.endpoint}" for each in new]
        for key, config in wanted.items():
            if config not in new:
                lines += self._alter(self._sockets[key], config, contexts)
        sockets = self._sockets.values()
        self.relay.listeners = {each.config.name: each.listener for each in sockets}
        return lines

    async def closed(self) -> None:
        """Wait until those that `change` took away listen no more."""
        leaving, self._leaving = self._leaving, []
        await gatherResults(leaving, consumeErrors=True)

    async def _open(self, configs: list[ListenerConfig], contexts: Contexts) -> None:
        """
        Open all or none.

        :raises CannotStartError: those that were opened are closed, and their addresses free.
        """
        before = dict(self.relay.listeners)
        try:
            for config in configs:
                self.add(config, contexts)  # binds at once: the parent runs
        except CannotStartError:
            for config in configs:
                if socket := self._sockets.get(config.endpoint):
                    await self._close(socket)
            self.relay.listeners = before
            raise

    async def _close(self, socket: _Socket) -> None:
        self._sockets.pop(socket.config.endpoint, None)
        await maybeDeferred(socket.service.disownServiceParent)

    async def _exchange(
        self, old: list[_Socket], new: list[ListenerConfig], contexts: Contexts
    ) -> None:
        for each in old:
            await self._close(each)
        try:
            await self._open(new, contexts)
        except CannotStartError:
            for each in old:
                await self._open_again(each)
            raise

    async def _open_again(self, socket: _Socket) -> None:
        try:
            socket.service.setServiceParent(self)
        except CannotStartError as error:  # the next reload tries it anew
            log.error("{label} stays closed: {why}", label=socket.service.label, why=error)
            await maybeDeferred(socket.service.disownServiceParent)
        else:
            self._sockets[socket.config.endpoint] = socket

    def _alter(self, socket: _Socket, config: ListenerConfig, contexts: Contexts) -> list[str]:
        """Let a socket that stays be the listener that *config* says."""
        old, tls, new = socket.config, socket.tls, contexts[config.name]
        changes = {}
        if tls is not None and new is not None:
            changes = new.changes_since(tls)
            new.go_on_from(tls)
        socket.config = socket.listener.config = config
        socket.tls = new
        socket.service.label = f"listener {config.name}"
        socket.service.front.go_over(self._factory(socket.listener, contexts))
        if old.backlog != config.backlog:
            socket.service.set_backlog(config.backlog)
        if old.name != config.name:
            return [f"listener {old.name} is called {config.name} now"]
        names = differences(old, config)
        lines = [f"listener {config.name}: {', '.join(names)} changed"] if names else []
        changed = (words for option, words in changes.items() if option not in names)
        return lines + [f"listener {config.name}: {words}" for words in changed]

    def _factory(self, listener: Listener, contexts: Contexts) -> IProtocolFactory:
        tls = contexts[listener.config.name]
        factory: Any = listener
        if tls is not None:
            for note in tls.notes:
                log.warn("listener {name}: {note}", name=listener.config.name, note=note)
            factory = tls_factory(tls, listener, self.reactor)
        if listener.config.proxy_protocol:  # the header stands before TLS
            factory = HeaderFirst(listener, factory)
        return factory  # type: ignore[no-any-return]
