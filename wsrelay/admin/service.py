"""The admin endpoint as a Twisted service."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from typing_extensions import override

from wsrelay.admin.control import Control
from wsrelay.admin.site import AdminSite, make_admin_site
from wsrelay.endpoints import is_local
from wsrelay.listening import ListenerService
from wsrelay.sockets import endpoint_from

__all__ = ["AdminService"]

FAREWELL: Final = 1.0
"""Seconds for answers under way when a reload moves the endpoint, or changes its token."""


class AdminService(ListenerService):
    """
    Listens for operators; bound before privileges are dropped, as listeners are.

    :param endpoint: a Twisted server endpoint, such as ``tcp:8404:interface=127.0.0.1``.
    :param control: the relay.
    :param token: None only where *endpoint* is of this machine.
    :raises ValueError: it is not, and there is none.
    """

    def __init__(self, endpoint: str, control: Control, token: str | None, reactor: Any) -> None:
        self._where = endpoint
        self._control = control
        self._make_site = partial(
            make_admin_site, control, is_local=is_local(endpoint), reactor=reactor
        )
        self._token = token
        self._reactor = reactor
        self._leaving: dict[AdminSite, IDelayedCall] = {}
        self.site = self._make_site(token=token)
        super().__init__("the admin endpoint", endpoint_from(reactor, endpoint), self.site.door)

    def set_token(self, token: str | None) -> bool:
        """
        Let another token open it; whoever came in with the old one is put out.

        :returns: whether it is another one.
        :raises ValueError: there is none, and others than this machine can connect.
        """
        if token == self._token:
            return False
        site, self.site = self.site, self._make_site(token=token)
        self._token = token
        self.front.go_over(self.site.door)
        self._close_soon(site)
        return True

    def renewed(self) -> AdminService:
        """Make another one for the same place and token, when this one listens no more."""
        return AdminService(self._where, self._control, self._token, self._reactor)

    def retire(self) -> Deferred[Any]:
        """Stop listening, and end connections a moment later; fires when nobody listens."""
        self._close_soon(self.site)
        return super().stopService()

    @property
    def is_leaving(self) -> bool:
        """Whether connections are still to be ended."""
        return bool(self._leaving)

    def _close_soon(self, site: AdminSite) -> None:
        # Who ordered the reload that led to this is to get an answer.
        self._leaving[site] = self._reactor.callLater(FAREWELL, self._close, site)

    def _close(self, site: AdminSite) -> None:
        del self._leaving[site]
        site.close()

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop listening and end all connections; fires when both is done, within seconds."""
        port = super().stopService()
        sites = [self.site, *(each for each in self._leaving if each is not self.site)]
        for call in self._leaving.values():
            call.cancel()
        self._leaving.clear()
        return gatherResults([port, *[each.close() for each in sites]], consumeErrors=True)
