"""One ``[listener:NAME]``, as the factory of its clients' connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from typing_extensions import override

from wsrelay.config.model import ListenerConfig
from wsrelay.relay.client import ClientConnection
from wsrelay.relay.routing import RouteTable

if TYPE_CHECKING:
    from wsrelay.relay.relay import Relay


@define(eq=False)
class Listener(Factory):
    """Makes the connections of one listener; not noisy in the log."""

    noisy = False
    relay: Relay
    config: ListenerConfig
    routes: RouteTable = field()

    @property
    def is_secure(self) -> bool:
        """Whether clients speak TLS here."""
        return self.config.is_secure

    @override
    def buildProtocol(self, addr: IAddress | None) -> ClientConnection:
        return ClientConnection(self.relay, self, addr)
