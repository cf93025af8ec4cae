"""The admin endpoint as a Twisted service."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from typing_extensions import override

from wsrelay.admin.control import Control
from wsrelay.admin.site import make_admin_site
from wsrelay.endpoints import is_local
from wsrelay.listening import ListenerService

__all__ = ["AdminService"]


class AdminService(ListenerService):
    """
    Listens for operators; bound before privileges are dropped, as listeners are.

    :param endpoint: a Twisted server endpoint, such as ``tcp:8404:interface=127.0.0.1``.
    :param control: the relay.
    :param token: None only where *endpoint* is of this machine.
    :raises ValueError: it is not, and there is none.
    """

    def __init__(self, endpoint: str, control: Control, token: str | None, reactor: Any) -> None:
        self.site = make_admin_site(control, token, is_local(endpoint), reactor)
        super().__init__(serverFromString(reactor, endpoint), self.site.door)
        self.name = "admin"

    @property
    @override
    def title(self) -> str:
        return "the admin endpoint"

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop listening and end all connections; fires when both is done, within seconds."""
        port = maybeDeferred(super().stopService)
        return gatherResults([port, self.site.close()], consumeErrors=True)
